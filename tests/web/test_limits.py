"""Connections: how many there may be, and how long a request's head may take."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
import time
from typing import Any

import pytest
from tests.kit.client import Wire, chat, request_bytes
from tests.kit.gateway import KEY, eventually
from tests.kit.scene import Scene
from tests.kit.scene import scene as a_scene
from tests.kit.words import ANSWER

from sluicegate.demo.scripts import json_answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONNECTIONS = 8
SPARE = 64
HEADER = 0.5
SETTINGS: dict[str, Any] = {"limits": {"connections": CONNECTIONS}, "timeouts": {"header": HEADER}}
HEAD = b"GET /v1/models HTTP/1.1\r\nHost: gw\r\n"
ASK = HEAD + f"Authorization: Bearer {KEY}\r\n\r\n".encode()


async def crowd(scene: Scene, stack: AsyncExitStack, count: int) -> list[Wire]:
    """So many connections that have asked once, so that they may rest, and rest."""
    wires = []
    for _ in range(count):
        wire = await stack.enter_async_context(Wire(scene.gateway.url))
        await wire.send(ASK)
        assert (await wire.answer("GET")).status == 200
        wires.append(wire)
    return wires


async def test_32_one_connection_too_many_is_told_to_come_back_at_once(scene: Scene) -> None:
    async with AsyncExitStack() as stack:
        resting = await crowd(scene, stack, CONNECTIONS)
        began = time.monotonic()
        surplus = await stack.enter_async_context(Wire(scene.gateway.url))
        await surplus.send(request_bytes(chat("plain/never"), key=KEY))
        answer = await surplus.answer()
        assert (answer.status, answer.error["code"]) == (503, "gateway_overloaded")
        assert (answer.header("retry-after"), answer.header("connection")) == ("1", "close")
        assert await surplus.closed_by_server() == b""
        assert time.monotonic() - began < 1
        await resting[0].send(request_bytes(chat(scene.model(json_answer(ANSWER))), key=KEY))
        assert (await resting[0].answer()).body == ANSWER
    await serves_again(scene)


async def test_32_far_too_many_are_dropped_unread(scene: Scene) -> None:
    async with AsyncExitStack() as stack:
        await crowd(scene, stack, CONNECTIONS)
        for _ in range(SPARE):
            await stack.enter_async_context(Wire(scene.gateway.url))
        dropped = await stack.enter_async_context(Wire(scene.gateway.url))
        assert await dropped.closed_by_server() == b""
    await serves_again(scene)


async def serves_again(scene: Scene) -> None:
    """Once the crowd has gone."""

    async def served() -> bool:
        try:
            return (await scene.gateway.ask(chat(scene.model(json_answer(ANSWER))))).status == 200
        except (asyncio.IncompleteReadError, ConnectionError):
            return False

    await eventually(served, "room for a connection")
    await scene.serves()


@pytest.mark.parametrize("sent", [b"", HEAD], ids=["nothing", "half a head"])
async def test_a_head_that_does_not_come_ends_the_connection(scene: Scene, sent: bytes) -> None:
    async with Wire(scene.gateway.url) as wire:
        began = time.monotonic()
        if sent:
            await wire.send(sent)
            answer = await wire.answer("GET")
            assert (answer.status, answer.error["code"]) == (408, "request_timeout")
        assert await wire.closed_by_server() == b""
        assert HEADER <= time.monotonic() - began < HEADER + 1
    await scene.serves()


async def test_a_head_that_drips_is_late_from_its_first_byte_on(scene: Scene) -> None:
    async with Wire(scene.gateway.url) as wire:
        await wire.send(ASK)
        assert (await wire.answer("GET")).status == 200
        began = time.monotonic()
        reading = asyncio.create_task(wire.answer("GET"))
        drops = iter(b"GET /" + b"a" * 1000)
        while not reading.done():
            await wire.send(bytes([next(drops)]))
            await asyncio.wait([reading], timeout=HEADER / 8)
        answer = reading.result()
        assert (answer.status, answer.error["code"]) == (408, "request_timeout")
        assert HEADER <= time.monotonic() - began < HEADER + 1
    await scene.serves()


async def test_a_connection_may_rest_longer_than_a_head_may_take(scene: Scene) -> None:
    async with Wire(scene.gateway.url) as wire:
        for _ in range(2):
            await wire.send(ASK)
            assert (await wire.answer("GET")).status == 200
            with pytest.raises(TimeoutError):
                await wire.closed_by_server(within=HEADER * 3)
        await wire.send(ASK)
        assert (await wire.answer("GET")).status == 200


REFUSED = {
    "no HTTP": (b"GARBAGE\r\n\r\n", 400, "invalid_http"),
    "no such path": (b"GET /nowhere HTTP/1.1\r\nHost: gw\r\n\r\n", 404, "unknown_path"),
    "another method": (b"PUT /v1/models HTTP/1.1\r\nHost: gw\r\n\r\n", 405, "method_not_allowed"),
    "a head above the limit": (HEAD + b"X-A: " + b"a" * 40_000 + b"\r\n\r\n", 431, "headers_too_large"),
    "half a head": (HEAD, 408, "request_timeout"),
    "a wrong key for what has no row": (HEAD + b"Authorization: Bearer sk-x\r\n\r\n", 401, "invalid_api_key"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_refused_before_it_has_a_row_is_counted_apart(scene: Scene, name: str) -> None:
    sent, status, code = REFUSED[name]
    before = await scene.gateway.metrics()
    async with Wire(scene.gateway.url) as wire:
        await wire.send(sent)
        answer = await wire.answer()
    assert (answer.status, answer.error["code"]) == (status, code)
    moved = await scene.gateway.metrics() - before
    assert moved.get("sluicegate_refused_requests_total", status=str(status), error_type=code) == 1
    assert moved.get("sluicegate_refused_requests_total") == 1
    assert moved.get("sluicegate_requests_total") == 0


PAGES = {
    "a page of another origin": ([("Origin", "https://evil.example")], 403, "origin_not_allowed"),
    "a page without an origin of its own": ([("Origin", "null")], 403, "origin_not_allowed"),
    "a form": ([("Content-Type", "text/plain")], 415, "unsupported_media_type"),
    "no type": ([("Content-Type", "")], 415, "unsupported_media_type"),
    "a multipart form": ([("Content-Type", "multipart/form-data; boundary=x")], 415, "unsupported_media_type"),
}


async def test_without_keys_no_web_page_may_ask(tmp_path: Path) -> None:
    async with a_scene(tmp_path, keys=[]) as scene:
        body = chat("plain/never")
        for name, (headers, status, code) in PAGES.items():
            given = dict([("Content-Type", "application/json"), *headers])
            sent = request_bytes(body).replace(b"Content-Type: application/json\r\n", b"")
            lines = "".join(f"{header}: {value}\r\n" for header, value in given.items()).encode()
            async with Wire(scene.gateway.url) as wire:
                await wire.send(sent.replace(b"Host:", lines + b"Host:"))
                answer = await wire.answer()
            assert (name, answer.status, answer.error["code"]) == (name, status, code)
        assert scene.upstream.requests == []
        for kind in ("application/json", "application/json; charset=utf-8", "application/vnd.api+json"):
            asked = request_bytes(chat(scene.model(json_answer(ANSWER)))).replace(b"application/json", kind.encode())
            async with Wire(scene.gateway.url) as wire:
                await wire.send(asked)
                assert (await wire.answer()).body == ANSWER
