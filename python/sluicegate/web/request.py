"""One request as the edge hands it on: its head's headers looked at once, and the way to its body and its connection.

aiohttp's own request asks its headers anew for each question and keeps what few need; it is made for streams only,
whose answer aiohttp opens and ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp.http_writer import StreamWriter
from aiohttp.web_request import BaseRequest

from sluicegate.web.profiles import FORWARDED

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping, Sequence

    from aiohttp import HttpVersion, StreamReader
    from aiohttp.http_parser import RawRequestMessage
    from aiohttp.web import RequestHandler

#: The headers that the edge looks at itself.
_READ = frozenset(
    {
        "authorization",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "origin",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "x-api-key",
        "x-request-id",
    }
)


class Request:
    """A request whose head has arrived.

    ``surplus``: its connection is above the limit. ``large``: a read was larger than a head may be.
    """

    __slots__ = (
        "_again",
        "_aiohttp",
        "_forwarded",
        "_message",
        "_task",
        "connection",
        "content",
        "first",
        "large",
        "method",
        "surplus",
        "target",
        "version",
    )

    def __init__(
        self,
        message: RawRequestMessage,
        content: StreamReader,
        connection: RequestHandler,
        task: asyncio.Task[None],
        *,
        surplus: bool,
        large: bool,
    ) -> None:
        self._message = message
        self._task = task
        self._aiohttp: BaseRequest | None = None
        #: Gives the body.
        self.content = content
        self.connection = connection
        self.surplus = surplus
        self.large = large
        self.method: str = message.method
        #: Path and query as they were sent.
        self.target: str = message.path
        self.version: HttpVersion = message.version
        first: dict[str, str] = {}
        again: list[tuple[str, str]] = []
        forwarded: list[tuple[str, str]] = []
        for name, value in message.headers.items():
            lower = name.lower()
            if lower in _READ:
                if lower in first:
                    again.append((lower, value))
                else:
                    first[lower] = value
            if lower in FORWARDED:
                forwarded.append((lower, value))
        #: The first value of each header that the edge looks at, by its name in lower case.
        self.first: Mapping[str, str] = first
        self._again = again
        self._forwarded = forwarded

    def every(self, name: str) -> Sequence[str]:
        """Give all values of a header that the edge looks at; ``name`` in lower case."""
        if name not in self.first:
            return ()
        if not self._again:
            return (self.first[name],)
        return (self.first[name], *(value for other, value in self._again if other == name))

    def repeats(self, name: str) -> bool:
        """Tell whether a header that the edge looks at stands more than once; ``name`` in lower case."""
        return bool(self._again) and len(self.every(name)) > 1

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """All headers as they were sent."""
        return self._message.raw_headers

    @property
    def keep_alive(self) -> bool:
        """Whether the client may use its connection again."""
        return not self._message.should_close

    @property
    def forwarded(self) -> Sequence[tuple[str, str]]:
        """The headers that an upstream may see, names in lower case.

        Left out is what the ``Connection`` header names (RFC 9110 7.6.1) and what is not printable ASCII.
        """
        printable = [header for header in self._forwarded if header[1].isascii() and header[1].isprintable()]
        if "connection" not in self.first:
            return printable
        hop = {token.strip().lower() for value in self.every("connection") for token in value.split(",")}
        return [header for header in printable if header[0] not in hop]

    @property
    def aiohttp(self) -> BaseRequest:
        """The same as aiohttp's streamed answers want it."""
        if self._aiohttp is None:
            loop = self._task.get_loop()
            writer = StreamWriter(self.connection, loop)
            self._aiohttp = BaseRequest(self._message, self.content, self.connection, writer, self._task, loop)
        return self._aiohttp

    def _cancel(self, error: BaseException) -> None:
        """Tell whoever reads the body that no more will come; aiohttp calls it when the connection ends."""
        self.content.set_exception(error)
