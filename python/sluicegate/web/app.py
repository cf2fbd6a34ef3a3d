"""The composition root: a gateway between the clients' edge and the admin address, and the order in which they stop."""

from __future__ import annotations

import asyncio
from io import FileIO
import logging
import sys
from typing import TYPE_CHECKING

from sluicegate._native import Heads
from sluicegate.exchange import Mount
from sluicegate.gateway import Gateway
from sluicegate.ledger.accounts import open_accounts
from sluicegate.ledger.prices import Prices
from sluicegate.limits.limiter import Limiter, remote
from sluicegate.telemetry.access_log import AccessLog
from sluicegate.telemetry.accounts import LedgerMetrics
from sluicegate.telemetry.metrics import Metrics
from sluicegate.telemetry.series import BODIES, CLIENTS, TASKS
from sluicegate.web.admin import Admin
from sluicegate.web.capacity import Bodies, connections_that_fit
from sluicegate.web.front import Front
from sluicegate.web.message import Bounds
from sluicegate.web.profiles import ENDPOINTS, FORWARDED, PROFILES
from sluicegate.web.protocol import Edge
from sluicegate.web.routes import Routes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    import socket
    import ssl

    from sluicegate.config import Settings
    from sluicegate.exchange import Endpoint
    from sluicegate.web import front

log = logging.getLogger("sluicegate.web")

_BACKLOG = 4096
#: Connections that the admin address serves at a time.
_ADMIN_CONNECTIONS = 256
#: Seconds that streams which were ended in-band get to write their last event.
_LAST_WORDS = 2.0
#: Seconds that handlers get to finish when the edge is closed.
_PATIENCE = 1.0


class App:
    """A running gateway; :class:`sluicegate.server.worker.RunningApp`. ``finish`` is called last, in threads."""

    def __init__(
        self,
        settings: Settings,
        gateway: front.Gateway,
        endpoints: Sequence[Endpoint],
        metrics: Metrics,
        *,
        rows: Callable[[], bytes],
        finish: Sequence[Callable[[], None]],
    ) -> None:
        limits, timeouts = settings.limits, settings.timeouts
        self._gateway = gateway
        bodies = Bodies(limits.bodies_total)
        self._front = Front(
            gateway,
            Routes(mounts(settings), endpoints),
            Bounds(limits.body, timeouts.body, timeouts.write, json_only=not settings.keys, bodies=bodies),
            head_size=limits.head,
            open_to_all=not settings.keys,
            refused=metrics.refused,
        )
        token = settings.admin_token
        self._admin = Admin(
            exposition=metrics.exposition,
            rows=rows,
            ready=lambda: not self._front.leaving,
            token=token.reveal() if token is not None else None,
            head_size=limits.head,
        )
        self._edge = Edge(
            self._front.answer,
            self._front.refuse,
            lambda code: metrics.refused(0, code),
            head_time=timeouts.header,
            head_size=limits.head,
            connections=_connections(limits.connections),
            plain=(Heads(limits.head, sorted(FORWARDED)), self._front.answer_plain),
        )
        metrics.watch(CLIENTS, lambda: {(): self._edge.open})
        metrics.watch(BODIES, lambda: {(): bodies.held})
        self._admin_edge = Edge(
            self._admin.answer,
            self._admin.refuse,
            lambda _: None,
            head_time=timeouts.header,
            head_size=limits.head,
            connections=_ADMIN_CONNECTIONS,
        )
        self._finish = finish
        self._handshake_time = timeouts.header
        self._tls = settings.tls.context if settings.tls is not None else None
        self._listening: list[asyncio.Server] = []
        self._admin_listening: list[asyncio.Server] = []

    async def listen(self, clients: Sequence[socket.socket], admin: Sequence[socket.socket]) -> None:
        """Accept on sockets that are bound."""
        self._admin_listening = [await self._accept(self._admin_edge, one, None) for one in admin]
        self._listening = [await self._accept(self._edge, one, self._tls) for one in clients]

    def begin_drain(self) -> None:
        """From now on readiness says 503 and each answer ends its connection; new requests are still served."""
        self._front.leaving = True

    async def stop_accepting(self) -> None:
        """Close the clients' listeners; a new request on a kept connection gets 503 and the connection's end."""
        for server in self._listening:
            server.close()
        self._front.leaving = self._front.draining = True
        self._gateway.begin_drain()

    async def drained(self, timeout: float) -> bool:  # noqa: ASYNC109  # what runs on is ended in-band, not cancelled
        """Wait until no exchange runs, ``timeout`` seconds at most; then end the rest with ``gateway_draining``.

        Returns once all have ended, at most 2 s after the time-out; True if all ended by themselves.
        """
        if await self._gateway.drained(timeout):
            return True
        self._gateway.end_streams()
        await self._gateway.drained(_LAST_WORDS)
        return False

    async def close(self) -> None:
        """Close every connection and listener, the admin address's last. May be called again after a time-out."""
        for server in self._listening:
            server.close()
        await self._edge.close(_PATIENCE)
        await self._gateway.close()
        for server in self._admin_listening:
            server.close()
        await self._admin_edge.close(_PATIENCE)
        for finish in self._finish:
            await asyncio.to_thread(finish)

    async def _accept(self, edge: Edge, bound: socket.socket, tls: ssl.SSLContext | None) -> asyncio.Server:
        patience = self._handshake_time if tls is not None else None
        return await edge.loop.create_server(
            edge, sock=bound, backlog=_BACKLOG, ssl=tls, ssl_handshake_timeout=patience
        )


async def start(
    settings: Settings,
    clients: Sequence[socket.socket],
    admin: Sequence[socket.socket],
    endpoints: Sequence[Endpoint] = ENDPOINTS,
) -> App:
    """Start a gateway on sockets that are bound; returns when all accept. To be called inside the loop it lives in.

    The access log goes to standard error. ``endpoints`` are the ways in below each mount.
    """
    metrics, loop = Metrics(), asyncio.get_running_loop()
    metrics.watch(TASKS, lambda: {(): len(asyncio.all_tasks(loop))})
    log = AccessLog(FileIO(sys.stderr.fileno(), "w", closefd=False), metrics.log_lines_dropped)
    limiter = Limiter(settings, metrics, remote(settings))
    await limiter.greet()
    prices = Prices(settings)
    accounts = open_accounts(settings, prices, LedgerMetrics(metrics))
    app = App(
        settings,
        Gateway(settings, metrics, log, accounts.ledger if accounts is not None else None, prices, limiter),
        endpoints,
        metrics,
        rows=log.recent,
        finish=[log.close] if accounts is None else [accounts.close, log.close],
    )
    await app.listen(clients, admin)
    return app


def _connections(wanted: int) -> int:
    fitting = connections_that_fit(wanted)
    if fitting < wanted:
        log.warning("limits.connections: open files allow %d of %d; raise their hard limit for more", fitting, wanted)
    return fitting


def mounts(settings: Settings) -> list[Mount]:
    """Give the configured mounts with their profiles."""
    return [
        Mount(mount.prefix.rstrip("/"), PROFILES[mount.profile], str(mount.public_url) if mount.public_url else None)
        for mount in settings.mounts
    ]
