"""The admin address: health, metrics and the last rows, on a listener of its own, never on the clients'.

With an ``admin_token`` everything but health wants it as a bearer token. Without one only loopback is bound, and a
request must name a loopback host and come from no web page: a page that points a name of its own at 127.0.0.1 would
otherwise read what stands here (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sluicegate.dialects.speech import error_body
from sluicegate.errors import (
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
from sluicegate.telemetry.metrics import CONTENT_TYPE
from sluicegate.web import head
from sluicegate.web.profiles import DEFAULT_DIALECT
from sluicegate.web.whole import Whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from sluicegate.web.request import Parsed

log = logging.getLogger("sluicegate.web")

_TEXT = (("Content-Type", "text/plain; charset=utf-8"),)

#: The names that the health probes of other gateways and of Kubernetes recipes ask for.
_LIVE = frozenset({"/livez", "/health", "/health/live", "/health/liveness", "/health/liveliness", "/healthz"})
_READY = frozenset({"/readyz", "/health/ready", "/health/readiness"})


class Admin:
    """Answers the admin address's requests; the handler of its :class:`~sluicegate.web.protocol.Edge`.

    ``exposition`` renders all series as Prometheus text and ``rows`` the last rows as a JSON array, both in a thread;
    ``ready`` tells whether new requests are welcome.
    """

    def __init__(
        self,
        *,
        exposition: Callable[[], bytes],
        rows: Callable[[], bytes],
        ready: Callable[[], bool],
        token: str | None,
        head_size: int,
    ) -> None:
        self._exposition = exposition
        self._ready = ready
        self._rows = rows
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
        except Exception as error:  # noqa: BLE001  # the last stop before aiohttp's own page
            log.error("an admin request failed: %s", where(error))  # noqa: TRY400  # its words may quote content
            return self.refuse(request, Internal())

    def refuse(self, request: Parsed | None, error: RequestFailed) -> Whole:
        """Write an error as JSON."""
        close = error.close or request is None or request.unread
        body = error_body(DEFAULT_DIALECT, error, "")
        return Whole("", error.status, [*error.headers.items()], body, close=close)

    async def _serve(self, request: Parsed) -> Whole:
        path = request.path
        if path in _LIVE:
            self._only_get(request)
            return Whole("", 200, _TEXT, b"ok\n")
        if path in _READY:
            self._only_get(request)
            if not self._ready():
                raise Draining("gateway_draining", "The gateway is shutting down.")
            return Whole("", 200, _TEXT, b"ok\n")
        self._admit(request)
        if path == "/metrics":
            self._only_get(request)
            text = await asyncio.to_thread(self._exposition)
            return Whole("", 200, (("Content-Type", CONTENT_TYPE),), text)
        if path == "/admin/requests":
            self._only_get(request)
            rows = await asyncio.to_thread(self._rows)
            return Whole("", 200, (), b'{"object":"list","data":' + rows + b"}")
        raise NotFound("unknown_path", "There is nothing at this path.")

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
