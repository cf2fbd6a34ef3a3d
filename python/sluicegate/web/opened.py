"""A stream's answer: its head as bytes, and its end. In between only the core writes.

The head leaves in one write with the stream's first bytes: a system call less for each stream, and the client has both
at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp.helpers import rfc822_formatted_time

if TYPE_CHECKING:
    import asyncio

    from sluicegate.web.request import Request

#: The transport's marks in bytes: above the first the core pauses the upstream, below the second it goes on.
_HIGH_WATER = 65536
_LOW_WATER = 16384
_EVENT_STREAM = (
    "Content-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache, no-transform\r\nX-Accel-Buffering: no"
)
_LAST_CHUNK = b"0\r\n\r\n"


class Opened:
    """The answer 200 to ``request`` with an event stream, on ``transport``.

    ``lines`` are headers that cannot break out of theirs, each with its CRLF before it.
    """

    __slots__ = ("_transport", "framed", "head", "keep_alive")

    def __init__(
        self,
        request: Request,
        transport: asyncio.WriteTransport,
        request_id: str,
        lines: str,
    ) -> None:
        self._transport = transport
        #: HTTP/1.0 knows no chunks: there only the end of the connection ends a stream.
        self.framed = not request.http10
        self.keep_alive = self.framed and request.keep_alive
        framing = "Transfer-Encoding: chunked\r\n" if self.framed else ""
        connection = "" if self.keep_alive or not self.framed else "Connection: close\r\n"
        version = "1.1" if self.framed else "1.0"
        #: What the first write begins with; empty once that was done.
        self.head = (
            f"HTTP/{version} 200 OK\r\n{_EVENT_STREAM}{lines}\r\nX-Request-Id: {request_id}\r\n{framing}"
            f"Date: {rfc822_formatted_time()}\r\nServer: sluicegate\r\n{connection}\r\n"
        ).encode("utf-8", "replace")
        transport.set_write_buffer_limits(high=_HIGH_WATER, low=_LOW_WATER)

    def say(self, event: bytes) -> None:
        """Write an event or a comment of ours, with the head if that has not left. Raises ConnectionResetError."""
        if self._transport.is_closing():
            raise ConnectionResetError
        self._transport.write(self.head + (b"%x\r\n%b\r\n" % (len(event), event) if self.framed else event))
        self.head = b""

    def force_close(self) -> None:
        """End the connection after this answer."""
        self.keep_alive = False

    def end(self) -> None:
        """Write what ends the message. Raises ConnectionResetError if the client has left."""
        if self._transport.is_closing():
            raise ConnectionResetError
        if self.framed:
            self._transport.write(_LAST_CHUNK)
