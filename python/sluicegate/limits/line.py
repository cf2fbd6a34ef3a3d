"""A stream socket between a worker and the authority in its supervisor, and the two ends of it.

A message is its length in four bytes, then MessagePack: a worker's is a number and a list of
:class:`~sluicegate.limits.lease.Ask`, the answer the same number and as many :class:`~sluicegate.limits.lease.Grant`.
Rules: a worker's answers come in the order of its questions, and it skips those nobody waits for any more. The end of
the stream ends its worker's reports; its leases return by their time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
import contextlib
from itertools import count
import socket
import time
from typing import Final, TypeVar

import msgspec

from sluicegate.limits.authority import Authority
from sluicegate.limits.lease import Ask, Grant
from sluicegate.limits.rounds import AuthorityError
from sluicegate.limits.windows import Clock

_Message = TypeVar("_Message", "Question", "Reply")

#: Bytes of the largest message: some hundred thousand limits.
_LARGEST: Final = 64 << 20


class Question(msgspec.Struct, frozen=True, array_like=True):
    """What a worker sends."""

    number: int
    asks: tuple[Ask, ...]


class Reply(msgspec.Struct, frozen=True, array_like=True):
    """What it gets."""

    number: int
    grants: tuple[Grant, ...]


class LineAuthority:
    """The supervisor's authority, as a worker reaches it over a connected socket, which is this object's from now."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._numbers = count(1)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._reading: asyncio.Task[Reply] | None = None

    async def answer(self, asks: Sequence[Ask]) -> Sequence[Grant]:
        """Report and ask, all at once; with no asks it only shows that it is there. Raises AuthorityError."""
        number = next(self._numbers)
        try:
            if self._streams is None:
                self._streams = await asyncio.open_unix_connection(sock=self._socket)
            reader, writer = self._streams
            writer.write(_framed(Question(number, tuple(asks))))
            while True:
                if self._reading is None:
                    self._reading = asyncio.ensure_future(_received(reader, Reply))
                # Cancelled between two answers only: one that is read half stays for the next question to finish.
                reply = await asyncio.shield(self._reading)
                self._reading = None
                if reply.number == number:
                    return reply.grants
        except (OSError, EOFError, ValueError, msgspec.MsgspecError) as error:
            self._reading = None
            raise AuthorityError(f"the supervisor's limits: {type(error).__name__}") from None

    async def close(self) -> None:
        """Disconnect."""
        if self._reading is not None:
            self._reading.cancel()
        if self._streams is None:
            self._socket.close()
            return
        self._streams[1].close()
        with contextlib.suppress(OSError):
            await self._streams[1].wait_closed()


class Service:
    """The authority in a supervisor: answers each worker over a socket of its own. To be made in a running loop."""

    def __init__(self, authority: Authority | None = None) -> None:
        self.authority = authority if authority is not None else Authority()
        self._names = count(1)
        self._serving: set[asyncio.Task[None]] = set()

    def serve(self, connected: socket.socket) -> None:
        """Answer a worker until it closes its end; the socket is this object's from now."""
        task = asyncio.get_running_loop().create_task(self._serve(connected, f"worker {next(self._names)}"))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def close(self) -> None:
        """Answer nobody any more."""
        for task in tuple(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, connected: socket.socket, holder: str) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=connected)
        try:
            while True:
                question = await _received(reader, Question)
                clock = Clock(time.monotonic(), time.time())
                grants = tuple(self.authority.answer(holder, ask, clock) for ask in question.asks)
                writer.write(_framed(Reply(question.number, grants)))
                await writer.drain()
        except (OSError, EOFError, ValueError, msgspec.MsgspecError):
            return
        finally:
            writer.close()


async def _received(reader: asyncio.StreamReader, kind: type[_Message]) -> _Message:
    length = int.from_bytes(await reader.readexactly(4), "big")
    if length > _LARGEST:
        raise ValueError("a message that is too large")
    return msgspec.msgpack.decode(await reader.readexactly(length), type=kind)


def _framed(message: Question | Reply) -> bytes:
    encoded = msgspec.msgpack.encode(message)
    return len(encoded).to_bytes(4, "big") + encoded
