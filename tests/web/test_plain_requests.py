"""A plain request, which Rust reads, is served as the same request is when aiohttp's parser has to read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.kit.client import Answer, Wire, chat, request_bytes
from tests.kit.inside import inside
from tests.kit.scene import Scene
from tests.kit.words import ANSWER, GOOD

from sluicegate.demo.scripts import json_answer, respond
from sluicegate.web.protocol import Connection

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: A header that only aiohttp's parser reads; it changes nothing else.
PARSED = b"Connection: keep-alive, x-nothing\r\n"

HEADERS = {
    "none": b"",
    "what an SDK sends": (
        b"Accept: application/json\r\nAccept-Encoding: gzip, deflate\r\nUser-Agent: OpenAI/Python 2\r\n"
        b"X-Stainless-Lang: python\r\nX-Stainless-Retry-Count: 0\r\n"
    ),
    "all that go through": (
        b"Accept: a\r\nANTHROPIC-BETA: b\r\nanthropic-version: c\r\nIdempotency-Key: d\r\nOpenAI-Beta: e\r\n"
        b"X-Client-Request-Id: f\r\nCookie: g\r\nX-Other: h\r\n"
    ),
    "one twice": b"Accept: a\r\nAccept: b\r\n",
    "blanks around a value": b"OpenAI-Beta:  \t e e \t \r\n",
    "an empty value": b"OpenAI-Beta:\r\n",
    "an id": b"X-Request-Id: mine\r\n",
    "a key that differs": b"X-Api-Key: sk-test-0123456789abcdef\r\n",
}


def with_headers(sent: bytes, headers: bytes) -> bytes:
    line, _, rest = sent.partition(b"\r\n")
    return line + b"\r\n" + headers + rest


async def served(scene: Scene, sent: bytes, model: str) -> tuple[Any, ...]:
    async with Wire(scene.gateway.url) as wire:
        await wire.send(sent)
        answer = await wire.answer()
    received = scene.requests(model)[-1:] if answer.status == 200 else []
    names = [name.lower() for name, _ in answer.headers]
    mine = answer.header("x-request-id") == "mine"
    upstream = [(sorted((n.lower(), v) for n, v in one.head.headers), one.body) for one in received]
    return answer.status, answer.body if answer.status == 200 else answer.error, names, mine, upstream


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
async def test_a_plain_request_is_served_as_a_parsed_one(scene: Scene, headers: bytes, stream: bool) -> None:
    script = respond(*GOOD) if stream else json_answer(ANSWER)
    model = scene.model(script, script)
    sent = request_bytes(chat(model, stream=stream), key=scene.gateway.key)
    plain = await served(scene, with_headers(sent, headers), model)
    parsed = await served(scene, with_headers(sent, headers + PARSED), model)
    assert plain == parsed
    assert plain[0] == (400 if headers == HEADERS["a key that differs"] else 200)


async def test_requests_of_both_kinds_share_a_connection_in_order(scene: Scene) -> None:
    answers: list[Answer] = []
    async with Wire(scene.gateway.url) as wire:
        for extra in (b"", PARSED, b"", b"", PARSED, PARSED, b""):
            sent = request_bytes(chat(scene.model(json_answer(ANSWER))), key=scene.gateway.key)
            await wire.send(with_headers(sent, extra))
            answers.append(await wire.answer())
    assert [(answer.status, answer.body) for answer in answers] == [(200, ANSWER)] * 7


async def test_plain_requests_that_are_pipelined_are_all_answered_in_order(scene: Scene) -> None:
    models = [scene.model(json_answer(b'{"choices":[],"n":%d}' % number)) for number in range(4)]
    sent = [request_bytes(chat(model), key=scene.gateway.key) for model in models]
    async with Wire(scene.gateway.url) as wire:
        await wire.send(sent[0] + sent[1])
        await wire.send(sent[2])
        await wire.send(sent[3])
        bodies = [(await wire.answer()).body for _ in sent]
    assert bodies == [b'{"choices":[],"n":%d}' % number for number in range(4)]


async def test_a_plain_request_cut_anywhere_is_served(scene: Scene) -> None:
    async with Wire(scene.gateway.url) as wire:
        for cut in (1, 10, 40, 90, 150, 200, 230):
            sent = request_bytes(chat(scene.model(json_answer(ANSWER))), key=scene.gateway.key)
            await wire.send(sent[:cut])
            await wire.send(sent[cut:])
            assert (await wire.answer()).body == ANSWER


async def test_a_plain_request_needs_no_other_parser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def parsed(connection: Connection) -> bool:
        raise ConnectionResetError

    async with inside(tmp_path) as gateway:
        with monkeypatch.context() as patched:
            patched.setattr(Connection, "_serve_next", parsed)
            sent = request_bytes(chat("plain/m"), key=gateway.key)
            assert (await gateway.ask(chat("plain/m"))).status == 200
            async with Wire(gateway.url) as wire:
                await wire.send(with_headers(sent, PARSED))
                assert await wire.closed_by_server() == b""
