"""A request's head, read strictly: one meaning for every proxy between the caller and us, or a 400.

aiohttp's C parser refuses most of what is wrong (tests/faults names each case); this module refuses what it lets pass.
"""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

from aiohttp import HttpVersion10, HttpVersion11

from sluicegate.errors import BadRequest, ExpectationFailed, HeadersTooLarge

if TYPE_CHECKING:
    from sluicegate.web.request import Parsed, Request

_SPOKEN = (HttpVersion11, HttpVersion10)
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{0,5})?")


def check(request: Parsed, limit: int) -> None:
    """Refuse a head that two readers could take for two different requests, or that is larger than ``limit`` bytes.

    Raises BadRequest or ExpectationFailed, both with ``close``, or HeadersTooLarge.
    """
    headers = request.first
    if request.version not in _SPOKEN:
        request.version = HttpVersion11  # or the answer's status line says what the request's said
        raise BadRequest("unsupported_http_version", "Please speak HTTP/1.1.", status=505, close=True)
    if request.large and _size(request) > limit:
        raise too_large(limit)
    if (framing := headers.get("transfer-encoding")) is not None and (
        framing.lower() != "chunked" or request.version == HttpVersion10
    ):
        message = "Transfer-Encoding must be exactly `chunked`, and the request HTTP/1.1."
        raise BadRequest("unsupported_transfer_encoding", message, close=True)
    if request.repeats("authorization"):
        raise BadRequest("duplicate_header", "The Authorization header stands more than once.", close=True)
    host = headers.get("host")
    if host is not None and _HOST.fullmatch(host) is None:
        message = "The Host header is not a host name or address with an optional port."
        raise BadRequest("invalid_host", message, close=True)
    expectation = headers.get("expect")
    if expectation is not None and expectation.lower() != "100-continue":
        raise ExpectationFailed("expectation_failed", "The only Expect that is met is `100-continue`.", close=True)


def _size(request: Parsed) -> int:
    """Count a head's bytes, as sent but for white space around values."""
    return sum(len(name) + len(value) + 4 for name, value in request.headers) + len(request.target)


def too_large(limit: int) -> HeadersTooLarge:
    """Say that a head is above ``limit`` bytes."""
    return HeadersTooLarge("headers_too_large", f"The request's head is larger than {limit} bytes.", close=True)


class RequestIds:
    """Names requests."""

    def __init__(self) -> None:
        self._random = random.Random()  # noqa: S311  # an id need not be hard to guess; 96 bits meet no other

    def of(self, request: Request) -> str:
        """Give the caller's ``x-request-id`` if it is one, of up to 128 visible ASCII characters; else a new one."""
        return request.given_id or self.new()

    def new(self) -> str:
        """Make an id that nobody has had."""
        return f"req_{self._random.getrandbits(96):024x}"
