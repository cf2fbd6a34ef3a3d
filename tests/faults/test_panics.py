"""Fault 136: a panic of the core's costs one request.

A panic is a bug, so nothing from outside provokes one. What Python gives the core can: PyO3 turns a `PanicException`
that a callable raises back into a panic, which unwinds through the core's frames and leaves it as a `PanicException`,
none of Python's `Exception`s. The callable is the loop's `create_future`, which the core calls once for each thing that
an attempt awaits. Panics inside a connection's callbacks do not leave the core: rust/src/connection/tests.rs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.kit.client import Wire, chat, request_bytes
from tests.kit.gateway import eventually
from tests.kit.inside import Inside, inside
from tests.kit.words import ANSWER, DONE, FINISH, GOOD, HELLO, event

from sluicegate._native import Panic, World
from sluicegate.demo.scripts import Wait, json_answer, respond
from sluicegate.dialects.speech import HEARTBEAT

#: What an attempt on a fresh connection awaits, in order.
READY, HEAD, RELAYED, RESUMED = 1, 2, 3, 4
SECRET = "words of a client"


class Trap:
    """Stands before ``create_future``; springs at the n-th call from when it is set, once."""

    def __init__(self) -> None:
        self.left = 0

    def before(self, create_future: Callable[[], asyncio.Future[Any]]) -> World:
        """The core's world, with the trap in it."""

        def create() -> asyncio.Future[Any]:
            self.left -= 1
            if self.left == 0:
                raise Panic(SECRET)
            return create_future()

        return World(create)


@pytest.fixture
def trap(monkeypatch: pytest.MonkeyPatch) -> Trap:
    made = Trap()
    monkeypatch.setattr("sluicegate.upstream.upstreams.World", made.before)
    return made


@pytest_asyncio.fixture
async def gateway(trap: Trap, tmp_path: Path) -> AsyncIterator[Inside]:  # the trap is there before the gateway starts
    async with inside(tmp_path) as running:
        yield running


async def works(gateway: Inside) -> None:
    """The next request over the same upstream is served."""
    gateway.upstream.script("next", json_answer(ANSWER))
    assert (await gateway.ask(chat("plain/next"))).body == ANSWER


def test_what_the_core_raises_is_no_exception_that_is_caught_by_chance() -> None:
    def springs() -> asyncio.Future[Any]:
        raise Panic(SECRET)

    assert not issubclass(Panic, Exception)
    assert (Panic.__module__, Panic.__name__) == ("pyo3_runtime", "PanicException")
    assert World(springs).held == 0


#: The upstream's model, and the error's type in the endpoint's own shape.
PATHS = {
    "/v1/chat/completions": ("plain/m", "server_error"),
    "/v1/completions": ("plain/m", "server_error"),
    "/v1/responses": ("plain/m", "server_error"),
    "/v1/messages": ("claude/m", "api_error"),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("at", [READY, HEAD])
async def test_136_a_panic_before_an_answer_is_a_500_and_costs_no_other_request(
    gateway: Inside, trap: Trap, caplog: pytest.LogCaptureFixture, at: int, path: str, *, stream: bool
) -> None:
    release = asyncio.Event()
    gateway.upstream.script("other", respond(HELLO, Wait(release), *GOOD[1:]))
    async with Wire(gateway.url) as wire:
        await wire.send(request_bytes(chat("plain/other", stream=True), key=gateway.key))
        other = await wire.head()
        await wire.until(other, HELLO)

        trap.left = at
        model, kind = PATHS[path]
        answer = await gateway.ask(chat(model, stream=stream, max_tokens=9), path=path)

        release.set()
        await wire.rest(other)
    assert (answer.status, answer.whole, answer.error["type"]) == (500, True, kind)
    assert answer.json.get("type") == ("error" if path == "/v1/messages" else None)
    row = await gateway.row(id=answer.id)
    assert (row["status"], row["error_code"], len(row["attempts"])) == (500, "internal_error", 1)
    assert (other.whole, other.body.endswith(DONE)) == (True, True)
    assert (await gateway.row(requested_model="plain/other"))["outcome"] == "completed"
    assert "PanicException" in caplog.text
    assert SECRET not in caplog.text
    await works(gateway)


async def test_136_a_panic_where_the_relay_begins_is_a_500(gateway: Inside, trap: Trap) -> None:
    gateway.upstream.script("m", respond(HELLO, Wait(asyncio.Event())))
    trap.left = RELAYED
    answer = await gateway.ask(chat("plain/m", stream=True))
    assert (answer.status, answer.whole, answer.error["code"]) == (500, True, "internal_error")
    row = await gateway.row(id=answer.id)
    assert (row["status"], row["error_code"], row["bytes_out"]) == (500, "internal_error", len(answer.body))
    assert row["attempts"][0]["outcome"] == "internal_error"
    await asyncio.wait_for((await gateway.upstream.received()).peer_closed.wait(), 1)
    await works(gateway)


async def test_136_91_a_panic_where_the_relay_begins_is_told_behind_a_heartbeat(trap: Trap, tmp_path: Path) -> None:
    release = asyncio.Event()
    async with inside(tmp_path, timeouts={"heartbeat": 1}) as gateway, Wire(gateway.url) as wire:
        gateway.upstream.script("m", respond(b": ping\n\n", Wait(release), *GOOD))
        trap.left = RELAYED
        await wire.send(request_bytes(chat("plain/m", stream=True), key=gateway.key))
        answer = await wire.head()
        await wire.until(answer, HEARTBEAT)
        release.set()
        await wire.rest(answer)
        row = await gateway.row(id=answer.id)
        await works(gateway)
    assert answer.body.startswith(HEARTBEAT + b'data: {"error"')
    assert (answer.whole, answer.last_error["code"]) == (True, "internal_error")
    assert (row["status"], row["error_code"], row["bytes_out"]) == (200, "internal_error", len(answer.body))


async def test_136_86_a_panic_in_the_middle_of_a_stream_is_told_in_it(gateway: Inside, trap: Trap) -> None:
    large = event("x" * 65536)
    gateway.upstream.script("m", respond(HELLO, *([large] * 256), FINISH, *GOOD[3:]))
    trap.left = RESUMED
    async with Wire(gateway.url, receive_buffer=16384) as wire:
        await wire.send(request_bytes(chat("plain/m", stream=True), key=gateway.key))
        answer = await wire.head()
        request = await gateway.upstream.received()

        async def piles_up() -> bool:
            return request.written_count > 1 << 20

        await eventually(piles_up, "an answer that waits for its client")
        await wire.rest(answer)
        assert await wire.closed_by_server() == b""
    assert (answer.whole, answer.last_error["code"]) == (True, "internal_error")
    count = answer.body.count(large)
    assert answer.body.startswith(HELLO + large * count + b'data: {"error"')
    assert count < 256
    row = await gateway.row(requested_model="plain/m")
    assert (row["status"], row["error_code"], row["bytes_out"]) == (200, "internal_error", len(answer.body))
    await asyncio.wait_for(request.peer_closed.wait(), 1)
    await works(gateway)


async def test_136_a_panic_while_a_request_is_read_is_a_500(gateway: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    def springs(*_: object, **__: object) -> None:
        raise Panic(SECRET)

    with monkeypatch.context() as patched:
        patched.setattr("sluicegate.dialects.request.read", springs)
        answer = await gateway.ask(chat("plain/m"))
    assert (answer.status, answer.error["code"]) == (500, "internal_error")
    assert (await gateway.row(id=answer.id))["error_code"] == "internal_error"
    await works(gateway)
