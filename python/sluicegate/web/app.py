"""The composition root: the clients' edge and the gateway behind it, the admin address, and how they change and stop.

A reload makes a new gateway with pools of its own, which gets every request from then on; the former one serves what it
has begun and is closed when that has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from io import FileIO
import logging
import sys
import time
from typing import TYPE_CHECKING

import msgspec

from sluicegate._native import Heads
from sluicegate.access.current import Access
from sluicegate.access.orders import carry_out
from sluicegate.attempts import Attempts
from sluicegate.config import ConfigError, Problem
from sluicegate.exchange import Mount
from sluicegate.finishing import FinishingGateway
from sluicegate.gateway import Gateway
from sluicegate.ledger.accounts import open_accounts
from sluicegate.ledger.prices import Prices
from sluicegate.limits.limiter import Limiter, remote
from sluicegate.store.open import make_store
from sluicegate.telemetry.access_log import AccessLog
from sluicegate.telemetry.accounts import LedgerMetrics
from sluicegate.telemetry.series import BODIES, CLIENTS, KEYS, KEYS_AGE, TASKS
from sluicegate.web.admin import Admin
from sluicegate.web.capacity import Bodies, connections_that_fit
from sluicegate.web.front import Front
from sluicegate.web.message import Bounds
from sluicegate.web.own_usage import UsageDesk
from sluicegate.web.profiles import ENDPOINTS, FORWARDED, PROFILES
from sluicegate.web.protocol import Edge
from sluicegate.web.routes import Routes
from sluicegate.web.terms import Terms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    import socket

    from sluicegate.config import Facts, Settings
    from sluicegate.exchange import Endpoint
    from sluicegate.telemetry.metrics import Metrics
    from sluicegate.web import front
    from sluicegate.web.admin import Operations

log = logging.getLogger("sluicegate.web")

_BACKLOG = 4096
#: Connections that the admin address serves at a time.
_ADMIN_CONNECTIONS = 256
#: Seconds that streams which were ended in-band get to write their last event.
_LAST_WORDS = 2.0
#: Seconds that handlers get to finish when the edge is closed.
_PATIENCE = 1.0


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """One configuration at work: requests that began under it end under it."""

    gateway: front.Gateway
    front: Front
    attempts: Attempts


class App:
    """A running gateway; :class:`sluicegate.server.worker.RunningApp`. ``endpoints`` are the ways in below each mount.

    To be made inside the loop it lives in. Raises ConfigError if this machine cannot do what the settings ask.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        log: AccessLog,
        endpoints: Sequence[Endpoint],
        limits: socket.socket | None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._settings = settings
        self._metrics = metrics
        self._log = log
        self._endpoints = endpoints
        self._bodies = Bodies(settings.limits.bodies_total)
        self._limiter = Limiter(settings, metrics, remote(settings, limits))
        #: Every price of every snapshot, by version: rows that name an old one may still wait for the store.
        self._prices: Mapping[str, str] = {}
        self._accounts = open_accounts(settings, lambda: self._prices, LedgerMetrics(metrics))
        self._access = Access(settings, make_store(settings.store, create=False), metrics)
        self._usage = UsageDesk(lambda: make_store(settings.store, create=False))
        self._snapshot = self._take(settings, Attempts(settings, metrics))
        self._snapshot.attempts.follow()
        #: Former snapshots that still serve what began under them.
        self._former: dict[_Snapshot, asyncio.Task[None]] = {}
        self._edge = Edge(self._terms(settings))
        metrics.watch(TASKS, lambda: {(): len(asyncio.all_tasks(loop))})
        metrics.watch(CLIENTS, lambda: {(): self._edge.open})
        metrics.watch(KEYS, lambda: {(): self._access.known})
        metrics.watch(KEYS_AGE, lambda: {(): int(self._access.age)})
        metrics.watch(BODIES, lambda: {(): self._bodies.held})
        self._sockets: list[socket.socket] = []
        self._listening: list[asyncio.Server] = []
        #: What an operator may ask for, by name: JSON arrays; to be called in a thread.
        self.reports: Mapping[str, Callable[[], bytes]] = {"requests": log.recent, "targets": self._targets}
        #: What an operator may have done, by name: JSON in, JSON out; to be called in a thread.
        self.orders: Mapping[str, Callable[[bytes], bytes]] = {"keys": self._carry_out}

    async def listen(self, clients: Sequence[socket.socket], settings: Settings) -> None:
        """Accept on sockets that are bound; they stay the caller's."""
        await self._limiter.begin()
        await asyncio.to_thread(self._access.wait)
        self._sockets = [one.dup() for one in clients]
        self._listening = [await _accept(self._edge, one.dup(), settings) for one in clients]

    async def reload(self, settings: Settings) -> None:
        """Serve new requests under these settings; those under way keep theirs. ``listen`` and the like stay.

        Raises ConfigError if this machine cannot do what they ask; nothing has changed then.
        """
        snapshot = self._take(settings, self._snapshot.attempts.successor(settings))
        if settings.tls is not None and self._listening:
            # The certificate may be new. Who waits in the queue stays there: the sockets are the same.
            try:
                listening = [await _accept(self._edge, one.dup(), settings) for one in self._sockets]
            except OSError as error:
                await snapshot.gateway.close()
                problem = Problem("listen", f"cannot be listened on again: {error.strerror}")
                raise ConfigError("this machine", (problem,)) from None
            _close(self._listening)
            self._listening = listening
        before, self._snapshot, self._settings = self._snapshot, snapshot, settings
        self._bodies.allow(settings.limits.bodies_total)
        self._limiter.follow(settings)
        snapshot.attempts.follow()
        self._access.follow(settings)
        self._edge.terms = self._terms(settings)
        self._former[before] = asyncio.get_running_loop().create_task(self._retire(before), name="retire")

    def refresh(self) -> None:
        """Bring every gauge up to date."""
        self._metrics.refresh()

    def begin_drain(self) -> None:
        """From now on each answer ends its connection; new requests are still served."""
        for snapshot in self._snapshots():
            snapshot.front.leaving = True

    async def hand_over(self, timeout: float) -> None:  # noqa: ASYNC109  # a wait that ends, not one that fails
        """Leave accepting to others: close the clients' listeners here, and answer once more on kept connections.

        Returns when no client is connected any more, after ``timeout`` seconds at most.
        """
        self.begin_drain()
        self._close_listeners()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._edge.emptied()

    async def stop_accepting(self) -> None:
        """Close the clients' listeners; a new request on a kept connection gets 503 and the connection's end."""
        self._close_listeners()
        for snapshot in self._snapshots():
            snapshot.front.leaving = snapshot.front.draining = True
            snapshot.gateway.begin_drain()

    async def drained(self, timeout: float) -> bool:  # noqa: ASYNC109  # what runs on is ended in-band, not cancelled
        """Wait until no exchange runs, ``timeout`` seconds at most; then end the rest with ``gateway_draining``.

        Returns once all have ended, at most 2 s after the time-out; True if all ended by themselves.
        """
        gateways = [snapshot.gateway for snapshot in self._snapshots()]
        if all(await asyncio.gather(*(gateway.drained(timeout) for gateway in gateways))):
            return True
        for gateway in gateways:
            gateway.end_streams()
        await asyncio.gather(*(gateway.drained(_LAST_WORDS) for gateway in gateways))
        return False

    async def close(self) -> None:
        """Close every connection and listener, and write the log's last lines. May be called again after a time-out."""
        self._close_listeners()
        await self._edge.close(_PATIENCE)
        for retiring in self._former.values():
            retiring.cancel()
        for snapshot in self._snapshots():
            await snapshot.gateway.close()
        await self._limiter.close()
        await asyncio.to_thread(self._access.close)
        self._usage.close()
        for finish in (self._accounts.close, self._log.close) if self._accounts is not None else (self._log.close,):
            await asyncio.to_thread(finish)

    def _targets(self) -> bytes:
        return msgspec.json.encode(self._snapshot.attempts.targets(time.monotonic()))

    def _take(self, settings: Settings, attempts: Attempts) -> _Snapshot:
        prices = Prices(settings)
        ledger = self._accounts.ledger if self._accounts is not None else None
        kind = FinishingGateway if settings.on_disconnect == "finish" else Gateway
        gateway = kind(settings, self._metrics, self._log, ledger, prices, self._limiter, attempts, self._access)
        self._prices = {**self._prices, **prices.kept}
        limits, timeouts = settings.limits, settings.timeouts
        open_to_all = not settings.keys and not settings.require_key
        bounds = Bounds(limits.body, timeouts.body, timeouts.write, json_only=open_to_all, bodies=self._bodies)
        front = Front(
            gateway,
            Routes(mounts(settings), self._endpoints),
            bounds,
            head_size=limits.head,
            open_to_all=open_to_all,
            refused=self._metrics.refused,
            usage=self._usage,
        )
        return _Snapshot(gateway, front, attempts)

    def _terms(self, settings: Settings) -> Terms:
        front = self._snapshot.front
        return Terms(
            answer=front.answer,
            refuse=front.refuse,
            dropped=lambda code: self._metrics.refused(0, code),
            head_time=settings.timeouts.header,
            head_size=settings.limits.head,
            connections=_connections(settings.limits.connections),
            plain=(Heads(settings.limits.head, sorted(FORWARDED), _own_headers(settings)), front.answer_plain),
        )

    def _carry_out(self, order: bytes) -> bytes:
        return carry_out(self._settings, make_store(self._settings.store), order)

    def _close_listeners(self) -> None:
        _close(self._listening)
        for one in self._sockets:
            one.close()

    def _snapshots(self) -> list[_Snapshot]:
        return [self._snapshot, *self._former]

    async def _retire(self, snapshot: _Snapshot) -> None:
        """Close a former snapshot's connections to upstreams once nothing runs under it any more."""
        await snapshot.gateway.drained(None)
        del self._former[snapshot]
        await snapshot.gateway.close()


class AdminApp:
    """The admin address at work."""

    def __init__(self, operations: Operations, facts: Facts) -> None:
        self._operations = operations
        self._edge = Edge(self._terms(facts))
        self._listening: list[asyncio.Server] = []

    async def listen(self, sockets: Sequence[socket.socket]) -> None:
        """Accept on sockets that are bound; they stay the caller's."""
        self._listening = [await _accept(self._edge, one.dup(), None) for one in sockets]

    def reload(self, facts: Facts) -> None:
        """Want another token from now on, and take heads of another size."""
        self._edge.terms = self._terms(facts)

    async def close(self) -> None:
        """Close every connection and the listeners."""
        _close(self._listening)
        await self._edge.close(_PATIENCE)

    def _terms(self, facts: Facts) -> Terms:
        admin = Admin(self._operations, token=facts.admin_token, head_size=facts.head_size)
        return Terms(
            answer=admin.answer,
            refuse=admin.refuse,
            dropped=lambda _: None,
            head_time=facts.head_time,
            head_size=facts.head_size,
            connections=_ADMIN_CONNECTIONS,
        )


async def start(
    settings: Settings,
    clients: Sequence[socket.socket],
    metrics: Metrics,
    limits: socket.socket | None = None,
    endpoints: Sequence[Endpoint] = ENDPOINTS,
) -> App:
    """Start a gateway on sockets that are bound; returns when all accept. To be called inside the loop it lives in.

    Over ``limits`` leases are granted of what all workers share. The access log goes to standard error. ``endpoints``
    are the ways in below each mount.
    """
    log = AccessLog(FileIO(sys.stderr.fileno(), "w", closefd=False), metrics.log_lines_dropped)
    app = App(settings, metrics, log, endpoints, limits)
    await app.listen(clients, settings)
    return app


async def start_admin(operations: Operations, facts: Facts, sockets: Sequence[socket.socket]) -> AdminApp:
    """Start the admin address on sockets that are bound; returns when all accept."""
    admin = AdminApp(operations, facts)
    await admin.listen(sockets)
    return admin


async def _accept(edge: Edge, bound: socket.socket, settings: Settings | None) -> asyncio.Server:
    """Accept on a socket, which is the server's from now on."""
    tls = settings.tls.context if settings is not None and settings.tls is not None else None
    patience = settings.timeouts.header if settings is not None and tls is not None else None
    return await edge.loop.create_server(edge, sock=bound, backlog=_BACKLOG, ssl=tls, ssl_handshake_timeout=patience)


def _close(servers: Sequence[asyncio.Server]) -> None:
    for server in servers:
        server.close()


def _connections(wanted: int) -> int:
    fitting = connections_that_fit(wanted)
    if fitting < wanted:
        log.warning("limits.connections: open files allow %d of %d; raise their hard limit for more", fitting, wanted)
    return fitting


def _own_headers(settings: Settings) -> Sequence[str]:
    """Name the headers that only the profiles in use read."""
    return sorted({header for mount in settings.mounts for header in PROFILES[mount.profile].own_headers})


def mounts(settings: Settings) -> list[Mount]:
    """Give the configured mounts with their profiles."""
    return [
        Mount(mount.prefix.rstrip("/"), PROFILES[mount.profile], str(mount.public_url) if mount.public_url else None)
        for mount in settings.mounts
    ]
