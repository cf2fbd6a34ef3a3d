"""Heartbeats wherever they may stand, read by the official SDKs: their users notice nothing but the time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
import json
from typing import Any

import anthropic
import openai
import pytest
import pytest_asyncio
from tests.kit.scene import Scene
from tests.kit.scene import scene as a_scene
from tests.kit.words import GOOD

from sluicegate.demo.scripts import Close, Pause, Piece, respond

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUESTION: Any = [{"role": "user", "content": "What is a sluice gate?"}]
ROLE = b'data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}\n\n'
#: A silence after which a heartbeat is due and the sweep, which may be a second late, has come.
SILENCE = Pause(2.2)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with a_scene(tmp_path_factory.mktemp("heartbeats"), timeouts={"heartbeat": 1}) as running:
        yield running


def slowly(*events: bytes) -> tuple[Piece, ...]:
    """A silence after each event but the last."""
    return tuple(piece for event in events[:-1] for piece in (event, SILENCE)) + events[-1:]


def message(*kinds: tuple[str, dict[str, Any]]) -> list[bytes]:
    """Events as Anthropic writes them."""
    return [f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n".encode() for kind, more in kinds]


START: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "m"}
USAGE = {"input_tokens": 3, "output_tokens": 1}
MESSAGE = message(
    ("message_start", {"message": START | {"stop_reason": None, "stop_sequence": None, "usage": USAGE}}),
    ("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}),
    ("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "Hello"}}),
    ("content_block_stop", {"index": 0}),
    ("message_delta", {"delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 2}}),
    ("message_stop", {}),
)


def said(chunks: list[Any]) -> str:
    """The text of a stream."""
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


async def beats(scene: Scene, model: str) -> int:
    """How many heartbeats a model's only request had."""
    return int((await scene.gateway.row(requested_model=model))["heartbeats"])


async def test_91_heartbeats_in_every_position_are_nothing_to_the_sdks(scene: Scene) -> None:
    url, key = scene.gateway.url, scene.gateway.key
    with_usage: Any = {"include_usage": True}

    def blocking(model: str) -> tuple[str, int]:
        with openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
            chunks = list(
                client.chat.completions.create(model=model, messages=QUESTION, stream=True, stream_options=with_usage)
            )
            usage = chunks[-1].usage
            return said(chunks), usage.total_tokens if usage is not None else 0

    async def on_the_loop(model: str) -> str:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
            stream = await client.chat.completions.create(model=model, messages=QUESTION, stream=True)
            return said([chunk async for chunk in stream])

    async def anthropics(model: str) -> tuple[str, str | None]:
        async with (
            anthropic.AsyncAnthropic(base_url=url, api_key=key, max_retries=0) as client,
            client.messages.stream(model=model, max_tokens=9, messages=QUESTION) as stream,
        ):
            text = "".join([piece async for piece in stream.text_stream])
            return text, (await stream.get_final_message()).stop_reason

    models = [scene.model(respond(*slowly(ROLE, *GOOD))) for _ in range(2)]
    claude = scene.model(respond(*slowly(*MESSAGE)), by="claude")
    blocked, looped, claudes = await asyncio.gather(
        asyncio.to_thread(blocking, models[0]), on_the_loop(models[1]), anthropics(claude)
    )
    assert (blocked, looped, claudes) == (("Hello world", 18), "Hello world", ("Hello", "end_turn"))
    assert [await beats(scene, model) >= 5 for model in (*models, claude)] == [True] * 3


async def test_91_an_error_inside_a_message_that_heartbeats_opened_is_raised(scene: Scene) -> None:
    async def openais(model: str) -> Any:
        async with openai.AsyncOpenAI(
            base_url=f"{scene.gateway.url}/v1", api_key=scene.gateway.key, max_retries=0
        ) as client:
            stream = await client.chat.completions.create(model=model, messages=QUESTION, stream=True)
            with pytest.raises(openai.APIError) as raised:
                async for _ in stream:
                    pass
            return raised.value.code

    async def anthropics(model: str) -> Any:
        async with anthropic.AsyncAnthropic(
            base_url=scene.gateway.url, api_key=scene.gateway.key, max_retries=0
        ) as client:
            stream = await client.messages.create(model=model, max_tokens=9, messages=QUESTION, stream=True)
            with pytest.raises(anthropic.APIStatusError) as raised:
                async for _ in stream:
                    pass
            body: Any = raised.value.body
            return body["error"]["code"]

    models = [
        scene.model(respond(ROLE, SILENCE, Close())),
        scene.model(respond(MESSAGE[0], SILENCE, Close()), by="claude"),
    ]
    first, second = await asyncio.gather(openais(models[0]), anthropics(models[1]))
    assert (first, second) == ("upstream_truncated", "upstream_truncated")
    assert [await beats(scene, model) >= 1 for model in models] == [True, True]
