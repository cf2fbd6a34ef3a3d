"""aiohttp's edge made ours: what happens to a connection before and around its requests.

Rules, each with a test in tests/faults:

- Nothing of aiohttp's reaches a client or a log: no error page, no echo of what was sent, no traceback. Its parser
  quotes the offending bytes, credentials included, in its exceptions; they end here.
- A head must arrive whole within the header timeout, counted from its first byte, or from the connection's start.
  Between requests a connection may rest longer. One sweep looks at the heads that are late; no timer per request.
- A head is bounded as a whole while it is still coming; pipelined requests are bounded by aiohttp (32).
- A body whose framing breaks, or is most of it, wakes its reader at once; aiohttp would let it wait.
- A plain request, which came whole in one read, is read by Rust; aiohttp's parser sees only what is not plain. It is
  asked only while nothing of another request is under way, so the order of requests is kept.
- One task serves a connection's requests, one after another. aiohttp makes one more for each request, which costs a
  pass of the loop; the new context it is for is nobody's here.
- Above the connection limit a request is answered 503 and the connection closed; far above it is dropped unread.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from aiohttp import HttpVersion11, http_parser, web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.web_protocol import _PAYLOAD_ACCESS_ERROR, ERROR, RequestHandler, _ErrInfo
from typing_extensions import override

from sluicegate._native import Plain
from sluicegate.config import ConfigError, Problem
from sluicegate.errors import FAULTS, BadRequest, BodyTooSlow, RequestFailed, where
from sluicegate.web.capacity import SPARE
from sluicegate.web.head import too_large
from sluicegate.web.request import Parsed
from sluicegate.web.whole import Whole, reset

if TYPE_CHECKING:
    from aiohttp import StreamReader
    from aiohttp.web import BaseRequest, StreamResponse

    from sluicegate.web.opened import Opened
    from sluicegate.web.terms import Terms

log = logging.getLogger("sluicegate.web")

#: Seconds a connection may rest between requests: above what proxies and SDKs keep theirs for.
IDLE = 75.0
#: Seconds we read on after an answer that came before the request's end, so that the client can read it.
LINGER = 2.0
_MAX_HEADERS = 128
#: Bytes that the framing of a chunked body may take: per byte of the body (one in a chunk of its own takes six), and
#: beyond that for extensions and trailers, which are read and dropped.
_CHUNK_OVERHEAD = 8
_CHUNK_SLACK = 65536
_TOO_MANY = "Too many headers received"


def check_parser() -> None:
    """Make sure that requests are read by aiohttp's C parser; its Python one is slow, and reads otherwise than tested.

    Raises ConfigError.
    """
    if http_parser.HttpRequestParser.__module__ != "aiohttp._http_parser":
        missing = "its C parser is missing; install a wheel of it, and unset AIOHTTP_NO_EXTENSIONS"
        raise ConfigError("this machine", (Problem("aiohttp", missing),))


async def _unused(request: BaseRequest) -> StreamResponse:
    """Stand where aiohttp wants a handler of its own requests, of which there are none."""
    raise NotImplementedError


class Edge(web.Server):
    """Makes a :class:`Connection` of every accepted socket, on ``terms``: the factory for ``loop.create_server``."""

    def __init__(self, terms: Terms) -> None:
        check_parser()
        loop = asyncio.get_running_loop()
        super().__init__(_unused, handler_cancellation=True, loop=loop)
        self.loop = loop
        self.terms = terms
        #: Connections there are.
        self.open = 0
        self._left = asyncio.Event()
        # Connections whose head is not whole, by the time at which it is late; the oldest first.
        self._heads: dict[Connection, float] = {}
        self._sweep = loop.call_later(self._interval, self._drop_late_heads)

    @property
    def _interval(self) -> float:
        return min(1.0, self.terms.head_time / 4)

    @override
    def __call__(self) -> RequestHandler:
        return Connection(self)

    async def emptied(self) -> None:
        """Wait until no connection is open."""
        while self.open:
            self._left.clear()
            await self._left.wait()

    def enter(self, connection: Connection) -> bool:
        """Count a new connection. False: it is above the limit; ``connection.surplus`` says that it may still ask."""
        self.open += 1
        connection.surplus = self.open > self.terms.connections
        return self.open <= self.terms.connections + SPARE

    def leave(self, connection: Connection) -> None:
        """Count a connection that ended."""
        self.open -= 1
        self._left.set()
        self._heads.pop(connection, None)

    def head_begins(self, connection: Connection) -> None:
        """Note that a head has begun to arrive, unless that is known."""
        if connection not in self._heads:
            self._heads[connection] = self.loop.time() + self.terms.head_time

    def head_ends(self, connection: Connection) -> None:
        """Note that a connection's head is whole."""
        self._heads.pop(connection, None)

    async def close(self, patience: float) -> None:
        """Close all connections; running handlers are cancelled after twice ``patience`` seconds."""
        self._sweep.cancel()
        self.pre_shutdown()
        await self.shutdown(patience)

    def _drop_late_heads(self) -> None:
        now = self.loop.time()
        late = []
        for connection, limit in self._heads.items():
            if limit > now:
                break
            late.append(connection)
        for connection in late:
            del self._heads[connection]
            connection.drop_late()
        self._sweep = self.loop.call_later(self._interval, self._drop_late_heads)


class Connection(RequestHandler):
    """One client's connection."""

    __slots__ = ("_body_bytes", "_edge", "_head_bytes", "_next", "large", "surplus")

    def __init__(self, edge: Edge) -> None:
        super().__init__(
            edge,
            loop=edge.loop,
            logger=log,
            access_log=None,  # type: ignore[arg-type]  # None means off
            keepalive_timeout=IDLE,
            lingering_time=LINGER,
            auto_decompress=False,
            max_line_size=edge.terms.head_size,
            max_field_size=edge.terms.head_size,
            max_headers=_MAX_HEADERS,
        )
        self._edge = edge
        # The plain request that waits for its answer, or has it prepared.
        self._next: Plain | None = None
        self._head_bytes = 0
        self._body_bytes = 0
        #: The reads up to a head's end were larger than a head may be, so a head may have been.
        self.large = False
        #: Above the connection limit: answer 503, then close.
        self.surplus = False

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not self._edge.enter(self):
            super().connection_made(transport)
            self._edge.terms.dropped("gateway_overloaded")
            self.force_close()
            return
        super().connection_made(transport)
        self._edge.head_begins(self)

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        self._edge.leave(self)
        super().connection_lost(exc)

    @override
    def resume_reading(self, resume_parser: bool = True) -> None:
        if self._reading_paused or self._buffer_paused:  # aiohttp asks after every body, paused or not
            super().resume_reading(resume_parser)

    @override
    def data_received(self, data: bytes) -> None:
        waiter = self._waiter
        plain = self._edge.terms.plain
        if plain is not None and waiter is not None and not self._head_bytes and not waiter.done():
            request = plain[0].read(data, self, self.surplus)
            if request is not None:
                if not self._request_count:
                    self._edge.head_ends(self)
                self._request_count += 1
                self._next = request
                waiter.set_result(None)
                return
        super().data_received(data)
        self.large = self.large or self._head_bytes + len(data) > self._edge.terms.head_size
        if self._messages:
            self._head_bytes = self._body_bytes = 0
            self._edge.head_ends(self)
            if isinstance(self._messages[-1][0], _ErrInfo):
                self._break_body()
        elif self._current_request is not None:
            self._body_bytes += len(data)
            if self._body_bytes > self._current_request.content.total_bytes * _CHUNK_OVERHEAD + _CHUNK_SLACK:
                self._break_body()
        elif self._waiting_for_head():
            self._head_bytes += len(data)
            if self._head_bytes > self._edge.terms.head_size:
                self._refuse_head(too_large(self._edge.terms.head_size))
            elif data:
                self._edge.head_begins(self)

    def drop_late(self) -> None:
        """Close a connection whose head is late; one that has sent a part of it is told why."""
        if self._head_bytes:
            message = "The request's head did not arrive in time."
            self._refuse_head(BodyTooSlow("request_timeout", message, close=True))
        else:
            self._edge.terms.dropped("request_timeout")
            self.force_close()

    @override
    async def start(self) -> None:
        """Serve the connection's requests in turn. Ends when it may not be used again, or with CancelledError."""
        while not self._force_close:
            if not self._messages:
                self._waiter = self._loop.create_future()
                try:
                    await self._waiter
                finally:
                    self._waiter = None
            try:
                plain, self._next = self._next, None
                usable = await (self._serve_next() if plain is None else self._serve_plain(plain))
            except asyncio.CancelledError:
                self.force_close()
                raise
            except ConnectionError:  # the client left
                break
            except FAULTS as error:  # the last stop before the loop's own handler
                self.log_exception("Unhandled exception", exc_info=error)
                self.force_close()
                break
            if not usable or self._close or self._force_close:
                break
            self._next_keepalive_close_time = self._loop.time() + IDLE
            if self._keepalive_handle is None:
                self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)
        if not self._force_close:
            self._task_handler = None
            if self.transport is not None:
                self.transport.close()

    @override
    def log_exception(self, *args: Any, **kw: Any) -> None:
        error = kw.get("exc_info")
        if not isinstance(error, (web.RequestPayloadError, HttpProcessingError)):
            log.error("a connection failed: %s", where(error) if isinstance(error, BaseException) else args[:1])

    async def _serve_next(self) -> bool:
        """Answer the oldest request that waits. False: the connection must not be used again."""
        message, payload = self._messages.popleft()
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()
        broken = message.exc if isinstance(message, _ErrInfo) else None
        request = Parsed(
            ERROR if isinstance(message, _ErrInfo) else message,
            payload,
            self,
            surplus=self.surplus,
            large=self.large,
        )
        self._request_in_progress = True
        try:
            if broken is None:
                self._current_request = request  # type: ignore[assignment]  # for aiohttp to cancel, nothing else
                try:
                    response = await self._edge.terms.answer(request)
                finally:
                    self._current_request = None
            else:
                request.version = HttpVersion11  # or what cannot be read is answered as 1.0
                response = self._edge.terms.refuse(None, self._unreadable(broken))
            if self._upgraded and not self._messages:
                self._decline_upgrade()
            if patience := self._finish(request, response):
                await self._wait_for_reader(patience)
        finally:
            self._request_in_progress = False
            if self._handler_waiter is not None:
                self._handler_waiter.set_result(None)
        if not payload.is_eof():
            await self._linger(payload)
        return self._keepalive

    async def _serve_plain(self, request: Plain) -> bool:
        """Answer a plain request. False: the connection must not be used again."""
        plain = self._edge.terms.plain
        if plain is None:
            raise RuntimeError("nobody serves plain requests")
        self._request_in_progress = True
        try:
            response = await plain[1](request)
            if patience := self._finish(request, response):
                await self._wait_for_reader(patience)
        finally:
            self._request_in_progress = False
            if self._handler_waiter is not None:
                self._handler_waiter.set_result(None)
        return self._keepalive

    def _finish(self, request: Parsed | Plain, response: Whole | Opened) -> float:
        """Write an answer that is whole. Seconds for which the client has to be waited for; mostly 0."""
        if isinstance(response, Whole):
            self._keepalive = response.write(request, self.transport)
            return response.write_time if self._paused else 0.0
        self._keepalive = response.keep_alive
        return 0.0

    def _decline_upgrade(self) -> None:
        """Read on in HTTP/1.1: the last request asked to leave it (CONNECT does), and has its answer."""
        self._upgraded = False
        tail, self._message_tail = self._message_tail, b""
        if self._parser is not None:
            self._parser.set_upgraded(False)
            if tail:
                self.data_received(tail)
        if self._buffer_paused and len(self._messages) < self._max_msg_queue_size:
            self._resume_reading_if_drained()

    async def _wait_for_reader(self, patience: float) -> None:
        """Wait until the client has read; drop it after ``patience`` seconds."""
        try:
            async with asyncio.timeout(patience):
                await self._drain_helper()
        except TimeoutError:
            reset(self.transport)

    async def _linger(self, payload: StreamReader) -> None:
        """Read on what the answer did not wait for, and drop it."""
        if not self._force_close:
            try:
                async with asyncio.timeout(LINGER):
                    while not payload.is_eof():
                        await payload.readany()
            except TimeoutError:
                self.close()
        payload.set_exception(_PAYLOAD_ACCESS_ERROR)

    def _waiting_for_head(self) -> bool:
        waiter = self._waiter
        return self._request_count == 0 or (waiter is not None and not waiter.done())

    def _break_body(self) -> None:
        request = self._current_request
        if request is not None and not request.content.is_eof():
            request.content.set_exception(web.RequestPayloadError())

    def _refuse_head(self, error: RequestFailed) -> None:
        """Answer a head that never became a request. Nothing else writes: the handler waits for that head."""
        answer = self._edge.terms.refuse(None, error).render(http10=False, keep_alive=False)
        if self.transport is not None:
            self.transport.write(answer)
        self.force_close()

    def _unreadable(self, exc: BaseException) -> RequestFailed:
        if isinstance(exc, LineTooLong) or (isinstance(exc, HttpProcessingError) and exc.message == _TOO_MANY):
            return too_large(self._edge.terms.head_size)
        return BadRequest("invalid_http", "The request is not valid HTTP/1.1.", close=True)
