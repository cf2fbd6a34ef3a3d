"""One connection of the scripted upstream: reads requests, plays a script to each."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
import itertools
import socket
import struct
import sys
from typing import Protocol, assert_never, cast

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

from sluicegate.demo.requests import HEAD_LIMIT, BodyReader, Head, Received, UnreadableError, parse_head
from sluicegate.demo.scripts import (
    Close,
    CloseOnNextRequest,
    Deed,
    Mark,
    Pause,
    PauseReading,
    ReadBody,
    Repeat,
    Reset,
    ResumeReading,
    Script,
    Send,
    Stall,
    Wait,
)


@dataclass(eq=False)
class Opened:
    """One accepted connection. Times are the event loop's seconds (monotonic)."""

    number: int
    at: float
    requests: int = 0
    """Requests whose head was read."""
    bytes_read: int = 0
    """Bytes that came on it, whole requests or not (after TLS)."""
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    closed_at: float | None = None
    closed_by_peer: bool = False
    """Whether the peer ended it (FIN or RST) before the upstream did."""


class Director(Protocol):
    """Who decides what a connection does: the upstream."""

    def opened(self, connection: Connection) -> Opened:
        """A connection was accepted."""

    def closed(self, connection: Connection) -> None:
        """A connection is gone."""

    def greeting(self) -> Script | None:
        """What to do to a fresh connection before it reads anything, if anything."""

    def early_script(self) -> Script | None:
        """A script that wants to begin before the request's body is read, if one is next."""

    def admit(self, request: Received) -> None:
        """A request has arrived whole (or its early script begins)."""

    def script_for(self, request: Received) -> Script:
        """What to do to a request that has arrived whole."""


class _EndedError(Exception):
    """The script has ended the connection."""


class Connection(asyncio.Protocol):
    """An accepted socket. Its script runs in a task that the connection's loss cancels."""

    def __init__(self, director: Director) -> None:
        self._director = director
        self._buffer = bytearray()
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._close_on_bytes = False
        self._ours = False
        self._task: asyncio.Task[None] | None = None
        self._current: Received | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        raw_socket = transport.get_extra_info("socket")
        raw_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._loop = asyncio.get_running_loop()
        self._opened = self._director.opened(self)
        self._task = self._loop.create_task(self._live())

    @override
    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        self._opened.bytes_read += len(data)
        if self._close_on_bytes:
            self._end(reset=False)
            return
        self._buffer += data
        self._arrived.set()

    @override
    def eof_received(self) -> bool:
        """Called by asyncio: a peer that half-closes has left."""
        self._note_peer_close()
        return False

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self._note_peer_close()
        self._opened.closed_at = self._opened.closed_at or self._loop.time()
        self._opened.closed.set()
        if self._task:
            self._task.cancel()
        self._director.closed(self)

    @override
    def pause_writing(self) -> None:
        """Called by asyncio."""
        self._writable.clear()

    @override
    def resume_writing(self) -> None:
        """Called by asyncio."""
        self._writable.set()

    def abort(self) -> None:
        """End the connection now (the upstream shuts down)."""
        self._ours = True
        if self._task:
            self._task.cancel()
        self._transport.abort()

    def _note_peer_close(self) -> None:
        if self._ours or self._opened.closed_by_peer:
            return
        now = self._loop.time()
        self._opened.closed_by_peer = True
        self._opened.closed_at = now
        if self._current is not None:
            self._current.peer_closed_at = now
            self._current.peer_closed.set()

    def _end(self, *, reset: bool) -> None:
        self._ours = True
        if reset:
            linger = struct.pack("ii", 1, 0)
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._transport.abort()
        else:
            self._transport.close()

    async def _live(self) -> None:
        try:
            greeting = self._director.greeting()
            if greeting is not None:
                await self._play(greeting, None, None)
            while True:
                await self._exchange(await self._read_head())
        except _EndedError:
            return
        except UnreadableError as error:
            answer = (
                f"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\nx-why: {error!s:.100}\r\n\r\n"
            )
            self._transport.write(answer.encode("latin-1", "replace"))
            self._end(reset=False)

    async def _read_head(self) -> Head:
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            if end >= 0:
                raw = bytes(self._buffer[: end + 4])
                del self._buffer[: end + 4]
                return parse_head(raw)
            if len(self._buffer) > HEAD_LIMIT:
                raise UnreadableError("head above 1 MiB")
            await self._more()

    async def _more(self) -> None:
        self._arrived.clear()
        await self._arrived.wait()

    async def _exchange(self, head: Head) -> None:
        self._opened.requests += 1
        request = Received(self._opened.number, self._opened.requests, head, self._loop.time())
        self._current = request
        reader = BodyReader(head)
        script = self._director.early_script()
        if script is None:
            await self._read_body(request, reader)
            self._director.admit(request)
            script = self._director.script_for(request)
        else:
            self._director.admit(request)
        await self._play(script, request, reader)
        request.answered.set()
        if not request.body_whole:
            await self._read_body(request, reader)

    async def _read_body(self, request: Received, reader: BodyReader) -> None:
        while not request.body_whole:
            request.body_whole = reader.feed(self._buffer)
            request.body = bytes(reader.body) if request.body_whole else b""
            if not request.body_whole:
                await self._more()

    async def _play(self, script: Script, request: Received | None, reader: BodyReader | None) -> None:
        for step in script.steps:
            if not isinstance(step, ReadBody):
                if isinstance(step, (Close, Reset)) and request is not None:
                    request.answered.set()
                await self._perform(step, request)
            elif request is not None and reader is not None:
                await self._read_body(request, reader)

    async def _perform(self, step: Deed, request: Received | None) -> None:
        match step:
            case Send(data):
                await self._write(data, request)
            case Repeat(data, times):
                for _ in itertools.count() if times is None else range(times):
                    await self._write(data, request)
            case Wait(event):
                await event.wait()
            case Mark(event):
                event.set()
            case Pause(seconds):
                await asyncio.sleep(seconds)
            case Stall():
                await self._loop.create_future()
            case Reset() | Close():
                self._end(reset=isinstance(step, Reset))
                raise _EndedError
            case _:
                self._turn(step)

    def _turn(self, step: PauseReading | ResumeReading | CloseOnNextRequest) -> None:
        match step:
            case PauseReading():
                self._transport.pause_reading()
            case ResumeReading():
                self._transport.resume_reading()
            case CloseOnNextRequest():
                self._close_on_bytes = True
            case _:
                assert_never(step)

    async def _write(self, data: bytes, request: Received | None) -> None:
        self._transport.write(data)
        if request is not None:
            request.record(data)
        await self._writable.wait()
        # One turn of the loop, so that a reader in the same loop sees the pieces apart.
        await asyncio.sleep(0)
