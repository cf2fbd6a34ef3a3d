"""What an upstream can do wrong, as scripts. Each name says what the gateway meets."""

from __future__ import annotations

from dataclasses import replace
import gzip
from typing import TYPE_CHECKING

from sluicegate.demo.scripts import (
    EVENT_STREAM,
    JSON,
    Close,
    CloseOnNextRequest,
    Framing,
    Headers,
    Mark,
    Piece,
    Repeat,
    Reset,
    Script,
    Send,
    Stall,
    Step,
    Wait,
    chunk,
    head,
    json_answer,
    raw,
    respond,
)

if TYPE_CHECKING:
    import asyncio

STREAM_HEAD = head(200, [("content-type", EVENT_STREAM), ("transfer-encoding", "chunked")])


def closes_before_head() -> Script:
    """The request is read, then the connection ends without a byte."""
    return raw(Close())


def resets_before_head() -> Script:
    """The request is read, then the connection is reset."""
    return raw(Reset())


def stalls_before_head() -> Script:
    """The request is read, then nothing happens."""
    return raw(Stall())


def closes_after_head() -> Script:
    """A stream's head, then the end of the connection."""
    return raw(STREAM_HEAD, Close())


def cut_stream(
    *events: Piece, framing: Framing = "chunked", reset: bool = False, when: asyncio.Event | None = None
) -> Script:
    """A stream that ends in the middle: the events, then a close (or reset), once `when` is set if it is given."""
    script = respond(*events, framing=framing)
    kept = script.steps[:-1] if framing in ("chunked", "close") else script.steps
    end: tuple[Step, ...] = (Reset() if reset else Close(),)
    return Script(kept + ((Wait(when),) if when else ()) + end)


def stalled_stream(*events: Piece, sent: asyncio.Event | None = None, release: asyncio.Event | None = None) -> Script:
    """A stream that falls silent after the events. `sent` is set then; after `release` it ends in good order."""
    script = respond(*events)
    silence: tuple[Step, ...] = (Wait(release),) if release else (Stall(),)
    return Script(script.steps[:-1] + ((Mark(sent),) if sent else ()) + silence + script.steps[-1:])


def endless_stream(event: bytes) -> Script:
    """The same event without end."""
    return raw(STREAM_HEAD, Repeat(chunk(event)))


def endless_event(piece: bytes = b"x" * 65536, start: bytes = b"data: ") -> Script:
    """One event that never ends: no line end ever comes."""
    return raw(STREAM_HEAD, chunk(start), Repeat(chunk(piece)))


def endless_body(status: int = 200, piece: bytes = b" " * 65536, content_type: str = JSON) -> Script:
    """A close-delimited body without end."""
    return raw(head(status, [("content-type", content_type), ("connection", "close")]), Repeat(piece))


def short_body(body: bytes, announced: int, content_type: str = JSON) -> Script:
    """A body shorter than its Content-Length, then a close."""
    return raw(head(200, [("content-type", content_type), ("content-length", str(announced))]), body, Close())


def long_body(body: bytes, announced: int, content_type: str = JSON) -> Script:
    """A body longer than its Content-Length; the connection stays open."""
    return raw(head(200, [("content-type", content_type), ("content-length", str(announced))]), body)


def two_framings(body: bytes = b"{}") -> Script:
    """Content-Length and Transfer-Encoding at once."""
    headers = [("content-type", JSON), ("content-length", str(len(body))), ("transfer-encoding", "chunked")]
    return raw(head(200, headers), chunk(body) + b"0\r\n\r\n")


def two_lengths(first: str = "2", second: str = "3", body: bytes = b"{} ") -> Script:
    """Two Content-Length lines that differ."""
    return raw(head(200, [("content-type", JSON), ("content-length", first), ("content-length", second)]), body)


def bad_chunk_size(size: bytes) -> Script:
    """A stream whose first chunk has this size line."""
    return raw(STREAM_HEAD, size + b'\r\ndata: {"choices":[]}\n\n\r\n0\r\n\r\n')


def nul_in_header() -> Script:
    """A NUL in a header's value."""
    return raw(head(200, [("content-type", JSON), ("x-odd", "a\0b"), ("content-length", "2")]) + b"{}")


def header_bomb(count: int = 100_000) -> Script:
    """So many header lines."""
    many = [("content-type", JSON), *((f"x-{n}", "y" * 40) for n in range(count)), ("content-length", "2")]
    return raw(head(200, many) + b"{}")


def endless_head() -> Script:
    """A head whose header lines never end."""
    return raw(b"HTTP/1.1 200 OK\r\n", Repeat(b"x-more: " + b"y" * 1000 + b"\r\n"))


def interim_first(script: Script, *statuses: int) -> Script:
    """Interim (1xx) heads before the script's own."""
    return script.before(*(Send(head(status, [("link", "</a>; rel=preload")], "Early")) for status in statuses))


def gzipped(body: bytes, content_type: str = JSON, status: int = 200) -> Script:
    """A gzip body though nobody asked for one."""
    return json_answer(
        gzip.compress(body), status=status, content_type=content_type, headers=[("content-encoding", "gzip")]
    )


def redirect(location: str, status: int = 307) -> Script:
    """A redirect."""
    return json_answer(b"", status=status, headers=[("location", location)])


def failure(status: int, body: bytes, *, headers: Headers = (), content_type: str = JSON) -> Script:
    """An error status with this body."""
    return json_answer(body, status=status, headers=headers, content_type=content_type)


def html_page(status: int = 200) -> Script:
    """A web page where an answer should be."""
    return json_answer(b"<!doctype html><title>Welcome</title>", status=status, content_type="text/html")


def empty_answer(content_type: str = JSON) -> Script:
    """A 200 with nothing in it."""
    return json_answer(b"", content_type=content_type)


def early(script: Script) -> Script:
    """The script begins before the request's body was read, and the connection ends after it."""
    return replace(script, early=True).then(Close())


def closes_on_next_request(script: Script) -> Script:
    """The keep-alive race: this answer is good, the connection's next request is met by a close without a byte."""
    return script.then(CloseOnNextRequest())
