"""Faults 107-117: clients that leave, that read slowly, and that ask again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.kit.client import Wire, chat, request_bytes
from tests.kit.gateway import eventually
from tests.kit.inside import inside
from tests.kit.samples import Samples
from tests.kit.scene import Scene
from tests.kit.scene import scene as a_scene
from tests.kit.words import ANSWER, DELTA, DONE, FIGURES, FINISH, GOOD, HELLO, USAGE, USAGE_EVENT, WORLD, event

from sluicegate.demo import faults
from sluicegate.demo.requests import Received
from sluicegate.demo.scripts import Mark, Repeat, Script, Send, Wait, chunk, json_answer, raw, respond
from sluicegate.errors import ClientLeft
from sluicegate.exchange import Sink
from sluicegate.web.message import Message

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1 << 20
BLOCK = event("A" * 60_000)
MESSAGE_DELTA = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"Hi"}}\n\n'
)
#: Where it is asked, as what kind of upstream, and an event that commits there.
SURFACES = {
    "chat": ("/v1/chat/completions", "plain", HELLO),
    "chat over TLS": ("/v1/chat/completions", "secure", HELLO),
    "completions": ("/v1/completions", "plain", b'data: {"choices":[{"index":0,"text":"Hi"}]}\n\n'),
    "messages": ("/v1/messages", "claude", MESSAGE_DELTA),
    "responses": ("/v1/responses", "plain", DELTA),
}
LEAVES: dict[str, Callable[[Wire], None]] = {"FIN": Wire.close, "RST": Wire.reset}


async def gone(scene: Scene, model: str, before: Samples, phase: str, status: int) -> dict[str, Any]:
    """Everybody knows within a second that the client left in this phase; the upstream's connection is closed."""
    request = await scene.arrived(model)
    await request.closed_by_peer(within=1)
    row = await scene.gateway.row(requested_model=model)
    assert (row["left"], row["status"], row["error_code"]) == (phase, status, "client_disconnected")
    moved = await scene.gateway.metrics() - before
    assert moved.get("sluicegate_client_disconnects_total", phase=phase) == 1
    assert moved.get("sluicegate_requests_total", status=str(status), error_type="client_disconnected") == 1
    assert moved.get("sluicegate_streams_active") == 0
    await scene.serves()
    return row


@pytest.mark.parametrize("leave", LEAVES)
@pytest.mark.parametrize("surface", SURFACES)
async def test_107_gone_before_the_upstream_has_answered(scene: Scene, surface: str, leave: str) -> None:
    path, by, _ = SURFACES[surface]
    model = scene.model(faults.stalls_before_head(), by=by)
    before = await scene.gateway.metrics()
    async with Wire(scene.gateway.url) as wire:
        await wire.send(request_bytes(chat(model, stream=True), path=path, key=scene.gateway.key))
        await scene.arrived(model)
        LEAVES[leave](wire)
        await gone(scene, model, before, "before_head", 499)


async def test_107_gone_after_the_upstreams_head_but_before_the_first_content(scene: Scene) -> None:
    sent = asyncio.Event()
    model = scene.model(respond(b": ping\n\n", Mark(sent), Wait(asyncio.Event())))
    before = await scene.gateway.metrics()
    async with Wire(scene.gateway.url) as wire:
        await wire.send(request_bytes(chat(model, stream=True), key=scene.gateway.key))
        await sent.wait()
        wire.close()
        row = await gone_before_commit(scene, model)
    moved = await scene.gateway.metrics() - before
    assert moved.get("sluicegate_client_disconnects_total", phase=row["left"]) == 1


async def test_107_gone_at_the_very_moment_of_the_first_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def left(message: Message, headers: object) -> Sink:
        message.abort()
        raise ClientLeft

    async with inside(tmp_path) as gateway:
        with monkeypatch.context() as patched:
            patched.setattr(Message, "open", left)
            async with Wire(gateway.url) as wire:
                await wire.send(request_bytes(chat("plain/m", stream=True), key=gateway.key))
                assert await wire.closed_by_server() == b""
        row = await gateway.row(requested_model="plain/m")
        assert (row["status"], row["error_code"], row["left"]) == (499, "client_disconnected", "before_head")
        assert (await gateway.ask(chat("plain/n"))).status == 200


async def gone_before_commit(scene: Scene, model: str) -> dict[str, Any]:
    """The row of a client that left while nothing was its own yet."""
    await (await scene.arrived(model)).closed_by_peer(within=1)
    row = await scene.gateway.row(requested_model=model)
    # Nothing had been sent to the client, so for it this was before any head.
    assert (row["status"], row["left"] in ("before_head", "before_commit")) == (499, True)
    return row


@pytest.mark.parametrize("leave", LEAVES)
@pytest.mark.parametrize("surface", SURFACES)
async def test_108_gone_in_the_middle_of_a_stream(scene: Scene, surface: str, leave: str) -> None:
    path, by, first = SURFACES[surface]
    before = await scene.gateway.metrics()
    async with scene.streaming(faults.stalled_stream(first), by=by, path=path) as (wire, answer, model):
        await wire.until(answer, first)
        LEAVES[leave](wire)
        await gone(scene, model, before, "streaming", 200)


async def test_108_gone_while_the_upstream_writes_as_fast_as_it_can(scene: Scene) -> None:
    before = await scene.gateway.metrics()
    async with scene.streaming(faults.endless_stream(WORLD)) as (wire, answer, model):
        await wire.until(answer, WORLD * 100)
        wire.reset()
        await gone(scene, model, before, "streaming", 200)
    assert "Traceback" not in scene.gateway.log


async def test_108_what_the_upstream_had_said_of_usage_counts_as_partial(scene: Scene) -> None:
    before = await scene.gateway.metrics()
    script = faults.stalled_stream(HELLO, event("x", usage=USAGE))
    async with scene.streaming(script, stream_options={"include_usage": True}) as (wire, answer, model):
        await wire.until(answer, b"usage")
        wire.close()
        row = await gone(scene, model, before, "streaming", 200)
    assert dict(row["usage"]["reported"]) == FIGURES
    assert (row["usage"]["input_provenance"], row["usage"]["output_provenance"]) == ("partial", "partial")


@pytest.mark.parametrize("leave", LEAVES)
async def test_109_gone_while_a_whole_answer_is_awaited(scene: Scene, leave: str) -> None:
    model = scene.model(faults.stalls_before_head())
    before = await scene.gateway.metrics()
    async with Wire(scene.gateway.url) as wire:
        await wire.send(request_bytes(chat(model), key=scene.gateway.key))
        await scene.arrived(model)
        LEAVES[leave](wire)
        await gone(scene, model, before, "before_head", 499)


@pytest.mark.parametrize("leave", LEAVES)
async def test_111_gone_right_after_the_end_is_success(scene: Scene, leave: str) -> None:
    release = asyncio.Event()
    before = await scene.gateway.metrics()
    script = Script((*respond(*GOOD).steps[:-1], Wait(release), Send(b"0\r\n\r\n")))
    async with scene.streaming(script, stream_options={"include_usage": True}) as (wire, answer, model):
        await wire.until(answer, DONE)
        LEAVES[leave](wire)
        release.set()
        seen = await scene.aftermath(model, before)
    seen.succeeded()
    assert seen.row["left"] == ""
    assert seen.moved.get("sluicegate_client_disconnects_total") == 0


async def test_113_a_slow_reader_pauses_the_upstream(scene: Scene) -> None:
    total = 100 * MIB
    script = raw(faults.STREAM_HEAD, Repeat(chunk(BLOCK), total // len(BLOCK)), chunk(FINISH + DONE) + b"0\r\n\r\n")
    before = scene.gateway.rss
    model = scene.model(script)
    async with Wire(scene.gateway.url, receive_buffer=16384) as wire:
        await wire.send(request_bytes(chat(model, stream=True), key=scene.gateway.key))
        answer = await wire.head()
        for _ in range(20):
            await wire.reader.read(1024)
        request = await scene.arrived(model)
        written = await settled(lambda: request.written_count)
        grown = scene.gateway.rss - before
        # What lies in four socket buffers and in the gateway is a few megabytes; the rest waits at the upstream.
        assert written < 24 * MIB
        assert grown < 8 * MIB
        wire.reset()
    assert answer.status == 200
    await request.closed_by_peer()
    await scene.serves()


async def settled(read: Callable[[], int]) -> int:
    """A growing number's value once it has stood still for half a second."""
    value, since = read(), asyncio.get_running_loop().time()

    async def still() -> bool:
        nonlocal value, since
        if (now := read()) != value:
            value, since = now, asyncio.get_running_loop().time()
        return asyncio.get_running_loop().time() - since > 0.5

    await eventually(still, "the upstream to be paused", within=15)
    return value


async def test_113_a_reader_that_comes_back_gets_every_byte(scene: Scene) -> None:
    count = 64 * MIB // len(BLOCK)
    script = raw(faults.STREAM_HEAD, Repeat(chunk(BLOCK), count), chunk(FINISH + DONE) + b"0\r\n\r\n")
    model = scene.model(script)
    async with Wire(scene.gateway.url, receive_buffer=65536) as wire:
        await wire.send(request_bytes(chat(model, stream=True), key=scene.gateway.key))
        answer = await wire.head()
        request = await scene.arrived(model)
        await settled(lambda: request.written_count)
        body = bytearray()
        while piece := await read_chunk(wire):
            body += piece
    assert answer.status == 200
    assert len(body) == count * len(BLOCK) + len(FINISH + DONE)
    assert body == BLOCK * count + FINISH + DONE


async def read_chunk(wire: Wire) -> bytes:
    """One chunk, however much larger than the reader's buffer."""
    size = int((await wire.reader.readline()).strip(), 16)
    return (await wire.reader.readexactly(size + 2))[:-2]


async def test_114_stalled_readers_are_dropped_after_the_write_timeout(tmp_path: Path) -> None:
    async with a_scene(tmp_path, timeouts={"write": 1}) as scene:
        before = await scene.gateway.metrics()
        wires: list[Wire] = []
        models: list[str] = []
        for number in range(20):
            model = scene.model(faults.endless_stream(BLOCK), by=("plain", "secure")[number % 2])
            wire = await Wire(scene.gateway.url, receive_buffer=4096).__aenter__()
            await wire.send(request_bytes(chat(model, stream=True), key=scene.gateway.key))
            wires.append(wire)
            models.append(model)
        for _ in range(10):
            await scene.serves()
        requests: list[Received] = [await scene.arrived(model) for model in models]
        for request in requests:
            await request.closed_by_peer(within=10)
        rows = [await scene.gateway.row(requested_model=model) for model in models]
        moved = await scene.gateway.metrics() - before
        assert {(row["status"], row["error_code"]) for row in rows} == {(200, "client_stalled")}
        assert moved.get("sluicegate_requests_total", status="200", error_type="client_stalled") == 20
        assert moved.get("sluicegate_streams_active") == 0
        for wire in wires:
            wire.close()


async def test_115_a_zero_window_and_then_a_reset_leak_nothing(scene: Scene) -> None:
    await scene.serves()
    descriptors = scene.gateway.descriptors
    for _ in range(20):
        model = scene.model(faults.endless_stream(BLOCK))
        async with Wire(scene.gateway.url, receive_buffer=4096) as wire:
            await wire.send(request_bytes(chat(model, stream=True), key=scene.gateway.key))
            await wire.head()
            await scene.arrived(model)
            wire.reset()
        await (await scene.arrived(model)).closed_by_peer(within=1)

    async def closed() -> bool:
        return scene.gateway.descriptors <= descriptors + 1

    await eventually(closed, "the descriptors to be given back")
    await scene.serves()


async def test_116_the_first_event_leaves_at_once_and_nobody_may_buffer_it(scene: Scene) -> None:
    release = asyncio.Event()
    script = respond(HELLO, Wait(release), WORLD, FINISH, USAGE_EVENT, DONE)
    async with scene.streaming(script, stream_options={"include_usage": True}) as (wire, answer, _):
        assert await wire.piece(answer) == HELLO
        assert answer.header("cache-control") == "no-cache, no-transform"
        assert answer.header("x-accel-buffering") == "no"
        assert answer.header("content-encoding") is None
        assert (answer.header("content-type") or "").startswith("text/event-stream")
        release.set()
        assert (await wire.rest(answer)).body == b"".join(GOOD)


async def test_117_a_request_sent_during_an_answer_is_served_after_it(scene: Scene) -> None:
    release = asyncio.Event()
    first = scene.model(respond(HELLO, Wait(release), FINISH, DONE))
    second = scene.model(json_answer(ANSWER))
    async with Wire(scene.gateway.url) as wire:
        await wire.send(request_bytes(chat(first, stream=True), key=scene.gateway.key))
        answer = await wire.head()
        await wire.until(answer, HELLO)
        await wire.send(request_bytes(chat(second), key=scene.gateway.key))
        release.set()
        await wire.rest(answer)
        assert (answer.body, answer.whole) == (HELLO + FINISH + DONE, True)
        answer = await wire.answer()
        assert (answer.status, answer.body) == (200, ANSWER)
    assert scene.requests(second)[0].at >= scene.requests(first)[0].at


async def test_117_more_than_can_be_kept_waits_in_the_clients_own_buffers(scene: Scene) -> None:
    before, release = scene.gateway.rss, asyncio.Event()
    async with scene.streaming(respond(HELLO, Wait(release), FINISH, DONE)) as (wire, answer, model):
        await wire.until(answer, HELLO)
        flood = request_bytes(chat("plain/never", padding="x" * MIB), key=scene.gateway.key)

        async def pour() -> None:
            for _ in range(64):
                wire.writer.write(flood)
                await wire.writer.drain()

        pouring = asyncio.create_task(pour())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(pouring), 2)
        assert scene.gateway.rss - before < 16 * MIB
        release.set()
        assert (await wire.rest(answer)).body == HELLO + FINISH + DONE
        pouring.cancel()
        wire.reset()
    assert (await scene.gateway.row(requested_model=model))["status"] == 200
    await scene.serves()
