"""The client's message over aiohttp: the request's body in, one answer out.

It has four states: unopened, opened (it will be a 200 stream), committed (bytes of a target are in it), ended. Until it
is committed a comment of ours may be said in it; from then to its end only the core writes, through the
:class:`~sluicegate.exchange.Sink`, and begins with the head if that has not left. Once a byte was written there is no
other answer: whatever happens, the handler returns :attr:`Message.response` and nothing else.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
import time
from typing import TYPE_CHECKING

from aiohttp import web
import msgspec

from sluicegate._native import Plain
from sluicegate.errors import BadRequest, BodyTooLarge, BodyTooSlow, BodyUnsupported, ClientLeft
from sluicegate.exchange import Sink
from sluicegate.web.opened import Opened
from sluicegate.web.request import Parsed
from sluicegate.web.whole import Whole, header_lines, reset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sluicegate.web.capacity import Bodies
    from sluicegate.web.request import Request


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a client may ask of us: ``body`` in bytes, ``body_time`` and ``write_time`` in seconds.

    ``bodies`` counts those of all clients.
    ``json_only``: bodies must be declared as JSON, which keeps a browser's forms and simple requests out.
    """

    body: int
    body_time: float
    write_time: float
    json_only: bool
    bodies: Bodies


def credentials(request: Request, key_header: str) -> tuple[Sequence[str], Sequence[str]]:
    """Give every ``Authorization`` and every ``x-api-key`` header's value; ``key_header`` counts as the latter."""
    if not key_header or not isinstance(request, Parsed):  # whoever sends one is not plain
        return request.credentials
    authorizations, api_keys = request.credentials
    return authorizations, (*api_keys, *request.every(key_header))


#: A body that comes with its head and is no larger than this is not counted: it fits into the connection's own buffer.
_SMALL = 16 << 10


class Message(msgspec.Struct, eq=False):
    """One request and its answer: :class:`sluicegate.exchange.Client` over aiohttp.

    ``received`` is the monotonic time of the request's head, ``own_headers`` go into every answer.
    ``key_header`` is one more header in which a key may come.
    """

    _request: Request
    _bounds: Bounds
    _request_id: str
    _received: float
    _own_headers: Sequence[tuple[str, str]] = ()
    _key_header: str = ""
    _ended: bool = False
    # What the bodies' count has of this request.
    _held: int = 0
    #: Body bytes read from the client.
    bytes_in: int = 0
    #: What the handler must return; None while unopened.
    response: Whole | Opened | None = None

    @property
    def credentials(self) -> tuple[Sequence[str], Sequence[str]]:
        """Every ``Authorization`` and every ``x-api-key`` header's value."""
        return credentials(self._request, self._key_header)

    @property
    def headers(self) -> str:
        """The request's headers that an upstream may see, a line each."""
        return self._request.forwarded

    async def body(self) -> bytes:
        """Read the whole request body; at its peak that takes twice its size. May be called once.

        Whoever waits with ``Expect: 100-continue`` is told to go on here, so whatever can be refused without the body
        should have been refused before.

        Raises BodyTooLarge (at once where the length is declared, else at the crossing, without reading on),
        BodyTooSlow, BodyUnsupported, BadRequest for broken framing, Overloaded where all clients' bodies together are
        too many, or ClientLeft.
        """
        request = self._request
        if isinstance(request, Plain):
            if self._bounds.json_only and not request.json:
                raise _not_json()
            self.bytes_in = len(request.body)
            if self.bytes_in > self._bounds.body:
                raise self._too_large()
            if self.bytes_in > _SMALL:
                self._hold(self.bytes_in)
            return request.body
        return await self._read(request)

    async def _read(self, request: Parsed) -> bytes:
        self._refuse_unread(request)
        content = request.content
        if content.is_eof():  # the whole of it came with the head
            body = content.read_nowait()
            self.bytes_in = len(body)
            if self.bytes_in > self._bounds.body:
                raise self._too_large()
            if self.bytes_in > _SMALL:
                self._hold(self.bytes_in)
            return body
        try:
            async with asyncio.timeout(self._bounds.body_time):
                self._tell_to_go_on(request)
                return await self._collect(request)
        except TimeoutError:
            message = f"The request's body did not arrive within {self._bounds.body_time:g} seconds."
            raise BodyTooSlow("request_timeout", message, close=True) from None
        except web.RequestPayloadError:
            message = "The request's body is not framed as HTTP/1.1 demands."
            raise BadRequest("invalid_body_framing", message, close=True) from None
        except (ConnectionError, RuntimeError):  # RuntimeError: aiohttp's "Connection closed."
            raise ClientLeft from None

    def reply(self, status: int, headers: Sequence[tuple[str, str]], body: bytes, lines: str = "") -> None:
        """Make this the whole answer. Only while unopened. The connection closes if the request was not read whole.

        ``lines`` are headers that cannot break out of theirs, each with its CRLF before it; without them
        ``Server-Timing`` tells how long the answer took.
        """
        if not lines:
            lines = f"\r\nServer-Timing: total;dur={(time.monotonic() - self._received) * 1000:.1f}"
        unread, write_time = self._request.unread, self._bounds.write_time
        if headers or self._own_headers:
            headers = [*headers, *self._own_headers]
            self.response = Whole.of(
                self._request_id, status, headers, body, lines=lines, close=unread, write_time=write_time
            )
        else:
            self.response = Whole(self._request_id, status, body, lines, False, unread, write_time)  # noqa: FBT003  # it is JSON
        self._ended = True

    def open(self, lines: str) -> Sink:
        """Open a 200 event stream, once; its head leaves with the first bytes. Raises ClientLeft.

        ``lines`` as :meth:`reply` takes them.
        """
        transport = self._request.connection.transport
        if transport is None or transport.is_closing():
            raise ClientLeft
        opened = self.response
        if not isinstance(opened, Opened):
            opened = self.response = Opened(
                self._request, transport, self._request_id, lines + header_lines(self._own_headers)
            )
        return Sink(opened.head, transport.write, transport.get_write_buffer_size, opened.framed)

    def say(self, event: bytes) -> None:
        """Write an event or a comment of ours into the open message. Raises ClientLeft."""
        if isinstance(self.response, Opened) and not self._ended:
            try:
                self.response.say(event)
            except (ConnectionError, RuntimeError):  # RuntimeError: uvloop's closed handle
                raise ClientLeft from None

    async def drain(self) -> None:
        """Wait until the client has read. Raises TimeoutError after the write timeout, ClientLeft if it left."""
        try:
            async with asyncio.timeout(self._bounds.write_time):
                await self._request.connection._drain_helper()  # noqa: SLF001  # what StreamWriter.drain() awaits
        except ConnectionError:
            raise ClientLeft from None

    async def end(self, *, reusable: bool) -> None:
        """End an opened message; the connection is closed after it unless ``reusable``.

        Not after a failed write. A client that leaves or stops reading meanwhile has had all there was.
        """
        response = self.response
        if self._ended or not isinstance(response, Opened):
            return
        self._ended = True
        if not reusable or self._request.unread:
            response.force_close()
        try:
            response.end()
            await self.drain()
        except TimeoutError:
            self.abort()
        except (ConnectionError, ClientLeft):
            return

    def abort(self) -> None:
        """Drop the client's connection without ending the message: RST, since its buffer is full anyway."""
        self._ended = True
        reset(self._request.connection.transport)

    def settle(self) -> Whole | Opened | None:
        """Give what the handler must return; None if nobody answered. A stream left open is aborted, never ended.

        Ended as if it were whole, the client could not tell.
        """
        if self._held:
            self._bounds.bodies.give(self._held)
        if self.response is not None and not self._ended:
            self.abort()
        return self.response

    def _refuse_unread(self, request: Parsed) -> None:
        """Refuse what the head alone tells."""
        headers = request.first
        if headers.get("content-encoding", "identity").lower() != "identity":
            message = "Compressed request bodies are not read; please send it without Content-Encoding."
            raise BodyUnsupported("unsupported_content_encoding", message)
        if self._bounds.json_only and not request.json:
            raise _not_json()
        if int(headers.get("content-length", 0)) > self._bounds.body:
            raise self._too_large()

    @staticmethod
    def _tell_to_go_on(request: Parsed) -> None:
        if not request.http10 and request.first.get("expect", "").lower() == "100-continue":
            transport = request.connection.transport
            if transport is None or transport.is_closing():
                raise ClientLeft
            transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def _collect(self, request: Parsed) -> bytes:
        parts: list[bytes] = []
        async for part in request.content.iter_any():
            parts.append(part)
            self.bytes_in += len(part)
            if self.bytes_in > self._bounds.body:
                raise self._too_large()
            self._hold(len(part))
        return b"".join(parts)

    def _hold(self, size: int) -> None:
        self._held += size
        self._bounds.bodies.take(size)

    def _too_large(self) -> BodyTooLarge:
        message = f"The request's body is larger than {self._bounds.body} bytes."
        return BodyTooLarge("request_too_large", message, close=True)


def _not_json() -> BodyUnsupported:
    message = "Please send the body with Content-Type: application/json."
    return BodyUnsupported("unsupported_media_type", message)
