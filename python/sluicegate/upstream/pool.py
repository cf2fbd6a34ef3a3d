"""Connections to one upstream: opened within a time, kept for a while, handed out, taken back.

Rules:

1. At most ``per_upstream`` requests are in flight; at most ``queue`` wait for them, each as long as a connection may
   take to open. A waiter that gives up frees its place.
2. At most 32 TLS handshakes run at once: each occupies the loop for about a millisecond.
3. A process without descriptors is no fault of the upstream's: kept connections are given up for new ones, and if that
   does not help, the caller is told to come back.
4. A kept connection on which anything arrives, be it a byte or its end, closes itself and is never handed out.
5. Whatever was opened is either kept, in use, draining or closed; nothing is left to the garbage collector.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
import errno
import socket
import time
from typing import TYPE_CHECKING

import aiohappyeyeballs

from sluicegate import errors
from sluicegate._native import Connection, TlsConfig, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from sluicegate.config import Settings, Upstream
    from sluicegate.upstream.names import Names

HANDSHAKES = 32
#: Seconds before the next address is tried beside a silent one (RFC 8305 5).
NEXT_ADDRESS = 0.25
#: Seconds to wait, each time, for the descriptors of connections that were dropped.
_GIVEN_BACK = (0.01, 0.05, 0.25)
_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@dataclass(slots=True)
class Lease:
    """A connection in use, and whether it has carried a request before."""

    connection: Connection
    reused: bool


class Pool:
    """The connections of one upstream. ``shed`` drops what all pools keep, and tells whether that helps."""

    def __init__(
        self,
        upstream: Upstream,
        settings: Settings,
        world: World,
        tls: TlsConfig | None,
        names: Names,
        shed: Callable[[], bool],
    ) -> None:
        self.name = upstream.name
        self._where = (upstream.base_url.host, upstream.base_url.port)
        self._world = world
        self._tls = tls
        self._names = names
        self._shed = shed
        self._idle_time = upstream.pool_idle
        self._limit = upstream.concurrency or settings.limits.per_upstream
        self._queue = settings.limits.queue
        self._kept: deque[tuple[Connection, float]] = deque()
        self._draining: set[Connection] = set()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._handshakes = asyncio.Semaphore(HANDSHAKES)
        self._taken = 0
        self._connecting = 0
        self._active: set[Connection] = set()

    @property
    def counts(self) -> dict[str, int]:
        """Connections by state; a draining one counts as active."""
        active = len(self._active) + len(self._draining)
        return {"connecting": self._connecting, "idle": len(self._kept), "active": active}

    def take_kept(self) -> Connection | None:
        """A kept connection, at once; None if there is none, or if requests wait for a place. Never fails."""
        if self._taken < self._limit:
            while self._kept:
                connection, _ = self._kept.pop()
                if connection.idle:
                    self._taken += 1
                    self._active.add(connection)
                    return connection
        return None

    async def take(self, patience: float, *, fresh: bool = False) -> Lease:
        """A connection that is up; ``fresh`` ones have never been used. ``patience``: seconds it may take to open.

        Raises Unreachable, TimedOut or Overloaded.
        """
        await self._place(patience)
        try:
            if not fresh:
                while self._kept:
                    connection, _ = self._kept.pop()
                    if connection.idle:
                        self._active.add(connection)
                        return Lease(connection, reused=True)
            connection = await self._open(patience)
        except BaseException:
            self._free()
            raise
        self._active.add(connection)
        return Lease(connection, reused=False)

    def give_back(self, connection: Connection) -> None:
        """The exchange is over and detached: keep the connection if it can be used again. Never waits."""
        if connection in self._active:
            self._active.discard(connection)
            self._free()
        if connection.idle:
            self._kept.append((connection, time.monotonic()))
        elif not connection.closed:
            self._draining.add(connection)
            connection.settle().add_done_callback(lambda settled: self._settled(connection, settled))

    def sweep(self, now: float) -> None:
        """Once a second: look at every timer of every connection, and close those unused for too long."""
        for connection in (*self._active, *self._draining):
            connection.check()
        while self._kept and (now - self._kept[0][1] > self._idle_time or not self._kept[0][0].idle):
            self._kept.popleft()[0].abort()

    def drop_kept(self) -> int:
        """Close the connections that nobody uses; how many there were."""
        count = len(self._kept)
        for connection, _ in self._kept:
            connection.abort()
        self._kept.clear()
        return count

    def close(self) -> None:
        """Close everything; nobody may be waiting for an answer any more."""
        for connection in (*self._active, *self._draining):
            connection.abort()
        self.drop_kept()

    def _settled(self, connection: Connection, settled: asyncio.Future[bool]) -> None:
        self._draining.discard(connection)
        if not settled.cancelled() and settled.result():
            self._kept.append((connection, time.monotonic()))

    async def _place(self, patience: float) -> None:
        if self._taken < self._limit:
            self._taken += 1
            return
        if len(self._waiting) >= self._queue:
            raise _queue_full()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(patience):
                await turn
        except BaseException as stopped:
            if turn.done() and not turn.cancelled():
                self._free()
            elif turn in self._waiting:
                self._waiting.remove(turn)
            if isinstance(stopped, TimeoutError):
                raise _queue_full() from None
            raise

    def _free(self) -> None:
        """Hand the place on, or give it up."""
        if not self._waiting:
            self._taken -= 1
            return
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._taken -= 1

    async def _open(self, patience: float) -> Connection:
        self._connecting += 1
        try:
            async with asyncio.timeout(patience):
                if self._tls is None:
                    connection = await self._connect_or_make_room()
                else:
                    async with self._handshakes:
                        connection = await self._connect_or_make_room()
        except TimeoutError:
            raise errors.TimedOut(
                "upstream_connect_timeout", "The upstream did not accept a connection in time."
            ) from None
        except socket.gaierror:
            raise errors.Unreachable("upstream_name_not_found", "The upstream's host name was not found.") from None
        except ConnectionRefusedError:
            raise errors.Unreachable("upstream_refused", "The upstream refused the connection.") from None
        except OSError as error:
            if error.errno in _NO_DESCRIPTORS:
                raise _no_room() from None
            raise errors.Unreachable("upstream_unreachable", "The upstream could not be reached.") from None
        finally:
            self._connecting -= 1
        return connection

    async def _connect_or_make_room(self) -> Connection:
        for pause in _GIVEN_BACK:
            try:
                return await self._connect()
            except OSError as error:
                if error.errno not in _NO_DESCRIPTORS or not self._shed():
                    raise
            await asyncio.sleep(pause)
        return await self._connect()

    async def _connect(self) -> Connection:
        host, port = self._where
        addresses = await self._names.addresses(host, port)
        loop = asyncio.get_running_loop()
        try:
            connection = Connection(self._world, self._tls, host)
        except ValueError:
            raise errors.Unreachable("upstream_tls", "The upstream's name cannot be in a certificate.") from None
        sock = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=NEXT_ADDRESS if len(addresses) > 1 else None, loop=loop
        )
        try:
            await loop.create_connection(lambda: connection, sock=sock)
            failure = await connection.ready()
        except BaseException:
            connection.abort()
            sock.close()
            raise
        if failure is not None:
            code, detail = failure
            connection.abort()
            words = "The TLS handshake with the upstream failed" if code == "upstream_tls" else "The connection failed"
            raise errors.Unreachable(code, f"{words} ({detail}).")
        return connection


def _no_room() -> errors.Overloaded:
    message = "The gateway has as many connections as it may; please try again."
    return errors.Overloaded("gateway_overloaded", message, headers={"retry-after": "1"})


def _queue_full() -> errors.Overloaded:
    message = "Too many requests are waiting for this model's upstream; please try again."
    return errors.Overloaded("upstream_queue_full", message, headers={"retry-after": "1"})
