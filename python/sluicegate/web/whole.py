"""A whole answer of the gateway's: head and body in one write.

aiohttp's own Response builds two multidicts and asks thirty questions; this one writes what it was given.
"""

from __future__ import annotations

from http import HTTPStatus
import re
import socket
import struct
from typing import TYPE_CHECKING

from aiohttp.helpers import rfc822_formatted_time

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from sluicegate.web.request import Request

SERVER = "sluicegate"
#: Seconds that a client may take to read, unless whoever answers says otherwise.
WRITE_TIME = 60.0

_REASONS = {status.value: status.phrase for status in HTTPStatus}
_BREAKS_A_LINE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
#: Bodies up to this size are copied behind their head, which is cheaper than a second write.
_COPIED = 65536
_RST_ON_CLOSE = struct.pack("ii", 1, 0)


class Whole:
    """An answer with all its bytes; JSON unless ``headers`` say otherwise. ``close`` ends the connection after it.

    ``lines`` are headers that cannot break out of theirs, each with its CRLF before it.
    Raises ValueError if a header would break its line.
    """

    __slots__ = ("_body", "_lines", "_status", "close", "write_time")

    def __init__(
        self,
        request_id: str,
        status: int,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        *,
        lines: str = "",
        close: bool = False,
        write_time: float = WRITE_TIME,
    ) -> None:
        self._status = status
        if headers:
            lines += header_lines(headers)
        if request_id:
            lines += f"\r\nX-Request-Id: {request_id}"
        if not headers or "\r\ncontent-type:" not in lines.lower():
            lines += "\r\nContent-Type: application/json"
        self._lines = lines
        self._body = body
        self.close = close
        #: Seconds that the client may take to read it.
        self.write_time = write_time

    def force_close(self) -> None:
        """End the connection after this answer."""
        self.close = True

    def render(self, version: str, *, keep_alive: bool, bodiless: bool = False) -> tuple[bytes, bytes]:
        """Write head and body."""
        if keep_alive:
            connection = "" if version == "1.1" else "Connection: keep-alive\r\n"
        else:
            connection = "Connection: close\r\n"
        head = (
            f"HTTP/{version} {self._status} {_REASONS.get(self._status, '')}{self._lines}\r\n"
            f"Content-Length: {len(self._body)}\r\nDate: {rfc822_formatted_time()}\r\nServer: {SERVER}\r\n"
            f"{connection}\r\n"
        )
        return head.encode("utf-8", "replace"), b"" if bodiless else self._body

    def write(self, request: Request, transport: asyncio.WriteTransport | None) -> bool:
        """Write the answer. False: the connection must not be used again.

        Raises ConnectionResetError if the client has left.
        """
        keep_alive = request.keep_alive and not self.close
        version = "1.0" if request.http10 else "1.1"
        head, body = self.render(version, keep_alive=keep_alive, bodiless=request.method == "HEAD")
        if transport is None or transport.is_closing():
            raise ConnectionResetError
        if len(body) <= _COPIED:
            transport.write(head + body)
        else:
            transport.write(head)
            transport.write(body)
        return keep_alive


def header_lines(headers: Sequence[tuple[str, str]]) -> str:
    """Write headers as lines, each with its CRLF before it. Raises ValueError if one would break its line."""
    lines = ""
    for name, value in headers:
        if not value.isprintable() and _BREAKS_A_LINE.search(value) is not None:
            raise ValueError("a header's value holds a control character")
        lines += f"\r\n{name}: {value}"
    return lines


def reset(transport: asyncio.WriteTransport | None) -> None:
    """Drop a connection with RST: a FIN would wait behind a full buffer for a client that does not read."""
    if transport is None:
        return
    handle = transport.get_extra_info("socket")
    if handle is not None:
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
    transport.abort()
