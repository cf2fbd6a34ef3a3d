"""Faults 56-59, 65, 69, 86, 90 and 92 on the wire itself: a proxy breaks TCP, TLS and HTTP where no script could.

Each row of a table is one connection's fault; every one is judged from all sides: what the client saw, what passed to
the upstream, the row, the metric, and that the next request works.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
import json
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.kit.client import Answer
from tests.kit.proxy import Fault, FaultProxy, Passed
from tests.kit.scene import UPSTREAM_KEY, Aftermath, Scene
from tests.kit.scene import scene as a_scene
from tests.kit.words import ANSWER, DONE, FINISH, GOOD, HELLO, WORLD

from sluicegate.demo.scripts import Script, chunk, json_answer, respond

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASKED = {"stream_options": {"include_usage": True}}
STREAM = b"".join(GOOD)
MIB = 1 << 20


@dataclass
class Faulty:
    """A scene whose upstreams `plain-faulty/*` and `secure-faulty/*` lie behind a proxy each."""

    scene: Scene
    proxies: dict[str, FaultProxy] = field(default_factory=dict)

    async def play(
        self, fault: Fault, script: Script, *, by: str = "plain", **members: Any
    ) -> tuple[Answer, Aftermath, Passed]:
        """Ask once over a connection with this fault."""
        proxy = self.proxies[by]
        known = len(proxy.connections)
        proxy.next(fault)
        answer, seen = await self.scene.play(script, {**ASKED, **members}, by=f"{by}-faulty")
        [passed] = [passed for passed in proxy.connections[known:] if passed.faulty]
        proxy.next()
        model = self.scene.model(respond(*GOOD), by=f"{by}-faulty")
        again = await self.scene.gateway.ask({"model": model, "messages": [], "stream": True, **ASKED})
        assert (again.status, again.body) == (200, STREAM), "the next request over the same way"
        return answer, seen, passed

    async def failed(
        self,
        fault: Fault,
        script: Script,
        status: int,
        code: str,
        *,
        by: str = "plain",
        requests: int = 1,
        **members: Any,
    ) -> Passed:
        """Ask once; it fails before the client has anything, everybody agrees how, and the connection is given up."""
        answer, seen, passed = await self.play(fault, script, by=by, **members)
        assert (answer.status, answer.error["code"], answer.whole) == (status, code, True)
        assert (seen.row["status"], seen.row["error_code"], len(seen.row["attempts"])) == (status, code, 1)
        assert seen.moved.get("sluicegate_requests_total", status=str(status), error_type=code) == 1
        assert len(seen.requests) == requests
        return passed

    async def cut(self, fault: Fault, script: Script, code: str, *, by: str = "plain") -> tuple[Answer, Passed]:
        """Ask once; the stream is the client's already when it fails, and everybody says so."""
        answer, seen, passed = await self.play(fault, script, by=by)
        assert (answer.status, answer.whole, answer.last_error["code"]) == (200, True, code)
        assert DONE not in answer.body
        seen.broken_off(code)
        return answer, passed


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def faulty(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Faulty]:
    folder: Path = tmp_path_factory.mktemp("wire")
    async with FaultProxy() as plain, FaultProxy() as secure:
        upstreams = {
            "plain-faulty": {"base_url": f"http://127.0.0.1:{plain.port}/v1"},
            "secure-faulty": {"base_url": f"https://localhost:{secure.port}/v1", "ca_file": str(folder / "ca.pem")},
        }
        models = {f"{name}/*": {"targets": [{"upstream": name, "model": "*"}]} for name in upstreams}
        shared = {"dialect": "openai", "api_key": UPSTREAM_KEY}
        async with a_scene(
            folder,
            upstreams={name: shared | how for name, how in upstreams.items()},
            models=models,
            timeouts={"connect": 1, "first_content": 2, "idle": 2, "total": 4, "done_grace": 1},
        ) as running:
            plain.to, secure.to = running.upstream.port, running.secure.port
            yield Faulty(running, {"plain": plain, "secure": secure})


HANDSHAKES = {
    "closed at once": (Fault(says=b""), 502, "upstream_tls"),
    "closed inside": (Fault(after=7), 502, "upstream_tls"),
    "closed before its last message": (Fault(after=150), 502, "upstream_tls"),
    "silent": (Fault("stall", after=0), 504, "upstream_connect_timeout"),
    "silent inside": (Fault("stall", after=150), 504, "upstream_connect_timeout"),
    "HTTP": (Fault(says=b"HTTP/1.1 400 Bad Request\r\n\r\n"), 502, "upstream_tls"),
    "a byte altered": (Fault(flip=150), 502, "upstream_tls"),
    "dripping too slowly": (Fault(piece=20, pace=0.1), 504, "upstream_connect_timeout"),
}


@pytest.mark.parametrize("name", HANDSHAKES)
async def test_56_a_handshake_that_breaks_anywhere_sends_no_request(faulty: Faulty, name: str) -> None:
    fault, status, code = HANDSHAKES[name]
    await faulty.failed(fault, respond(*GOOD), status, code, by="secure", requests=0)


@pytest.mark.parametrize("by", ["plain", "secure"])
async def test_57_a_kept_connection_that_is_reset_under_a_request_is_replaced(faulty: Faulty, by: str) -> None:
    scene, proxy = faulty.scene, faulty.proxies[by]
    proxy.next()
    kept = scene.model(json_answer(ANSWER), by=f"{by}-faulty")
    assert (await scene.gateway.ask({"model": kept, "messages": []})).body == ANSWER
    for _ in range(3):
        model = scene.model(json_answer(ANSWER), by=f"{by}-faulty")
        before = await scene.gateway.metrics()
        proxy.drop()
        answer = await scene.gateway.ask({"model": model, "messages": []})
        assert (answer.status, answer.body) == (200, ANSWER)
        seen = await scene.aftermath(model, before)
        assert (len(seen.requests), len(seen.row["attempts"]), seen.row["error_code"]) == (1, 1, "")


@pytest.mark.parametrize("then", ["close", "reset"])
async def test_58_an_end_instead_of_an_answer_is_a_502_and_not_tried_again(faulty: Faulty, then: Any) -> None:
    passed = await faulty.failed(Fault(then, after=0), respond(*GOOD), 502, "upstream_lost")
    assert (passed.down, passed.up > 0) == (0, True)


@pytest.mark.parametrize("then", ["close", "reset"])
async def test_58_an_upload_that_is_broken_off_is_a_502(faulty: Faulty, then: Any) -> None:
    big = {"padding": "x" * 8 * MIB}
    passed = await faulty.failed(
        Fault(then, takes=100_000), respond(*GOOD), 502, "upstream_lost", requests=0, stream=False, **big
    )
    assert passed.up == 100_000


async def test_58_an_upload_that_nobody_reads_ends_at_the_time_for_an_answer(faulty: Faulty) -> None:
    big = {"padding": "x" * 16 * MIB}
    await faulty.failed(Fault("stall", takes=100_000), respond(*GOOD), 504, "upstream_timeout", requests=0, **big)
    samples = await faulty.scene.gateway.metrics()
    assert samples.get("sluicegate_upstream_connections", upstream="plain-faulty", state="active") == 0


INSIDE_THE_HEAD = {"its first byte": 1, "its status": 12, "a header": 40}


@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize("name", INSIDE_THE_HEAD)
async def test_59_a_head_that_is_cut_is_a_502(faulty: Faulty, name: str, then: Any) -> None:
    await faulty.failed(Fault(then, after=INSIDE_THE_HEAD[name]), respond(*GOOD), 502, "upstream_truncated")


@pytest.mark.parametrize("by", ["plain", "secure"])
async def test_59_an_end_after_the_head_is_a_502(faulty: Faulty, by: str) -> None:
    fault = Fault(after=b"\r\n\r\n") if by == "plain" else Fault(after=2000)
    script = respond(*GOOD) if by == "plain" else respond(b": " + b"x" * 4000 + b"\n\n", *GOOD)
    await faulty.failed(fault, script, 502, "upstream_truncated", by=by)


LENGTH = f"content-length: {len(ANSWER)}".encode()
LONGER = (LENGTH, LENGTH + b"0")
LIES = {
    "longer than it is, then an end": (Fault(after=ANSWER[-20:], instead=LONGER), 502, "upstream_truncated"),
    "longer than it is, and nothing more": (Fault(instead=LONGER), 504, "total_timeout"),
    "shorter than it is": (Fault(instead=(LENGTH, b"content-length: 40")), 502, "upstream_truncated"),
    "negative": (Fault(instead=(LENGTH, b"content-length: -1")), 502, "upstream_protocol"),
    "not a number": (Fault(instead=(LENGTH, b"content-length: 1e3")), 502, "upstream_protocol"),
    "above all limits": (Fault(instead=(LENGTH, b"content-length: 99999999999999999999")), 502, "upstream_protocol"),
}


@pytest.mark.parametrize("name", LIES)
async def test_65_a_length_that_lies_is_never_a_whole_answer(faulty: Faulty, name: str) -> None:
    fault, status, code = LIES[name]
    passed = await faulty.failed(fault, json_answer(ANSWER), status, code, stream=False)
    if fault.after is None:
        await asyncio.wait_for(passed.left.wait(), 1)


SIZE = b"%x\r\n" % len(WORLD)
CHUNK_LIES = {
    "more than it is": (SIZE, b"%x\r\n" % (len(WORLD) + 2)),
    "one more than it is": (SIZE, b"%x\r\n" % (len(WORLD) + 1)),
    "less than it is": (SIZE, b"%x\r\n" % (len(WORLD) - 1)),
    "no digits": (SIZE, b"zz\r\n"),
    "too many digits": (SIZE, b"fffffffffffffffff\r\n"),
}


@pytest.mark.parametrize("name", CHUNK_LIES)
async def test_65_86_a_chunk_size_that_lies_ends_the_stream_with_an_error(faulty: Faulty, name: str) -> None:
    script = respond(HELLO, WORLD, FINISH, DONE)
    assert chunk(WORLD).startswith(SIZE)
    assert len(HELLO) != len(WORLD)
    answer, _ = await faulty.cut(Fault(instead=CHUNK_LIES[name]), script, "upstream_protocol")
    assert answer.body.startswith(HELLO)
    assert json.loads(read_by_line_feeds(answer.body)[-1])["error"]["code"] == "upstream_protocol"


def read_by_line_feeds(body: bytes) -> list[bytes]:
    """The data of each event, for a reader that knows no line end but LF."""
    events: list[list[bytes]] = [[]]
    for line in body.split(b"\n"):
        if not line:
            events.append([])
        elif line.startswith(b"data: "):
            events[-1].append(line.removeprefix(b"data: "))
    return [b"\n".join(event) for event in events if event]


@pytest.mark.parametrize("by", ["plain", "secure"])
async def test_69_bytes_that_come_one_by_one_on_the_wire_make_the_same_answer(faulty: Faulty, by: str) -> None:
    size = 1 if by == "plain" else 40  # a handshake has its time, too
    answer, seen, _ = await faulty.play(Fault(piece=size), respond(*GOOD), by=by)
    assert (answer.body, answer.whole) == (STREAM, True)
    seen.succeeded()


WIRE = sum(len(chunk(piece)) for piece in GOOD)
HEAD = len(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n")
EVERY = [
    pytest.param(offset, marks=[] if offset % 97 == 0 else [pytest.mark.full]) for offset in range(HEAD, HEAD + WIRE)
]


@pytest.mark.parametrize("cut", EVERY)
async def test_86_a_stream_cut_at_any_byte_is_never_taken_for_a_whole_one(faulty: Faulty, cut: int) -> None:
    answer, seen, passed = await faulty.play(Fault(after=cut), respond(*GOOD))
    assert passed.down == cut
    if answer.status != 200:
        assert (answer.status, answer.error["code"]) == (502, "upstream_truncated")
    elif answer.body.endswith(DONE):
        assert answer.body == STREAM or FINISH in answer.body
        assert b'"error"' not in answer.body
    else:
        assert answer.last_error["code"] == "upstream_truncated"
        assert FINISH not in answer.body
    told = "" if answer.body.endswith(DONE) else "upstream_truncated"
    assert (seen.row["error_code"], len(seen.requests)) == (told, 1)
    assert seen.moved.get("sluicegate_requests_total", error_type=told, status=str(answer.status)) >= 1


@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize("by", ["plain", "secure"])
async def test_86_a_cut_inside_an_event_on_the_wire_is_told(faulty: Faulty, by: str, then: Any) -> None:
    long = respond(HELLO, *[WORLD] * 200, FINISH, DONE)
    await faulty.cut(Fault(then, after=12_000), long, "upstream_truncated", by=by)


async def test_86_a_tls_record_that_was_altered_ends_the_stream_with_an_error(faulty: Faulty) -> None:
    long = respond(HELLO, *[WORLD] * 200, FINISH, DONE)
    answer, seen, _ = await faulty.play(Fault(flip=12_000), long, by="secure")
    assert answer.status == 200
    assert answer.last_error["code"] == seen.row["error_code"] != ""
    assert answer.body.removeprefix(HELLO).startswith(WORLD)
    assert DONE not in answer.body


STALLS: dict[str, tuple[int | bytes, int]] = {
    "before the head": (0, 504),
    "inside the head": (30, 504),
    "after the head": (b"\r\n\r\n", 504),
    "inside the first event": (HELLO[:40], 504),
}


@pytest.mark.parametrize("name", STALLS)
async def test_90_silence_before_the_first_content_is_a_504(faulty: Faulty, name: str) -> None:
    after, status = STALLS[name]
    passed = await faulty.failed(Fault("stall", after=after), respond(*GOOD), status, "upstream_timeout")
    await asyncio.wait_for(passed.left.wait(), 1)


@pytest.mark.parametrize("by", ["plain", "secure"])
async def test_90_silence_inside_an_event_is_told(faulty: Faulty, by: str) -> None:
    long = respond(HELLO, *[WORLD] * 200, FINISH, DONE)
    _, passed = await faulty.cut(Fault("stall", after=12_000), long, "upstream_stalled", by=by)
    await asyncio.wait_for(passed.left.wait(), 1)


async def test_92_a_trickle_that_never_ends_an_event_ends_at_the_total(faulty: Faulty) -> None:
    long = respond(HELLO, *[WORLD] * 20, FINISH, DONE)
    _, passed = await faulty.cut(Fault(piece=30, pace=0.3), long, "total_timeout")
    assert passed.down < 1000
