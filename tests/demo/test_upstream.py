"""The scripted upstream, judged over raw sockets: the tests of the gateway lean on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
import json
from pathlib import Path
import ssl
from typing import Any

import pytest

from sluicegate.demo import faults
from sluicegate.demo.scripts import (
    Close,
    Mark,
    ReadBody,
    Script,
    Send,
    Wait,
    bytewise,
    json_answer,
    raw,
    replay,
    respond,
    seeded,
)
from sluicegate.demo.tls import make_authority
from sluicegate.demo.upstream import Upstream

RECORDING = b'data: {"choices":[{"delta":{"content":"\xc3\xa9"}}]}\r\n\r\n: ping\n\ndata: [DONE]\n\n'


def request(path: str = "/v1/chat/completions", /, *, close: bool = True, **body: object) -> bytes:
    """A POST's bytes."""
    payload = json.dumps({"model": "demo-small", "messages": [{"role": "user", "content": "Hello there"}], **body})
    last = "Connection: close\r\n" if close else ""
    return f"POST {path} HTTP/1.1\r\nHost: u\r\n{last}Content-Length: {len(payload)}\r\n\r\n{payload}".encode()


async def ask(upstream: Upstream, sent: bytes, *, tls: ssl.SSLContext | None = None) -> bytes:
    """Send bytes, then read until the answer is whole (chunked or sized) or the upstream closes."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", upstream.port, ssl=tls, server_hostname="localhost" if tls else None
    )
    writer.write(sent)
    try:
        return await answer_from(reader)
    finally:
        writer.close()


async def answer_from(reader: asyncio.StreamReader) -> bytes:
    """One answer, head and body as they came; what there is of it if the connection ends or is reset."""
    got = b""
    async with asyncio.timeout(5):
        while True:
            head, _, body = got.partition(b"\r\n\r\n")
            lowered = head.lower()
            if b"chunked" in lowered and got.endswith(b"0\r\n\r\n"):
                return got
            if b"content-length: " in lowered:
                length = int(lowered.split(b"content-length: ")[1].split(b"\r\n")[0])
                if len(body) >= length:
                    return got
            try:
                piece = await reader.read(65536)
            except ConnectionResetError:
                return got + b"<reset>"
            if not piece:
                return got
            got += piece


def dechunked(answer: bytes) -> bytes:
    """The body of a chunked answer."""
    rest, body = answer.partition(b"\r\n\r\n")[2], b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body


def events(answer: bytes) -> list[dict[str, Any]]:
    """The JSON of a chunked answer's events."""
    lines = dechunked(answer).split(b"\n")
    return [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]


@pytest.mark.parametrize("asked", [True, False, None])
async def test_chat_stream_carries_usage_only_when_asked(asked: object) -> None:
    options: dict[str, Any] = {} if asked is None else {"stream_options": {"include_usage": asked}}
    async with Upstream() as upstream:
        answer = await ask(upstream, request(stream=True, **options))
    chunks = events(answer)
    assert dechunked(answer).endswith(b"\n\ndata: [DONE]\n\n")
    assert ["usage" in chunk for chunk in chunks] == [bool(asked)] * len(chunks)
    if asked:
        words = len(chunks) - 3
        assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
        assert (chunks[-1]["choices"], chunks[-1]["usage"]["completion_tokens"]) == ([], words)


@pytest.mark.parametrize(
    ("path", "body", "read"),
    [
        ("/v1/chat/completions", {}, lambda a: (a["usage"]["completion_tokens"], a["choices"][0]["finish_reason"])),
        (
            "/v1/completions",
            {"prompt": "Hi"},
            lambda a: (a["usage"]["completion_tokens"], a["choices"][0]["finish_reason"]),
        ),
        ("/v1/responses", {"input": "Hi"}, lambda a: (a["usage"]["output_tokens"], a["status"])),
        ("/v1/messages", {}, lambda a: (a["usage"]["output_tokens"], a["stop_reason"])),
    ],
)
async def test_plain_answers_count_and_stop_at_the_limit(
    path: str, body: dict[str, Any], read: Callable[[Any], Any]
) -> None:
    key = "max_output_tokens" if path.endswith("responses") else "max_tokens"
    async with Upstream() as upstream:
        answer = await ask(upstream, request(path, **body, **dict[str, Any]({key: 5})))
    ends = {"/v1/responses": "incomplete", "/v1/messages": "max_tokens"}
    assert read(json.loads(answer.partition(b"\r\n\r\n")[2])) == (5, ends.get(path, "length"))


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request(stream_options={"include_usage": True}), 400),
        (b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 1\r\n\r\n{", 400),
        (b"nonsense\r\n\r\n", 400),
        (request("/v1/nowhere"), 404),
        (b"GET /v1/models HTTP/1.1\r\n\r\n", 200),
    ],
)
async def test_status(sent: bytes, status: int) -> None:
    async with Upstream() as upstream:
        assert int((await ask(upstream, sent)).split(b" ")[1]) == status


@pytest.mark.parametrize(
    "script",
    [
        replay(RECORDING),
        replay(RECORDING, bytewise),
        replay(RECORDING, seeded(3, 9)),
        replay(RECORDING).recut(bytewise),
    ],
    ids=["whole", "a chunk per byte", "seeded chunks", "a write per byte of the wire"],
)
async def test_replay_is_the_recording_however_it_is_cut(script: Script) -> None:
    async with Upstream() as upstream:
        upstream.script("demo-small", script)
        answers = [await ask(upstream, request(stream=True)) for _ in range(2)]
        seen = upstream.requests
    assert [dechunked(answer) for answer in answers] == [RECORDING] * 2
    assert [(bytes(one.written), one.written_count) for one in seen] == [(answer, len(answer)) for answer in answers]


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        (faults.closes_before_head(), b""),
        (faults.resets_before_head(), b"<reset>"),
        (faults.closes_after_head(), faults.STREAM_HEAD),
        (faults.cut_stream(b"data: 1\n\n"), faults.STREAM_HEAD + b"9\r\ndata: 1\n\n\r\n"),
        (
            faults.short_body(b"{}", 100),
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{}",
        ),
        (faults.early(json_answer(b"no", status=429)), None),
        (respond(b"a", b"b", framing="close"), None),
    ],
    ids=["close", "reset", "head then close", "cut stream", "short body", "early", "close-delimited"],
)
async def test_fault(script: Script, answer: bytes | None) -> None:
    async with Upstream() as upstream:
        upstream.next(script)
        got = await ask(upstream, request())
    assert got == (answer if answer is not None else b"".join(s.data for s in script.steps if isinstance(s, Send)))


async def test_a_cut_waits_for_the_test() -> None:
    go, written = asyncio.Event(), asyncio.Event()
    async with Upstream() as upstream:
        upstream.next(raw(b"first ", Mark(written), Wait(go), b"second", Close()))
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
        writer.write(request())
        first = await reader.read(100)
        assert (first, written.is_set()) == (b"first ", True)
        go.set()
        assert await reader.read() == b"second"
        writer.close()


async def test_early_script_runs_before_the_body_and_can_read_it() -> None:
    async with Upstream() as upstream:
        upstream.next(faults.early(raw(b"HTTP/1.1 100 Continue\r\n\r\n", ReadBody(), b"HTTP/1.1 200 OK\r\n\r\n")))
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
        writer.write(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"3\r\nabc\r\n0\r\n\r\n")
        assert (await reader.read(), upstream.requests[0].body) == (b"HTTP/1.1 200 OK\r\n\r\n", b"abc")
        writer.close()


async def test_keep_alive_race_closes_without_a_byte_and_counts_no_request() -> None:
    async with Upstream() as upstream:
        upstream.next(faults.closes_on_next_request(json_answer({})))
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
        writer.write(request(close=False))
        first = await answer_from(reader)
        writer.write(request(close=False))
        second = await answer_from(reader)
        writer.close()
    assert (first[-2:], second, len(upstream.requests)) == (b"{}", b"", 1)


@pytest.mark.parametrize("script", [faults.stalled_stream(b"data: 1\n\n"), faults.endless_stream(b"data: 1\n\n")])
async def test_the_peers_leaving_is_seen_at_once(script: Script) -> None:
    async with Upstream() as upstream:
        upstream.next(script)
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
        writer.write(request(stream=True))
        await reader.readuntil(b"data: 1")
        left = asyncio.get_running_loop().time()
        writer.transport.abort()
        assert await upstream.requests[0].closed_by_peer() - left < 0.5
        assert upstream.connections[0].closed_by_peer


async def test_refused_then_back_on_the_same_port() -> None:
    async with Upstream() as upstream:
        await upstream.refuse()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", upstream.port)
        await upstream.listen()
        assert (await ask(upstream, request())).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_over_tls_with_a_greeting_first(tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    trust = ssl.create_default_context(cafile=str(authority.ca_file))
    async with Upstream(tls=authority.server_context()) as upstream:
        upstream.greet(raw(Close()))
        assert await ask(upstream, request(), tls=trust) == b""
        assert (await ask(upstream, request(), tls=trust)).startswith(b"HTTP/1.1 200 OK\r\n")
    assert [one.requests for one in upstream.connections] == [0, 1]
