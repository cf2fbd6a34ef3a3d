"""Requests as the scripted upstream reads and remembers them: HTTP/1.1 heads, bodies, and what became of each."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
import json
from typing import Any

HEAD_LIMIT = 1 << 20
WRITTEN_LIMIT = 8 << 20


class UnreadableError(ValueError):
    """The bytes are no HTTP/1.1 request; the message says where they stop being one."""


@dataclass(frozen=True)
class Head:
    """A request's first lines. `raw` holds them byte for byte, the blank line included."""

    method: str
    target: str
    version: str
    headers: tuple[tuple[str, str], ...]
    raw: bytes

    def get(self, name: str) -> str | None:
        """The first value of a header (case-insensitive), or None."""
        return next(iter(self.all(name)), None)

    def all(self, name: str) -> list[str]:
        """Every value of a header (case-insensitive), in order."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


def parse_head(raw: bytes) -> Head:
    """Read a head that ends with its blank line; raises `UnreadableError`."""
    lines = raw.decode("latin-1").split("\r\n")
    method, _, rest = lines[0].partition(" ")
    target, _, version = rest.partition(" ")
    if not version.startswith("HTTP/1.") or " " in version:
        raise UnreadableError(f"request line {lines[0][:200]!r}")
    headers = []
    for line in lines[1:-2]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise UnreadableError(f"header line {line[:200]!r}")
        headers.append((name, value.strip()))
    return Head(method, target, version, tuple(headers), raw)


class BodyReader:
    """Collects one request body, sized or chunked, from the connection's buffer."""

    def __init__(self, head: Head) -> None:
        self.body = bytearray()
        self._chunked = "chunked" in (head.get("transfer-encoding") or "").lower()
        try:
            self._missing = 0 if self._chunked else int(head.get("content-length") or 0)
        except ValueError as error:
            raise UnreadableError("content-length") from error
        self._last_chunk_seen = False

    def feed(self, buffer: bytearray) -> bool:
        """Take what belongs to the body out of `buffer`; true once the body is whole. Raises `UnreadableError`."""
        if not self._chunked:
            taken = buffer[: self._missing]
            del buffer[: self._missing]
            self.body += taken
            self._missing -= len(taken)
            return self._missing == 0
        while True:
            line_end = buffer.find(b"\r\n")
            if line_end < 0:
                return False
            if self._last_chunk_seen:
                line = bytes(buffer[:line_end])
                del buffer[: line_end + 2]
                if not line:
                    return True
                continue
            try:
                size = int(bytes(buffer[:line_end]).split(b";")[0], 16)
            except ValueError as error:
                raise UnreadableError("chunk size") from error
            if size == 0:
                self._last_chunk_seen = True
                del buffer[: line_end + 2]
                continue
            if len(buffer) < line_end + 2 + size + 2:
                return False
            self.body += buffer[line_end + 2 : line_end + 2 + size]
            del buffer[: line_end + 2 + size + 2]


@dataclass(eq=False)
class Received:
    """One request as the upstream saw it, and what became of it.

    Times are the event loop's seconds (monotonic). `written` keeps the first 8 MiB of what the upstream handed to
    its transport for this request; `written_count` counts every byte.
    """

    connection: int
    """Number of the connection it came on, counted from 1."""
    ordinal: int
    """Its place among that connection's requests, counted from 1."""
    head: Head
    at: float
    body: bytes = b""
    body_whole: bool = False
    written: bytearray = field(default_factory=bytearray)
    written_count: int = 0
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the script has run to its end."""
    peer_closed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the gateway has closed or reset the connection it came on."""
    peer_closed_at: float | None = None

    @property
    def method(self) -> str:
        """The request's method."""
        return self.head.method

    @property
    def target(self) -> str:
        """The request's target, as sent."""
        return self.head.target

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON
        """The body as JSON; raises `ValueError`."""
        return json.loads(self.body)

    @property
    def model(self) -> str | None:
        """The body's top-level `model`, if it is a string."""
        try:
            parsed = json.loads(self.body)
        except ValueError:
            return None
        name = parsed.get("model") if isinstance(parsed, Mapping) else None
        return name if isinstance(name, str) else None

    def header(self, name: str) -> str | None:
        """The first value of a header (case-insensitive), or None."""
        return self.head.get(name)

    @property
    def answer_json(self) -> Any:  # noqa: ANN401 - JSON
        """The body of the answer as JSON, where it was one whole body; raises `ValueError`."""
        return json.loads(self.written.partition(b"\r\n\r\n")[2])

    def record(self, data: bytes) -> None:
        """Note bytes that were handed to the transport."""
        self.written_count += len(data)
        if len(self.written) < WRITTEN_LIMIT:
            self.written += data[: WRITTEN_LIMIT - len(self.written)]

    async def closed_by_peer(self, within: float = 1.0) -> float:
        """Wait until the gateway has closed the connection; gives the time it happened, raises `TimeoutError`."""
        async with asyncio.timeout(within):
            await self.peer_closed.wait()
        return self.peer_closed_at or 0.0
