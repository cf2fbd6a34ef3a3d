"""One request as the edge hands it on, in two kinds that answer the same questions.

A ``Plain`` one came whole in one read and asks for nothing special, as nearly all do: Rust reads it in 2 us. A
:class:`Parsed` one was read by aiohttp's parser, with whatever HTTP/1 allows: that costs 25 us and more.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aiohttp import HttpVersion, HttpVersion10

from sluicegate._native import Plain
from sluicegate.web.profiles import FORWARDED, PROFILES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiohttp import StreamReader
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
        "x-api-key",
        "x-request-id",
    }
).union(*(profile.own_headers for profile in PROFILES.values()))
_REQUEST_ID = re.compile(r"[!-~]{1,128}")


class Parsed:
    """A request whose head was read by aiohttp: what ``Plain`` answers, and what only the edge asks.

    ``surplus``: its connection is above the limit. ``large``: its head may be larger than one may be.
    """

    __slots__ = (
        "_again",
        "_forwarded",
        "_message",
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
        *,
        surplus: bool,
        large: bool,
    ) -> None:
        self._message = message
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
    def path(self) -> str:
        """The path as it was sent, without the query: nothing is decoded or cleaned, so nothing can differ."""
        return self.target.partition("?")[0]

    @property
    def http10(self) -> bool:
        """Whether the client speaks HTTP/1.0, which knows no chunks."""
        return self.version == HttpVersion10

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """All headers as they were sent."""
        return self._message.raw_headers

    @property
    def keep_alive(self) -> bool:
        """Whether the client may use its connection again."""
        return not self._message.should_close

    @property
    def unread(self) -> bool:
        """Whether a part of the body has not been read, or has not come."""
        return not self.content.is_eof()

    @property
    def from_page(self) -> bool:
        """Whether a web page sent it."""
        return "origin" in self.first

    @property
    def upgrades(self) -> bool:
        """Whether it asks to leave HTTP/1.1; what stands behind it is not read."""
        return "upgrade" in self.first

    @property
    def credentials(self) -> tuple[Sequence[str], Sequence[str]]:
        """Every ``Authorization`` and every ``x-api-key`` header's value."""
        return self.every("authorization"), self.every("x-api-key")

    def says(self, header: str) -> bool:
        """Tell whether a header of a profile's own is there and says ``true``."""
        return self.first.get(header, "").lower() == "true"

    @property
    def given_id(self) -> str | None:
        """The caller's ``x-request-id``, if it is one, of up to 128 visible ASCII characters."""
        given = self.every("x-request-id")
        return given[0] if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]) is not None else None

    @property
    def json(self) -> bool:
        """Whether the body is declared as JSON: a browser cannot say so across origins without asking first."""
        kind = self.first.get("content-type", "").partition(";")[0].strip().lower()
        return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))

    @property
    def forwarded(self) -> str:
        """The headers that an upstream may see, a line each: the name in lower case, ``: ``, the value, LF.

        Left out is what the ``Connection`` header names (RFC 9110 7.6.1) and what is not printable ASCII.
        """
        hop: set[str] = set()
        if "connection" in self.first:
            hop = {token.strip().lower() for value in self.every("connection") for token in value.split(",")}
        return "".join(
            f"{name}: {value}\n"
            for name, value in self._forwarded
            if value.isascii() and value.isprintable() and name not in hop
        )

    def _cancel(self, error: BaseException) -> None:
        """Tell whoever reads the body that no more will come; aiohttp calls it when the connection ends."""
        self.content.set_exception(error)


Request = Plain | Parsed
