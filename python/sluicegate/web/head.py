"""A request's head, read strictly: one meaning for every proxy between the caller and us, or a 400.

aiohttp's C parser refuses most of what is wrong (tests/faults names each case); this module refuses what it lets pass.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from aiohttp import HttpVersion10, HttpVersion11

from sluicegate.errors import BadRequest, ExpectationFailed, HeadersTooLarge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp.web import BaseRequest

_SPOKEN = (HttpVersion11, HttpVersion10)
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{0,5})?")
_REQUEST_ID = re.compile(r"[!-~]{1,128}")
_FORWARDABLE = re.compile(r"[ -~]*")
_USER_AGENT_LIMIT = 256


def check(request: BaseRequest, limit: int) -> None:
    """Refuse a head that two readers could take for two different requests, or that is larger than ``limit`` bytes.

    Raises BadRequest or ExpectationFailed, both with ``close``, or HeadersTooLarge.
    """
    headers = request.headers
    if request._message.version not in _SPOKEN:  # noqa: SLF001  # .version is read once and kept
        request._version = HttpVersion11  # noqa: SLF001  # or the answer's status line says what the request's said
        raise BadRequest("unsupported_http_version", "Please speak HTTP/1.1.", status=505, close=True)
    if getattr(request.protocol, "large", True) and _size(request) > limit:
        raise too_large(limit)
    if (framing := headers.get("Transfer-Encoding")) is not None and (
        framing.lower() != "chunked" or request.version == HttpVersion10
    ):
        message = "Transfer-Encoding must be exactly `chunked`, and the request HTTP/1.1."
        raise BadRequest("unsupported_transfer_encoding", message, close=True)
    if len(headers.getall("Authorization", ())) > 1:
        raise BadRequest("duplicate_header", "The Authorization header stands more than once.", close=True)
    host = headers.get("Host")
    if host is not None and _HOST.fullmatch(host) is None:
        message = "The Host header is not a host name or address with an optional port."
        raise BadRequest("invalid_host", message, close=True)
    expectation = headers.get("Expect")
    if expectation is not None and expectation.lower() != "100-continue":
        raise ExpectationFailed("expectation_failed", "The only Expect that is met is `100-continue`.", close=True)


def _size(request: BaseRequest) -> int:
    """Count a head's bytes, as sent but for white space around values."""
    return sum(len(name) + len(value) + 4 for name, value in request.raw_headers) + len(request.raw_path)


def too_large(limit: int) -> HeadersTooLarge:
    """Say that a head is above ``limit`` bytes."""
    return HeadersTooLarge("headers_too_large", f"The request's head is larger than {limit} bytes.", close=True)


def path_of(request: BaseRequest) -> str:
    """Give the path as it was sent, without the query: nothing is decoded, joined or cleaned, so nothing can differ."""
    return request.raw_path.partition("?")[0]


def request_id(request: BaseRequest) -> str:
    """Give the caller's ``x-request-id`` if it is one, of up to 128 visible ASCII characters; else a new one."""
    given = request.headers.getall("X-Request-Id", ())
    if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]) is not None:
        return str(given[0])
    return new_request_id()


def new_request_id() -> str:
    """Make an id that nobody has had."""
    return f"req_{os.urandom(12).hex()}"


def user_agent(request: BaseRequest) -> str:
    """Give the caller's ``User-Agent`` in ASCII, cut to 256 characters: it goes into rows and logs."""
    value = request.headers.get("User-Agent", "")[:_USER_AGENT_LIMIT]
    return value if value.isascii() else value.encode("ascii", "backslashreplace").decode()[:_USER_AGENT_LIMIT]


def forwarded(request: BaseRequest, names: frozenset[str]) -> Sequence[tuple[str, str]]:
    """Give the headers, names in lower case, whose name is in ``names``.

    Left out is what the ``Connection`` header names (RFC 9110 7.6.1) and what is not printable ASCII.
    """
    headers = request.headers
    hop = {token.strip().lower() for value in headers.getall("Connection", ()) for token in value.split(",")}
    return [
        (lower, value)
        for name, value in headers.items()
        if (lower := name.lower()) in names and lower not in hop and _FORWARDABLE.fullmatch(value) is not None
    ]


def is_json(request: BaseRequest) -> bool:
    """Tell whether the body is declared as JSON: a browser cannot say so across origins without asking first."""
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
