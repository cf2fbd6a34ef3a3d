"""The official SDKs against the gateway: what their users see, in their own exceptions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
import json
from typing import Any

import anthropic
import openai
import pytest
import pytest_asyncio
from tests.kit.scene import Scene
from tests.kit.scene import scene as a_scene
from tests.kit.words import ANSWER, GOOD, HELLO

from sluicegate.demo import faults
from sluicegate.demo.answers import TEXT
from sluicegate.demo.scripts import Script, json_answer, respond

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUESTION: Any = [{"role": "user", "content": "What is a sluice gate?"}]
WITH_USAGE: Any = {"include_usage": True}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with a_scene(tmp_path_factory.mktemp("sdks"), timeouts={"idle": 2, "first_content": 2}) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(scene: Scene) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's SDK on the loop."""
    async with openai.AsyncOpenAI(base_url=f"{scene.gateway.url}/v1", api_key=scene.gateway.key, max_retries=0) as it:
        yield it


@pytest.fixture(scope="module")
def blocking(scene: Scene) -> Iterator[openai.OpenAI]:
    """OpenAI's SDK that blocks: to be used in a thread, since the upstream lives on the loop."""
    with openai.OpenAI(base_url=f"{scene.gateway.url}/v1", api_key=scene.gateway.key, max_retries=0) as it:
        yield it


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def claude(scene: Scene) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """Anthropic's SDK on the loop."""
    async with anthropic.AsyncAnthropic(base_url=scene.gateway.url, api_key=scene.gateway.key, max_retries=0) as it:
        yield it


def said(chunks: list[Any]) -> str:
    """The text of a stream."""
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


async def test_openai_streams(scene: Scene, client: openai.AsyncOpenAI, blocking: openai.OpenAI) -> None:
    def ask() -> list[Any]:
        asked = {"messages": QUESTION, "stream": True, "stream_options": WITH_USAGE}
        with blocking.chat.completions.create(model=scene.model(), **asked) as stream:
            return list(stream)

    chunks = await asyncio.to_thread(ask)
    assert said(chunks) == TEXT
    assert (chunks[-1].choices, chunks[-1].usage.completion_tokens > 10) == ([], True)
    stream = await client.chat.completions.create(model=scene.model(), messages=QUESTION, stream=True)
    chunks = [chunk async for chunk in stream]
    assert said(chunks) == TEXT
    # Whoever did not ask indexes choices[0] without looking.
    assert all(chunk.choices[0] for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_openai_answers_whole(scene: Scene, client: openai.AsyncOpenAI, blocking: openai.OpenAI) -> None:
    answer = await asyncio.to_thread(lambda: blocking.chat.completions.create(model=scene.model(), messages=QUESTION))
    assert answer.choices[0].message.content == TEXT
    again = await client.chat.completions.create(model=scene.model(), messages=QUESTION)
    assert (again.choices[0].message.content, again.usage) == (TEXT, answer.usage)


async def test_openai_completions_and_responses(scene: Scene, client: openai.AsyncOpenAI) -> None:
    stream = await client.completions.create(model=scene.model(), prompt="What?", stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == TEXT
    events = [event async for event in await client.responses.create(model=scene.model(), input="What?", stream=True)]
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
    whole = await client.responses.create(model=scene.model(), input="What?")
    assert whole.output_text == TEXT


async def test_openai_lists_models(scene: Scene, client: openai.AsyncOpenAI) -> None:
    names = [model.id async for model in client.models.list()]
    assert set(names) <= {"plain/*", "secure/*", "quiet/*", "claude/*"}


async def test_openai_sees_a_truncation(scene: Scene, client: openai.AsyncOpenAI) -> None:
    model = scene.model(faults.cut_stream(HELLO))
    got: list[Any] = []

    async def read() -> None:
        async with await client.chat.completions.create(model=model, messages=QUESTION, stream=True) as stream:
            async for chunk in stream:
                got.append(chunk)  # noqa: PERF401 - what came before the exception is looked at

    with pytest.raises(openai.APIError, match="ended the stream before it was finished") as raised:
        await read()
    assert (said(got), raised.value.code) == ("Hello", "upstream_truncated")


def refusal(status: int, code: str | None = None) -> Script:
    """An upstream's refusal."""
    return json_answer({"error": {"message": "No.", "type": "invalid_request_error", "code": code}}, status=status)


@pytest.mark.parametrize(
    "script, exception, status",
    [
        (refusal(400), openai.BadRequestError, 400),
        (refusal(401), openai.InternalServerError, 502),
        (refusal(404), openai.NotFoundError, 404),
        (refusal(409), openai.ConflictError, 409),
        (refusal(422), openai.UnprocessableEntityError, 422),
        (refusal(429), openai.RateLimitError, 429),
        (refusal(500), openai.InternalServerError, 502),
        (faults.closes_before_head(), openai.InternalServerError, 502),
        (faults.html_page(), openai.InternalServerError, 502),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.parametrize("stream", [True, False])
async def test_openai_raises_what_its_users_catch(
    scene: Scene, client: openai.AsyncOpenAI, script: Script, exception: Any, status: int, stream: bool
) -> None:
    with pytest.raises(exception) as raised:
        await client.chat.completions.create(model=scene.model(script), messages=QUESTION, stream=stream)
    assert (raised.value.status_code, raised.value.request_id is not None) == (status, True)


async def test_openai_raises_on_a_wrong_key_and_an_unknown_model(
    scene: Scene, client: openai.AsyncOpenAI, blocking: openai.OpenAI
) -> None:
    with pytest.raises(openai.AuthenticationError) as wrong:
        await asyncio.to_thread(
            lambda: blocking.with_options(api_key="sk-wrong").chat.completions.create(
                model="plain/x", messages=QUESTION
            )
        )
    assert wrong.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError) as unknown:
        await client.chat.completions.create(model="no-such", messages=QUESTION)
    assert unknown.value.code == "model_not_found"


async def test_openai_retries_what_the_gateway_calls_passing(
    scene: Scene, client: openai.AsyncOpenAI, blocking: openai.OpenAI
) -> None:
    model = scene.model(
        json_answer({"error": {"message": "Slow down"}}, status=429, headers=[("retry-after", "0")]),
        json_answer(ANSWER),
    )
    answer = await asyncio.to_thread(
        lambda: blocking.with_options(max_retries=1).chat.completions.create(model=model, messages=QUESTION)
    )
    assert (answer.choices[0].message.content, len(scene.requests(model))) == ("Hello", 2)


async def test_openai_closing_its_stream_early_closes_the_upstream(scene: Scene, client: openai.AsyncOpenAI) -> None:
    model = scene.model(faults.stalled_stream(*GOOD[:2]))
    stream = await client.chat.completions.create(model=model, messages=QUESTION, stream=True)
    await anext(aiter(stream))
    await stream.close()
    await scene.requests(model)[0].closed_by_peer(within=1)


async def test_anthropic_streams_and_answers_whole(scene: Scene, claude: anthropic.AsyncAnthropic) -> None:
    asked: Any = {"max_tokens": 1000, "messages": QUESTION}
    model = scene.model(by="claude")
    async with claude.messages.stream(model=model, **asked) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        final = await stream.get_final_message()
    assert (text, final.stop_reason) == (TEXT, "end_turn")
    whole = await claude.messages.create(model=model, **asked)
    assert whole.content[0].text == TEXT
    row = await scene.gateway.row(requested_model=model, stream=True)
    assert row["usage"]["tokens"]["output"] == final.usage.output_tokens
    seen = scene.requests(model)[0]
    assert (seen.header("x-api-key"), seen.header("authorization")) == ("sk-upstream-secret", None)
    assert seen.header("anthropic-version")


async def test_anthropic_sees_a_truncation_and_a_refusal_in_its_own_exceptions(
    scene: Scene, claude: anthropic.AsyncAnthropic
) -> None:
    start = {
        "type": "message_start",
        "message": {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "content": [],
            "model": "m",
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 3, "output_tokens": 1},
        },
    }
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}
    events = [f"event: {told['type']}\ndata: {json.dumps(told)}\n\n".encode() for told in (start, delta)]
    model = scene.model(faults.cut_stream(*events), by="claude")
    with pytest.raises(anthropic.APIStatusError, match="ended the stream"):
        async for _ in await claude.messages.create(model=model, max_tokens=9, messages=QUESTION, stream=True):
            pass
    with pytest.raises(anthropic.NotFoundError):
        await claude.messages.create(model="no-such", max_tokens=9, messages=QUESTION)
    overloaded = json_answer(
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, status=529
    )
    with pytest.raises(anthropic.InternalServerError):
        await claude.messages.create(model=scene.model(overloaded, by="claude"), max_tokens=9, messages=QUESTION)


async def test_an_answer_of_comments_and_events_is_the_sdks_food(scene: Scene, client: openai.AsyncOpenAI) -> None:
    model = scene.model(respond(b": OPENROUTER PROCESSING\n\n", b"id: 7\n" + GOOD[0], b": ping\n\n", *GOOD[1:]))
    stream = await client.chat.completions.create(model=model, messages=QUESTION, stream=True)
    assert said([chunk async for chunk in stream]) == "Hello world"
