"""What a supervisor and its workers say to each other, and the socket between them.

Rules:

- One stream socket per worker. A message is its length in four bytes, then MessagePack; it may hold a configuration
  and its secrets, and is never logged.
- A supervisor may be older than its workers. Fields are added with a default, none is renamed or dropped; what changes
  otherwise changes :data:`VERSION`, and such a worker says that it cannot be started by this supervisor.
- The end of the stream means that the other side is gone: a supervisor's death ends its workers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
import socket
import struct
from typing import Final, Self, TypeVar

import msgspec

from sluicegate.config import Facts, Problem

VERSION: Final = 1
#: Above every report: the last 1,000 rows and a configuration with its files take a few MiB.
_LARGEST: Final = 256 << 20
_LENGTH: Final = struct.Struct("!I")


class Start(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Serve. ``listen``, ``memory`` and ``limits`` are descriptors; without ``written`` the worker reads the files.

    Behind ``limits`` somebody grants leases for all workers; without it they are counted by each alone.
    """

    version: int
    path: str | None
    written: Mapping[str, str] | None
    listen: tuple[int, ...]
    memory: int
    limits: int | None = None

    def __repr__(self) -> str:
        return f"Start({self.path})"


class Ask(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Do something and answer.

    ``reload`` (with ``written``, or by reading the files), ``report NAME``, ``order NAME`` with its body, ``refresh``.
    """

    number: int
    what: str
    name: str = ""
    written: Mapping[str, str] | None = None
    body: bytes = b""

    def __repr__(self) -> str:
        return f"Ask({self.what})"


class Drain(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """End when what runs has ended; ``hand_over``: others accept on the same sockets."""

    hand_over: bool


class End(msgspec.Struct, frozen=True, tag=True):
    """End at once."""


class Ready(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """It accepts, under the configuration of these facts and texts, and counts by this table of series."""

    facts: Facts
    written: Mapping[str, str]
    table: tuple[tuple[str, str, str, tuple[str, ...], tuple[float, ...], int], ...]

    def __repr__(self) -> str:
        return "Ready()"


class Failed(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """It cannot start."""

    source: str
    problems: tuple[Problem, ...]


class Answer(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """What came of an :class:`Ask`; with ``problems`` nothing did."""

    number: int
    body: bytes = b""
    facts: Facts | None = None
    written: Mapping[str, str] | None = None
    source: str = ""
    problems: tuple[Problem, ...] = ()

    def __repr__(self) -> str:
        return f"Answer({self.number})"


Order = Start | Ask | Drain | End
Word = Ready | Failed | Answer
M = TypeVar("M")
_ORDERS: Final[msgspec.msgpack.Decoder[Order]] = msgspec.msgpack.Decoder(Order)
_WORDS: Final[msgspec.msgpack.Decoder[Word]] = msgspec.msgpack.Decoder(Word)


class Channel:
    """One end of the socket. To be made inside a running loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, connected: socket.socket) -> Self:
        """Take over a connected socket."""
        return cls(*await asyncio.open_unix_connection(sock=connected))

    def send(self, message: Order | Word) -> None:
        """Send a message. Never waits; one that the other side no longer reads is lost."""
        data = msgspec.msgpack.encode(message)
        if not self._writer.is_closing():
            self._writer.write(_LENGTH.pack(len(data)) + data)

    async def order(self) -> Order | None:
        """Wait for the next order; None: the supervisor is gone, or said what cannot be read."""
        return await self._next(_ORDERS)

    async def word(self) -> Word | None:
        """Wait for the worker's next word; None: it is gone, or said what cannot be read."""
        return await self._next(_WORDS)

    async def close(self) -> None:
        """Write what is waiting and close."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            return

    async def _next(self, decoder: msgspec.msgpack.Decoder[M]) -> M | None:
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            if length > _LARGEST:
                return None
            return decoder.decode(await self._reader.readexactly(length))
        except (EOFError, OSError, msgspec.MsgspecError):
            return None
