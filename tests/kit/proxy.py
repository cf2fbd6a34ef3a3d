"""A fault proxy: TCP between the gateway and a scripted upstream, which does one thing wrong per connection.

It knows nothing of HTTP or TLS: it cuts, stalls, resets, drips and rewrites bytes wherever it is told to, inside heads,
chunks and TLS records alike. What it is not told to touch passes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
import socket
import struct
from types import TracebackType
from typing import Literal, Self

READ = 65536


@dataclass(frozen=True)
class Fault:
    """What is done to one connection's bytes from the upstream.

    ``after``: so many of them pass, or those up to and with these bytes, and ``then`` happens; None: all pass.
    ``piece``: they pass in pieces of that size, ``pace`` seconds apart. ``instead``: these bytes, once, become those.
    ``flip``: the byte at that offset is inverted. ``says``: sent at once, and the upstream is never asked.
    ``takes``: so many bytes of the request are read, and ``then`` happens.
    """

    then: Literal["close", "reset", "stall"] = "close"
    after: int | bytes | None = None
    piece: int = 0
    pace: float = 0.0
    instead: tuple[bytes, bytes] | None = None
    flip: int | None = None
    says: bytes | None = None
    takes: int | None = None


@dataclass
class Passed:
    """A connection of the gateway's: what passed on it, and whether the gateway ended it."""

    up: int = 0
    down: int = 0
    faulty: bool = False
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """The gateway has closed it."""


class _Enough(Exception):
    """The fault has happened."""


class FaultProxy:
    """A proxy on a port of its own; an async context manager. ``to`` is the port it leads to."""

    def __init__(self) -> None:
        self.to = 0
        self.connections: list[Passed] = []
        self._faults: deque[Fault] = deque()
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def next(self, *faults: Fault) -> None:
        """Give the faults of the next connections; those kept from before are ended, so that new ones are made."""
        self.drop()
        self._faults = deque(faults)

    def drop(self) -> None:
        """End every connection at once."""
        for writer in self._writers:
            writer.transport.abort()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fault = self._faults.popleft() if self._faults else None
        passed = Passed(faulty=fault is not None)
        self.connections.append(passed)
        self._writers.add(writer)
        try:
            await self._connect(fault or Fault(), passed, reader, writer)
        except ConnectionError:
            passed.left.set()
        finally:
            writer.transport.abort()
            self._writers.discard(writer)

    async def _connect(
        self, fault: Fault, passed: Passed, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if fault.says is not None:
            writer.write(fault.says)
            await _do(fault, passed, reader, writer)
            return
        far_reader, far = await asyncio.open_connection("127.0.0.1", self.to)
        up = asyncio.create_task(_upwards(fault, passed, reader, far))
        down = asyncio.create_task(_downwards(fault, passed, far_reader, writer))
        try:
            await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
            if any(isinstance(task.exception(), _Enough) for task in (up, down) if task.done()):
                up.cancel()
                await asyncio.gather(up, return_exceptions=True)
                await _do(fault, passed, reader, writer)
            elif down.done() and not down.exception():
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        finally:
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
            far.transport.abort()


async def _upwards(fault: Fault, passed: Passed, reader: asyncio.StreamReader, far: asyncio.StreamWriter) -> None:
    """From the gateway to the upstream."""
    while True:
        room = READ if fault.takes is None else fault.takes - passed.up
        if room <= 0:
            raise _Enough
        data = await reader.read(min(READ, room))
        if not data:
            passed.left.set()
            return
        passed.up += len(data)
        far.write(data)
        await far.drain()


async def _downwards(fault: Fault, passed: Passed, far: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """From the upstream to the gateway."""
    seen = bytearray()
    while data := await far.read(READ):
        start = len(seen)
        if fault.instead is not None:
            data = data.replace(*fault.instead, 1)
        if fault.flip is not None and start <= fault.flip < start + len(data):
            at = fault.flip - start
            data = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
        seen += data
        end = _end(fault, seen)
        await _pass(fault, passed, data if end is None else data[: max(0, end - start)], writer)
        if end is not None:
            raise _Enough


def _end(fault: Fault, seen: bytearray) -> int | None:
    """How many of the bytes may pass before the fault happens; None: it does not yet."""
    if isinstance(fault.after, bytes):
        found = seen.find(fault.after)
        return found + len(fault.after) if found >= 0 else None
    return fault.after if fault.after is not None and len(seen) >= fault.after else None


async def _pass(fault: Fault, passed: Passed, data: bytes, writer: asyncio.StreamWriter) -> None:
    size = fault.piece or len(data) or 1
    for start in range(0, len(data), size):
        piece = data[start : start + size]
        writer.write(piece)
        await writer.drain()
        passed.down += len(piece)
        if fault.piece:
            await asyncio.sleep(fault.pace)


async def _do(fault: Fault, passed: Passed, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close, reset, or say nothing until the gateway leaves."""
    if fault.then == "stall":
        if fault.takes is None:
            while await reader.read(READ):
                pass
            passed.left.set()
        else:  # whoever takes no more does not hear of an end either
            await asyncio.get_running_loop().create_future()
    elif fault.then == "reset":
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    else:
        await writer.drain()
        writer.close()
        await writer.wait_closed()
