"""Faults 21, 22, 24-26, 28, 29, 33, 34: sizes, methods, versions, and what follows on the same connection."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from pathlib import Path
import re
from typing import Any

import pytest
from tests.kit.client import Answer, Wire, chat, request_bytes
from tests.kit.gateway import KEY, eventually
from tests.kit.scene import Scene
from tests.kit.words import ANSWER, GOOD, HELLO

from sluicegate.demo.scripts import Wait, json_answer, respond

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1 << 20
LIMIT = 40 * MIB
SETTINGS: dict[str, Any] = {"limits": {"body": "40MiB"}}


def get(path: str, *lines: str, method: str = "GET", version: str = "1.1") -> bytes:
    """A request without a body, with the key."""
    every = [f"{method} {path} HTTP/{version}", "Host: gw", f"Authorization: Bearer {KEY}", *lines]
    return "\r\n".join([*every, "", ""]).encode()


def plain(scene: Scene, **how: Any) -> bytes:
    """A request that the upstream answers with ANSWER."""
    return request_bytes(chat(scene.model(json_answer(ANSWER))), key=KEY, **how)


def peak_memory(scene: Scene) -> int:
    """The most memory the gateway has had so far, in bytes."""
    status = Path(f"/proc/{scene.gateway.process.pid}/status").read_text(encoding="ascii")
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024


async def next_answer(wire: Wire, scene: Scene) -> Answer:
    """The answer to one more request on the same connection."""
    await wire.send(plain(scene))
    return await wire.answer()


async def test_21_a_body_declared_above_the_limit_is_refused_before_it_comes(scene: Scene) -> None:
    before = scene.gateway.rss
    async with Wire(scene.gateway.url) as wire:
        head = request_bytes(b"", key=KEY).replace(b"Content-Length: 0", b"Content-Length: %d" % (LIMIT + 1))
        await wire.send(head)
        answer = await wire.answer()
        assert (answer.status, answer.error["code"]) == (413, "request_too_large")
        assert str(LIMIT) in answer.error["message"]
        assert await wire.closed_by_server() == b""
    assert scene.gateway.rss - before < 4 * MIB
    await scene.serves()


async def test_21_a_chunked_body_is_refused_where_it_crosses_the_limit(scene: Scene) -> None:
    before = len(scene.upstream.requests)
    head = get("/v1/chat/completions", "Transfer-Encoding: chunked", method="POST")
    chunk = b"%x\r\n%b\r\n" % (MIB, b" " * MIB)
    async with Wire(scene.gateway.url) as wire:
        await wire.send(head)
        for _ in range(40):
            await wire.send(chunk)
        await wire.send(b"1\r\n \r\n")
        answer = await wire.answer()
        assert (answer.status, answer.error["code"]) == (413, "request_too_large")
    assert len(scene.upstream.requests) == before
    await scene.serves()


async def test_22_a_body_at_the_limit_takes_no_more_than_two_and_a_half_times_its_size(scene: Scene) -> None:
    model = scene.model(json_answer(ANSWER))
    image = base64.b64encode(os.urandom(20 * MIB)).decode()
    content = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}}]
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": content}]}).encode()
    body += b" " * (LIMIT - len(body))
    idle = scene.gateway.rss
    answer = await scene.gateway.ask(body)
    assert (answer.status, answer.body) == (200, ANSWER)
    assert peak_memory(scene) - idle < 2.5 * LIMIT
    [seen] = scene.requests(model)
    assert seen.body.rstrip(b" ").endswith(image.encode() + b'"}}]}]}')
    assert len(seen.body) in range(LIMIT - 16, LIMIT + 16)


METHODS: dict[str, tuple[bytes, int, str | None]] = {
    "TRACE": (get("/v1/chat/completions", method="TRACE"), 405, "POST"),
    "GET": (get("/v1/chat/completions"), 405, "POST"),
    "PUT": (get("/v1/chat/completions", method="PUT"), 405, "POST"),
    "DELETE on models": (get("/v1/models", method="DELETE"), 405, "GET"),
    "OPTIONS": (get("/v1/chat/completions", method="OPTIONS"), 405, "POST"),
    "OPTIONS *": (get("*", method="OPTIONS"), 404, None),
    "CONNECT": (get("upstream:443", method="CONNECT"), 404, None),
}


@pytest.mark.parametrize(("sent", "status", "allow"), METHODS.values(), ids=METHODS)
async def test_24_other_methods_are_answered_and_the_connection_lives(
    scene: Scene, sent: bytes, status: int, allow: str | None
) -> None:
    async with Wire(scene.gateway.url) as wire:
        await wire.send(sent)
        answer = await wire.answer()
        assert (answer.status, answer.header("allow")) == (status, allow)
        assert answer.error["type"] == "invalid_request_error"
        assert (await next_answer(wire, scene)).body == ANSWER


async def test_24_head_is_answered_without_a_body(scene: Scene) -> None:
    async with Wire(scene.gateway.url) as wire:
        await wire.send(get("/v1/models", method="HEAD"))
        assert (await wire.answer("HEAD")).status == 405
        assert (await next_answer(wire, scene)).body == ANSWER


async def test_24_an_http_1_0_client_keeps_its_connection_if_it_says_so(scene: Scene) -> None:
    async with Wire(scene.gateway.url) as wire:
        for _ in range(2):
            await wire.send(plain(scene, version="1.0", headers=[("Connection", "keep-alive")]))
            answer = await wire.answer()
            assert (answer.status, answer.body, answer.header("connection")) == (200, ANSWER, "keep-alive")
        await wire.send(plain(scene, version="1.0"))
        assert (await wire.answer()).body == ANSWER
        assert await wire.closed_by_server() == b""


async def test_24_a_stream_to_an_http_1_0_client_ends_with_the_connection(scene: Scene) -> None:
    model = scene.model(respond(*GOOD))
    async with Wire(scene.gateway.url) as wire:
        body = chat(model, stream=True, stream_options={"include_usage": True})
        await wire.send(request_bytes(body, key=KEY, version="1.0", headers=[("Connection", "keep-alive")]))
        answer = await wire.answer()
    assert (answer.status, answer.header("transfer-encoding")) == (200, None)
    assert (answer.body, answer.header("connection")) == (b"".join(GOOD), None)


UPGRADES = {
    "websocket": [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")],
    "h2c": [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABkAAQAAP__")],
    "tcp": [("Connection", "Upgrade"), ("Upgrade", "tcp")],
}


@pytest.mark.parametrize("headers", UPGRADES.values(), ids=UPGRADES)
async def test_25_an_upgrade_is_not_taken_up_and_hides_nothing(scene: Scene, headers: list[tuple[str, str]]) -> None:
    unauthorised = request_bytes(chat("plain/never"), key="sk-unknown-key")
    async with Wire(scene.gateway.url) as wire:
        await wire.send(plain(scene, headers=headers) + unauthorised)
        assert (await wire.answer()).body == ANSWER
        assert await wire.closed_by_server() == b""
    await scene.serves()


async def test_26_a_client_that_half_closes_has_left(scene: Scene) -> None:
    async with scene.streaming(respond(HELLO, Wait(asyncio.Event()))) as (wire, answer, model):
        await wire.until(answer, b"Hello")
        wire.writer.write_eof()
        assert await wire.closed_by_server() == b""
    row = await scene.gateway.row(requested_model=model)
    assert (row["status"], row["error_code"], row["left"]) == (200, "client_disconnected", "streaming")
    await scene.serves()


@pytest.mark.parametrize("target", ["/v2", "/v1/chat/completions"], ids=["404", "401"])
async def test_28_the_body_of_a_refused_request_is_not_the_next_request(scene: Scene, target: str) -> None:
    hidden = get("/v1/models")
    refused = request_bytes(hidden, path=target, key="sk-unknown-key")
    async with Wire(scene.gateway.url) as wire:
        await wire.send(refused)
        assert (await wire.answer()).status in (401, 404)
        assert (await next_answer(wire, scene)).body == ANSWER


async def test_28_a_refused_body_that_is_still_coming_ends_the_connection(scene: Scene) -> None:
    async with Wire(scene.gateway.url) as wire:
        sent = request_bytes(get("/v1/models") * 20_000, path="/v2", key=KEY)
        await wire.send(sent[: len(sent) // 2])
        answer = await wire.answer()
        assert (answer.status, answer.header("connection")) == (404, "close")
        await wire.send(sent[len(sent) // 2 :])
        assert await wire.closed_by_server() == b""
    await scene.serves()


async def test_29_ten_thousand_requests_on_one_connection_leave_nothing_behind(scene: Scene) -> None:
    sent = get("/v1/models/plain/any")
    async with Wire(scene.gateway.url) as wire:

        async def thousand() -> None:
            for _ in range(20):
                await wire.send(sent * 50)
                assert [(await wire.answer("GET")).status for _ in range(50)] == [200] * 50

        await thousand()
        memory, descriptors = scene.gateway.rss, scene.gateway.descriptors
        for _ in range(9):
            await thousand()
        assert scene.gateway.rss - memory < MIB
        assert scene.gateway.descriptors <= descriptors


async def test_33_bytes_that_are_no_text_reach_neither_upstream_nor_answer_nor_log(scene: Scene) -> None:
    model = scene.model(json_answer(ANSWER))
    sent = request_bytes(chat(model), key=KEY).replace(
        b"Host:", b"X-Request-Id: \xff\xe9\r\nUser-Agent: me\xff\xc3\r\nOpenAI-Beta: a\xe9b\r\nX-A: \xff\r\nHost:"
    )
    log = len(scene.gateway.log_file.read_bytes())
    async with Wire(scene.gateway.url) as wire:
        await wire.send(sent)
        answer = await wire.answer()
    assert (answer.status, answer.body) == (200, ANSWER)
    assert answer.id.startswith("req_")
    assert all(value.isascii() for _, value in answer.headers)
    [seen] = scene.requests(model)
    assert seen.header("openai-beta") is None
    assert all(value.isascii() for _, value in seen.head.headers)
    await scene.gateway.row(requested_model=model)

    async def logged() -> bool:
        return model.encode() in scene.gateway.log_file.read_bytes()[log:]

    await eventually(logged, "the access log's line")
    assert scene.gateway.log_file.read_bytes()[log:].isascii()


IDS: dict[str, tuple[bytes, bool]] = {
    "a plain one": (b"my-id-1", True),
    "128 characters": (b"a" * 128, True),
    "129 characters": (b"a" * 129, False),
    "10 kB": (b"a" * 10_000, False),
    "a space": (b"a b", False),
    "empty": (b"", False),
    "a tab": (b"a\tb", False),
    "a quote and a tag": (b'"><script>', True),
}


@pytest.mark.parametrize(("given", "kept"), IDS.values(), ids=IDS)
async def test_34_a_request_id_is_kept_if_it_is_one_and_else_replaced(scene: Scene, given: bytes, kept: bool) -> None:
    async with Wire(scene.gateway.url) as wire:
        await wire.send(get("/v1/models").replace(b"Host:", b"X-Request-Id: " + given + b"\r\nHost:"))
        answer = await wire.answer("GET")
    assert answer.status == 200
    assert (answer.id == given.decode()) is kept
    assert kept or answer.id.startswith("req_")


async def test_34_a_line_end_in_a_request_id_starts_no_header(scene: Scene) -> None:
    async with Wire(scene.gateway.url) as wire:
        await wire.send(get("/v1/models").replace(b"Host:", b"X-Request-Id: a\rSet-Cookie: b\r\nHost:"))
        answer = await wire.answer("GET")
        assert await wire.closed_by_server() == b""
    assert (answer.status, answer.header("set-cookie")) == (400, None)
