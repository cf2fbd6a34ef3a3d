"""The admin address: health, metrics, reports, keys and the reload, on a listener of its own, never on the clients'.

It may stand in another process than those that serve: what it shows and does is behind :class:`Operations`.

With an ``admin_token`` everything but health wants it as a bearer token. Without one only loopback is bound, and a
request must name a loopback host and come from no web page: a page that points a name of its own at 127.0.0.1 would
otherwise read what stands here (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import orjson

from sluicegate.config import ConfigError
from sluicegate.dialects.speech import error_body
from sluicegate.errors import (
    FAULTS,
    BadRequest,
    Draining,
    Internal,
    MethodNotAllowed,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    RequestFailed,
    where,
)
from sluicegate.telemetry.gathered import CONTENT_TYPE
from sluicegate.web import head
from sluicegate.web.admin_keys import KEYS, keys_page
from sluicegate.web.profiles import DEFAULT_DIALECT
from sluicegate.web.whole import Whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sluicegate.config import Facts
    from sluicegate.web.request import Parsed

log = logging.getLogger("sluicegate.web")

#: The code of a reload's refusal.
_INVALID = "invalid_configuration"
_TEXT = (("Content-Type", "text/plain; charset=utf-8"),)

#: The names that the health probes of other gateways and of Kubernetes recipes ask for.
_LIVE = frozenset({"/livez", "/health", "/health/live", "/health/liveness", "/health/liveliness", "/healthz"})
_READY = frozenset({"/readyz", "/health/ready", "/health/readiness"})


#: What ``GET /admin/NAME`` lists: a report of every worker, together.
_REPORTS: Mapping[str, str] = MappingProxyType({"/admin/requests": "requests", "/admin/targets": "targets"})


class Operations(Protocol):
    """What an operator may see and do, of all workers together."""

    @property
    def ready(self) -> bool:
        """Whether new requests are welcome."""

    async def exposition(self) -> bytes:
        """Every series as Prometheus text."""

    async def report(self, name: str) -> bytes:
        """The report of this name as a JSON array."""

    async def order(self, name: str, body: bytes) -> bytes:
        """Have something done and give the answer, both JSON. Raises ConfigError: nobody can do it now."""

    async def reload(self) -> Facts:
        """Take over what the configuration file says now. Raises ConfigError: it cannot be used, nothing changed."""


class Admin:
    """Answers the admin address's requests; the handler of its :class:`~sluicegate.web.protocol.Edge`."""

    def __init__(self, operations: Operations, *, token: str | None, head_size: int) -> None:
        self._operations = operations
        self._token = token
        self._head_size = head_size

    async def answer(self, request: Parsed) -> Whole:
        """Serve one request. Raises nothing but CancelledError."""
        try:
            head.check(request, self._head_size)
            return await self._serve(request)
        except RequestFailed as error:
            return self.refuse(request, error)
        except asyncio.CancelledError:
            raise
        except FAULTS as error:  # the last stop before aiohttp's own page
            log.error("an admin request failed: %s", where(error))  # noqa: TRY400  # its words may quote content
            return self.refuse(request, Internal())

    def refuse(self, request: Parsed | None, error: RequestFailed) -> Whole:
        """Write an error as JSON."""
        close = error.close or request is None or request.unread
        body = error_body(DEFAULT_DIALECT, error, "")
        return Whole.of("", error.status, [*error.headers.items()], body, close=close)

    async def _serve(self, request: Parsed) -> Whole:
        path = request.path
        if path in _LIVE:
            self._only_get(request)
            return Whole.of("", 200, _TEXT, b"ok\n")
        if path in _READY:
            self._only_get(request)
            if not self._operations.ready:
                raise Draining("gateway_draining", "The gateway is shutting down.")
            return Whole.of("", 200, _TEXT, b"ok\n")
        self._admit(request)
        if path == "/metrics":
            self._only_get(request)
            return Whole.of("", 200, (("Content-Type", CONTENT_TYPE),), await self._operations.exposition())
        if path in _REPORTS:
            self._only_get(request)
            rows = await self._operations.report(_REPORTS[path])
            return Whole("", 200, b'{"object":"list","data":' + rows + b"}")
        if path == "/admin/reload":
            return await self._reload(request)
        if path == KEYS or path.startswith(f"{KEYS}/"):
            return await keys_page(request, self._operations.order)
        raise NotFound("unknown_path", "There is nothing at this path.")

    async def _reload(self, request: Parsed) -> Whole:
        if request.method != "POST":
            raise MethodNotAllowed("method_not_allowed", "Please use POST here.", headers={"Allow": "POST"})
        close = not request.content.is_eof()
        try:
            facts = await self._operations.reload()
        except ConfigError as error:
            message = f"{error.source} cannot be used; the running configuration is unchanged."
            problems = [{"path": problem.path, "message": problem.message} for problem in error.problems]
            failure = {"message": message, "type": "invalid_request_error", "param": None, "code": _INVALID}
            return Whole("", 400, orjson.dumps({"error": failure | {"problems": problems}}), close=close)
        answer = {"object": "configuration", "version": facts.version, "warnings": facts.warnings}
        return Whole("", 200, orjson.dumps(answer), close=close)

    def _only_get(self, request: Parsed) -> None:
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed("method_not_allowed", "Please use GET here.", headers={"Allow": "GET, HEAD"})

    def _admit(self, request: Parsed) -> None:
        if self._token is None:
            _refuse_pages(request)
            return
        scheme, _, given = request.first.get("authorization", "").partition(" ")
        if not given:
            raise NotAuthenticated("missing_admin_token", "Please send the admin token as Authorization: Bearer.")
        presented = given.strip().encode("utf-8", "replace")
        if scheme.lower() != "bearer" or not hmac.compare_digest(presented, self._token.encode()):
            raise NotAuthenticated("invalid_admin_token", "This is not the admin token.")


def _refuse_pages(request: Parsed) -> None:
    """Refuse what a web page sent. Raises NotAllowed or BadRequest."""
    if request.from_page:
        raise NotAllowed("origin_not_allowed", "Web pages may not use the admin address.")
    host = request.first.get("host")
    if host is not None and not _is_loopback(host):
        raise BadRequest("invalid_host", "Without an admin token the admin address is asked by a loopback name only.")


def _is_loopback(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
