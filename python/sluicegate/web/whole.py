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
import msgspec

from sluicegate._native import answer_bytes

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from sluicegate.web.request import Request

#: Seconds that a client may take to read, unless whoever answers says otherwise.
WRITE_TIME = 60.0

_REASONS = {status.value: status.phrase for status in HTTPStatus}
_BREAKS_A_LINE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_RST_ON_CLOSE = struct.pack("ii", 1, 0)


class Whole(msgspec.Struct, eq=False):
    """An answer with all its bytes; JSON unless it is ``typed``. ``close`` ends the connection after it.

    ``lines`` are headers that cannot break out of theirs, each with its CRLF before it.
    """

    request_id: str
    status: int
    body: bytes
    lines: str = ""
    #: The content's type is among the lines.
    typed: bool = False
    close: bool = False
    #: Seconds that the client may take to read it.
    write_time: float = WRITE_TIME

    @classmethod
    def of(
        cls,
        request_id: str,
        status: int,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        *,
        lines: str = "",
        close: bool = False,
        write_time: float = WRITE_TIME,
    ) -> Whole:
        """Give an answer with these headers as well. Raises ValueError if one would break its line."""
        lines += header_lines(headers)
        return cls(request_id, status, body, lines, "\r\ncontent-type:" in lines.lower(), close, write_time)

    def force_close(self) -> None:
        """End the connection after this answer."""
        self.close = True

    def render(self, *, http10: bool, keep_alive: bool, bodiless: bool = False) -> bytes:
        """Write head and body."""
        return answer_bytes(
            self.status,
            _REASONS.get(self.status, ""),
            self.lines,
            self.request_id,
            self.typed,
            rfc822_formatted_time(),
            http10,
            keep_alive,
            self.body,
            bodiless,
        )

    def write(self, request: Request, transport: asyncio.WriteTransport | None) -> bool:
        """Write the answer. False: the connection must not be used again.

        Raises ConnectionResetError if the client has left.
        """
        keep_alive = request.keep_alive and not self.close
        if transport is None or transport.is_closing():
            raise ConnectionResetError
        bodiless = request.method == "HEAD"
        transport.write(self.render(http10=request.http10, keep_alive=keep_alive, bodiless=bodiless))
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
