"""A cut stream in the hands of the official SDKs, Python's and Node's: they raise, and never give it out as whole.

Node's are found in tests/real/node/node_modules, where `make tools` puts them; without them those tests are skipped.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
import json
from pathlib import Path
import shutil
from typing import Any

import anthropic
import openai
import pytest
import pytest_asyncio
from tests.kit.scene import Scene
from tests.kit.scene import scene as a_scene
from tests.kit.words import ANSWER, DONE, FINISH, HELLO, WORLD

from sluicegate.demo import faults
from sluicegate.demo.scripts import Script, chunk, raw, respond

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUESTION: Any = [{"role": "user", "content": "What is a sluice gate?"}]
NODE = Path(__file__).parent / "node"
needs_node = pytest.mark.skipif(
    shutil.which("node") is None or not (NODE / "node_modules").is_dir(), reason="`make tools` installs Node's SDKs"
)


def named(kind: str, **members: Any) -> bytes:
    """An event of Anthropic's or of the Responses API."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


def response(status: str, **members: Any) -> dict[str, Any]:
    """A response object of the Responses API."""
    base = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": status, "output": []}
    return base | {"error": None, "incomplete_details": None, "tools": [], "parallel_tool_calls": True} | members


MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "content": [],
    "model": "m",
    "stop_reason": None,
}
USED = {"input_tokens": 3, "output_tokens": 1}
ENDED = {"stop_reason": "end_turn", "stop_sequence": None}
HI = "Hi"
# The helper of Node's wants to be told the role.
FIRST = HELLO.replace(b'"content"', b'"role":"assistant","content"')
#: What each API's stream says: its beginning, a piece of text, and its end.
WORDS: dict[str, tuple[tuple[bytes, ...], bytes, tuple[bytes, ...]]] = {
    "openai": ((FIRST,), WORLD, (FINISH, DONE)),
    "responses": (
        (named("response.created", sequence_number=0, response=response("in_progress")),),
        named(
            "response.output_text.delta", sequence_number=1, item_id="1", output_index=0, content_index=0, delta="Hi"
        ),
        (named("response.completed", sequence_number=2, response=response("completed")),),
    ),
    "anthropic": (
        (
            named("message_start", message=MESSAGE | {"stop_sequence": None, "usage": USED}),
            named("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        ),
        named("content_block_delta", index=0, delta={"type": "text_delta", "text": HI}),
        (
            named("content_block_stop", index=0),
            named(
                "message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 2}
            ),
            named("message_stop"),
        ),
    ),
}
#: How each SDK is asked, and which words it is spoken to in.
WAYS = {
    "openai": "openai",
    "openai, helper": "openai",
    "responses": "responses",
    "anthropic": "anthropic",
    "anthropic, helper": "anthropic",
}
CODES = ("upstream_truncated", "upstream_stalled", "upstream_protocol")
ENDS = {"FIN": {}, "RST": {"reset": True}, "FIN without a framing": {"framing": "close"}}


def cuts(api: str) -> dict[str, Script]:
    """Streams that end before they were finished, each in another way."""
    start, text, end = WORDS[api]
    said = (*start, text)
    scripts: dict[str, Script] = {name: faults.cut_stream(*said, **how) for name, how in ENDS.items()}  # type: ignore[arg-type]
    scripts["an end in good order"] = respond(*said)
    scripts["inside an event"] = faults.cut_stream(*said, end[0][:20])
    scripts["inside a line end"] = faults.cut_stream(*said[:-1], text[:-1])
    scripts["silence"] = faults.stalled_stream(*said)
    scripts["a broken chunk"] = raw(faults.STREAM_HEAD, *map(chunk, said), b"oops\r\n")
    return scripts


#: Those that every way is tried with; the others with one of Python's ways, or in the full run.
MAIN = ("FIN", "an end in good order", "inside an event")
CUTS = [
    pytest.param(way, name, marks=[] if name in MAIN else [pytest.mark.full])
    for way, api in WAYS.items()
    for name in cuts(api)
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with a_scene(tmp_path_factory.mktemp("truncation"), timeouts={"idle": 1, "done_grace": 1}) as running:
        yield running


async def python(scene: Scene, way: str, model: str) -> str:
    """Ask by a Python SDK, to the end of the answer; gives its text."""
    shared: dict[str, Any] = {"api_key": scene.gateway.key, "max_retries": 0}
    async with (
        openai.AsyncOpenAI(base_url=f"{scene.gateway.url}/v1", **shared) as client,
        anthropic.AsyncAnthropic(base_url=scene.gateway.url, **shared) as claude,
    ):
        asked: dict[str, Callable[[], Awaitable[str]]] = {
            "openai": partial(openai_stream, client, model),
            "openai, helper": partial(openai_helper, client, model),
            "responses": partial(responses_stream, client, model),
            "anthropic": partial(anthropic_stream, claude, model),
            "anthropic, helper": partial(anthropic_helper, claude, model),
        }
        return await asked[way]()


async def openai_stream(client: openai.AsyncOpenAI, model: str) -> str:
    chunks = [each async for each in await client.chat.completions.create(model=model, messages=QUESTION, stream=True)]
    return "".join(choice.delta.content or "" for each in chunks for choice in each.choices)


async def openai_helper(client: openai.AsyncOpenAI, model: str) -> str:
    async with client.chat.completions.stream(model=model, messages=QUESTION) as stream:
        return (await stream.get_final_completion()).choices[0].message.content or ""


async def responses_stream(client: openai.AsyncOpenAI, model: str) -> str:
    events = [each async for each in await client.responses.create(model=model, input="Hi", stream=True)]
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


async def anthropic_stream(client: anthropic.AsyncAnthropic, model: str) -> str:
    stream = await client.messages.create(model=model, max_tokens=9, messages=QUESTION, stream=True)
    events = [each async for each in stream]
    return "".join(e.delta.text for e in events if e.type == "content_block_delta" and e.delta.type == "text_delta")


async def anthropic_helper(client: anthropic.AsyncAnthropic, model: str) -> str:
    async with client.messages.stream(model=model, max_tokens=9, messages=QUESTION) as stream:
        return await stream.get_final_text()


async def node(scene: Scene, way: str, model: str) -> dict[str, Any]:
    """Ask by a Node SDK; gives what it told."""
    asked = json.dumps({"base": scene.gateway.url, "key": scene.gateway.key, "model": model, "way": way})
    process = await asyncio.create_subprocess_exec(
        "node", "ask.mjs", asked, cwd=NODE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    said, wrong = await asyncio.wait_for(process.communicate(), 30)
    assert said, wrong.decode()
    told: dict[str, Any] = json.loads(said)
    return told


def upstream_of(way: str) -> str:
    """The scene's upstream that speaks to this SDK."""
    return "claude" if way.startswith("anthropic") else "plain"


def text_of(way: str) -> str:
    """The text of the whole stream."""
    return "Hello world" if way.startswith("openai") else "Hi"


@pytest.mark.parametrize("way", WAYS)
async def test_a_whole_stream_is_whole_in_pythons_hands(scene: Scene, way: str) -> None:
    start, text, end = WORDS[WAYS[way]]
    model = scene.model(respond(*start, text, *end), by=upstream_of(way))
    assert await python(scene, way, model) == text_of(way)


@pytest.mark.parametrize("cut", cuts("openai"))
async def test_86_openais_sdk_raises_however_a_stream_is_cut(scene: Scene, cut: str) -> None:
    await raises(scene, "openai", cut)


@pytest.mark.parametrize(("way", "cut"), CUTS)
async def test_86_pythons_sdks_raise_on_a_cut_stream(scene: Scene, way: str, cut: str) -> None:
    await raises(scene, way, cut)


async def raises(scene: Scene, way: str, cut: str) -> None:
    """The SDK raises, and says what the gateway's row says, unless it has choked on half an event before."""
    model = scene.model(cuts(WAYS[way])[cut], by=upstream_of(way))
    with pytest.raises((openai.APIError, anthropic.APIError, json.JSONDecodeError)) as raised:
        await python(scene, way, model)
    row = await scene.gateway.row(requested_model=model)
    assert row["error_code"] in CODES
    told = raised.value
    assert isinstance(told, json.JSONDecodeError) == (cut == "inside an event" and not way.startswith("anthropic"))
    if not isinstance(told, json.JSONDecodeError):
        assert row["error_code"] in f"{getattr(told, 'body', '')} {getattr(told, 'code', '')}"


@needs_node
@pytest.mark.parametrize("way", WAYS)
async def test_a_whole_stream_is_whole_in_nodes_hands(scene: Scene, way: str) -> None:
    start, text, end = WORDS[WAYS[way]]
    model = scene.model(respond(*start, text, *end), by=upstream_of(way))
    told = await node(scene, way, model)
    assert (told["error"], told["text"]) == (None, text_of(way))
    assert told["finish"] is not None


@needs_node
@pytest.mark.parametrize(("way", "cut"), CUTS)
async def test_86_nodes_sdks_raise_on_a_cut_stream(scene: Scene, way: str, cut: str) -> None:
    model = scene.model(cuts(WAYS[way])[cut], by=upstream_of(way))
    told = await node(scene, way, model)
    row = await scene.gateway.row(requested_model=model)
    assert row["error_code"] in CODES
    assert (told["error"] is not None, told["finish"]) == (True, None), told
    assert row["error_code"] in json.dumps(told["error"]) or "malformed" in told["error"]["message"]


@needs_node
async def test_65_a_whole_answer_that_was_cut_is_no_answer_in_nodes_hands(scene: Scene) -> None:
    model = scene.model(faults.short_body(ANSWER[:50], len(ANSWER)))
    told = await node(scene, "openai, whole", model)
    assert (told["error"]["status"], told["error"]["code"], told["text"]) == (502, "upstream_truncated", "")
