"""A client that shows the wire: HTTP/1.1 over a raw socket, its framing checked byte by byte.

`ask` for one request and its whole answer; a `Wire` for whoever wants to look between the bytes, leave early, read
slowly, or say what no library would.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
import json
import socket
import ssl
import struct
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

PATIENCE = 20.0
LINE_LIMIT = 64 << 20


class BadFraming(AssertionError):
    """The answer is not HTTP/1.1, and where."""


@dataclass
class Answer:
    """What came back. `whole` is false if the connection ended before the framing did."""

    status: int
    headers: list[tuple[str, str]]
    gathered: bytearray = field(default_factory=bytearray, repr=False)
    whole: bool = False
    pieces: list[bytes] = field(default_factory=list)
    """The chunks of a chunked body, in order."""

    @property
    def body(self) -> bytes:
        """The body as far as it has been read, without its framing."""
        return bytes(self.gathered)

    def header(self, name: str) -> str | None:
        """The one value of a header, or None; two are an error."""
        values = [value for key, value in self.headers if key.lower() == name]
        assert len(values) < 2, (name, values)
        return values[0] if values else None

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        """The error object of a refusal in OpenAI's (or Anthropic's) shape."""
        return self.json["error"]

    @property
    def events(self) -> list[bytes]:
        """The blocks of an event stream, blank lines cut off."""
        return [block for block in self.body.replace(b"\r\n", b"\n").split(b"\n\n") if block]

    @property
    def datas(self) -> list[bytes]:
        """The data of every event that has some (one line each)."""
        lines = (line for block in self.events for line in block.split(b"\n"))
        return [line.removeprefix(b"data:").removeprefix(b" ") for line in lines if line.startswith(b"data:")]

    @property
    def last_error(self) -> Any:
        """The error of the stream's last event; a KeyError if that is none."""
        return json.loads(self.datas[-1])["error"]

    @property
    def id(self) -> str:
        """The gateway's id of the request."""
        ident = self.header("x-request-id")
        assert ident
        return ident


class Wire:
    """One connection to an HTTP server, as bytes; an async context manager."""

    def __init__(self, url: str, *, tls: ssl.SSLContext | None = None, receive_buffer: int | None = None) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "", parts.port or 80
        self._tls = tls
        self._receive_buffer = receive_buffer

    async def __aenter__(self) -> Self:
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        await asyncio.get_running_loop().sock_connect(self.socket, (self.host, self.port))
        limit = self._receive_buffer or LINE_LIMIT
        self.reader, self.writer = await asyncio.open_connection(
            sock=self.socket, ssl=self._tls, server_hostname="localhost" if self._tls else None, limit=limit
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave in good order: FIN."""
        self.writer.close()

    def reset(self) -> None:
        """Leave with a reset."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def send(self, data: bytes) -> None:
        """Write; waits while the kernel's buffer is full."""
        self.writer.write(data)
        async with asyncio.timeout(PATIENCE):
            await self.writer.drain()

    async def head(self) -> Answer:
        """The next head, interim answers aside; the body is not read yet."""
        async with asyncio.timeout(PATIENCE):
            while True:
                answer = _parse(await self.reader.readuntil(b"\r\n\r\n"))
                if answer.status >= 200:
                    return answer

    async def piece(self, answer: Answer) -> bytes:
        """The next chunk of a chunked answer, added to it; empty at its end, or where the connection ended early."""
        async with asyncio.timeout(PATIENCE):
            try:
                line = await self.reader.readuntil(b"\r\n")
                size = _chunk_size(line)
                data = await self.reader.readexactly(size + 2)
            except (asyncio.IncompleteReadError, ConnectionResetError):
                return b""
        if not data.endswith(b"\r\n"):
            raise BadFraming(f"a chunk of {size} bytes is followed by {data[-2:]!r}")
        if size == 0:
            answer.whole = True
            return b""
        answer.gathered += data[:-2]
        answer.pieces.append(data[:-2])
        return data[:-2]

    async def until(self, answer: Answer, text: bytes) -> None:
        """Read chunks until the body holds `text`."""
        while text not in answer.gathered:
            assert await self.piece(answer), f"the answer ended without {text!r}: {answer.body[-400:]!r}"

    async def rest(self, answer: Answer, method: str = "POST") -> Answer:
        """The rest of the body, by the answer's framing."""
        length = answer.header("content-length")
        if answer.header("transfer-encoding") == "chunked":
            if length is not None:
                raise BadFraming("both Content-Length and Transfer-Encoding")
            while await self.piece(answer):
                pass
            return answer
        async with asyncio.timeout(PATIENCE):
            if length is not None:
                try:
                    answer.gathered += b"" if method == "HEAD" else await self.reader.readexactly(int(length))
                    answer.whole = True
                except asyncio.IncompleteReadError as error:
                    answer.gathered += error.partial
                return answer
            answer.gathered += await self.reader.read(-1)
            answer.whole = True
            return answer

    async def answer(self, method: str = "POST") -> Answer:
        """The next answer, whole."""
        return await self.rest(await self.head(), method)

    async def closed_by_server(self, within: float = 5.0) -> bytes:
        """Wait until the server has closed; gives what it still said. Raises TimeoutError."""
        async with asyncio.timeout(within):
            try:
                return await self.reader.read(-1)
            except ConnectionResetError:
                return b""


def _parse(raw: bytes) -> Answer:
    lines = raw.decode("latin-1").split("\r\n")
    version, _, rest = lines[0].partition(" ")
    if version not in ("HTTP/1.1", "HTTP/1.0") or not rest[:3].isdigit():
        raise BadFraming(f"status line {lines[0]!r}")
    headers = [line.partition(":") for line in lines[1:-2]]
    if not all(colon and name and name == name.strip() for name, colon, _ in headers):
        raise BadFraming(f"header lines {lines[1:-2]!r}")
    return Answer(int(rest[:3]), [(name, value.strip()) for name, _, value in headers])


def _chunk_size(line: bytes) -> int:
    try:
        return int(line, 16)
    except ValueError as error:
        raise BadFraming(f"chunk size line {line!r}") from error


def chat(model: str, *, stream: bool | None = None, **members: Any) -> dict[str, Any]:
    """The body of a small chat request."""
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    return body | ({} if stream is None else {"stream": stream}) | members


def request_bytes(
    body: bytes | Mapping[str, Any] | None,
    *,
    path: str = "/v1/chat/completions",
    key: str | None = None,
    method: str = "POST",
    headers: Sequence[tuple[str, str]] = (),
    version: str = "1.1",
) -> bytes:
    """A request as it goes over the wire, body included."""
    payload = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    every = (
        [("Host", "localhost"), ("Content-Type", "application/json")] if body is not None else [("Host", "localhost")]
    )
    if key is not None:
        every.append(("Authorization", f"Bearer {key}"))
    if body is not None:
        every.append(("Content-Length", str(len(payload))))
    lines = [f"{method} {path} HTTP/{version}", *(f"{name}: {value}" for name, value in (*every, *headers)), "", ""]
    return "\r\n".join(lines).encode() + payload


async def ask(url: str, sent: bytes, *, tls: ssl.SSLContext | None = None) -> Answer:
    """Send one request on a connection of its own and read its answer whole."""
    async with Wire(url, tls=tls) as wire:
        await wire.send(sent)
        return await wire.answer(sent.partition(b" ")[0].decode())
