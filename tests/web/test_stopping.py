"""How a gateway stops: readiness first, then no new requests, then streams end in-band. And clients that never read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
import signal
import socket
import time
from urllib.parse import urlsplit

import pytest
from tests.kit.client import Wire, chat, request_bytes
from tests.kit.gateway import KEY, eventually
from tests.kit.scene import Scene
from tests.kit.scene import scene as a_scene
from tests.kit.words import ANSWER, DONE, FINISH, HELLO, USAGE_EVENT, WORLD

from sluicegate.demo.scripts import Wait, json_answer, respond

MIB = 1 << 20
MODELS = f"GET /v1/models HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode()


@asynccontextmanager
async def leaving(folder: Path, **timeouts: float) -> AsyncIterator[tuple[Scene, Callable[[], None]]]:
    """A gateway of its own, and what tells it to stop; then it must end well by itself."""
    async with a_scene(folder, timeouts=timeouts) as scene:
        told = []

        def stop() -> None:
            scene.gateway.process.send_signal(signal.SIGTERM)
            told.append(True)

        yield scene, stop
        if told:
            await asyncio.to_thread(scene.gateway.process.wait, 20)


async def status(scene: Scene, path: str) -> int:
    return (await scene.gateway.admin_get(path)).status


async def test_readiness_goes_first_and_requests_are_still_served(tmp_path: Path) -> None:
    async with leaving(tmp_path, drain_delay=1.5) as (scene, stop), Wire(scene.gateway.url) as wire:
        await wire.send(MODELS)
        assert (await wire.answer("GET")).header("connection") is None
        stop()

        async def not_ready() -> bool:
            return await status(scene, "/readyz") == 503

        await eventually(not_ready, "readiness 503")
        assert await status(scene, "/livez") == 200
        await wire.send(MODELS)
        answer = await wire.answer("GET")
        assert (answer.status, answer.header("connection")) == (200, "close")
        assert await wire.closed_by_server() == b""


async def test_a_running_stream_ends_by_itself_while_new_requests_are_refused(tmp_path: Path) -> None:
    go_on = asyncio.Event()
    rest = (WORLD, FINISH, USAGE_EVENT, DONE)
    async with leaving(tmp_path) as (scene, stop), AsyncExitStack() as stack:
        kept = await stack.enter_async_context(Wire(scene.gateway.url))
        await kept.send(MODELS)
        assert (await kept.answer("GET")).status == 200
        script = respond(HELLO, Wait(go_on), *rest)
        wire, answer, _ = await stack.enter_async_context(
            scene.streaming(script, stream_options={"include_usage": True})
        )
        await wire.until(answer, b"Hello")
        stop()

        async def refused() -> bool:
            with socket.socket() as attempt:
                return attempt.connect_ex(("127.0.0.1", urlsplit(scene.gateway.url).port)) != 0

        await eventually(refused, "the listener's end")
        await kept.send(request_bytes(chat("plain/never"), key=KEY))
        late = await kept.answer()
        assert (late.status, late.error["code"]) == (503, "gateway_draining")
        assert (late.header("retry-after"), late.header("connection")) == ("1", "close")
        go_on.set()
        await wire.rest(answer)
        assert (answer.whole, answer.body) == (True, b"".join((HELLO, *rest)))
        assert await wire.closed_by_server() == b""


async def test_a_stream_that_runs_on_ends_with_an_error_event(tmp_path: Path) -> None:
    async with (
        leaving(tmp_path, drain=0.3) as (scene, stop),
        scene.streaming(respond(HELLO, Wait(asyncio.Event()))) as (wire, answer, _),
    ):
        await wire.until(answer, b"Hello")
        began = time.monotonic()
        stop()
        await wire.rest(answer)
        assert (answer.whole, answer.last_error["code"]) == (True, "gateway_draining")
        assert DONE not in answer.body
        assert await wire.closed_by_server() == b""
        assert 0.3 <= time.monotonic() - began < 3


async def test_a_client_that_does_not_read_its_whole_answer_is_dropped(tmp_path: Path) -> None:
    big = ANSWER[:-1] + b" " * (32 * MIB) + b"}"
    async with leaving(tmp_path, write=0.5) as (scene, _):
        async with Wire(scene.gateway.url, receive_buffer=4096) as wire:
            await wire.send(request_bytes(chat(scene.model(json_answer(big))), key=KEY))
            assert (await wire.head()).status == 200
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(until_reset(wire), 10)
        await scene.serves()


async def until_reset(wire: Wire) -> None:
    """Look at the connection without reading: an error of the socket's shows that it was reset."""
    raw = wire.writer.get_extra_info("socket")
    while True:
        if error := raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise ConnectionResetError(error)
        await asyncio.sleep(0.05)
