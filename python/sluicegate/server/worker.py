"""One worker: a running application, what it may be asked, and how it ends.

Rules: it knows what an application can do (:class:`RunningApp`), not how; :mod:`sluicegate.web.app` is the one there
is. A worker is the same in the process that was started (``workers: 1``) and in one of its own
(:mod:`sluicegate.server.child`).

The end: new requests are still served for ``timeouts.drain_delay``; then nothing new is accepted; what runs may end
within ``timeouts.drain``; then streams end with the error event ``gateway_draining``. Where other workers accept on the
same sockets, connections that are kept are served once more instead, within the same time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
import contextlib
import gc
import os
from pathlib import Path
import socket
from typing import Protocol, Self

from sluicegate.config import ConfigError, Facts, Problem, Settings, Written, check_reload, facts, load
from sluicegate.telemetry.gathered import Gathered
from sluicegate.telemetry.metrics import Metrics

#: Seconds that closing may take when the end is wanted at once.
AT_ONCE = 1.0


class RunningApp(Protocol):
    """An application that accepts; it ends in this order: begin_drain, stop_accepting, drained, close."""

    @property
    def reports(self) -> Mapping[str, Callable[[], bytes]]:
        """What an operator may ask for, by name: JSON arrays; to be called in a thread."""

    @property
    def orders(self) -> Mapping[str, Callable[[bytes], bytes]]:
        """What an operator may have done, by name: JSON in, JSON out; to be called in a thread."""

    async def reload(self, settings: Settings) -> None:
        """Serve new requests under these settings. Raises ConfigError; nothing has changed then."""

    def refresh(self) -> None:
        """Bring every gauge up to date."""

    def begin_drain(self) -> None:
        """From now on each answer ends its connection; new requests are still served."""

    async def hand_over(self, timeout: float) -> None:  # noqa: ASYNC109 a wait that ends, not one that fails
        """Leave accepting to others, and answer once more on kept connections until all are closed, or the time-out."""

    async def stop_accepting(self) -> None:
        """Close the clients' listeners; a new request on a kept connection gets 503 and the connection's end."""

    async def drained(self, timeout: float) -> bool:  # noqa: ASYNC109 what runs on is ended in-band, not cancelled
        """Wait until no exchange runs, ``timeout`` seconds at most; then end the rest with ``gateway_draining``.

        Returns once all have ended, at most 2 s after the time-out; True if all ended by themselves.
        """

    async def close(self) -> None:
        """Close every connection and listener."""


#: Starts an application on sockets that are bound; returns when it accepts. Over the last socket, if there is one,
#: leases are granted of what all workers share; else it is the only one, or they share by other means. It is its own.
#: Raises ConfigError if this machine or its libraries cannot serve what the settings ask.
StartApp = Callable[[Settings, Sequence[socket.socket], Metrics, socket.socket | None], Awaitable[RunningApp]]


class Worker:
    """A running application in this process."""

    def __init__(self, path: Path | None, settings: Settings, app: RunningApp, metrics: Metrics) -> None:
        self._path = path
        self._settings = settings
        self._app = app
        self._ending: asyncio.Task[None] | None = None
        self._handing_over: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        self.metrics = metrics
        self.pid = os.getpid()

    @classmethod
    async def start(
        cls,
        start: StartApp,
        path: Path | None,
        settings: Settings,
        listen: Sequence[socket.socket],
        metrics: Metrics,
        limits: socket.socket | None,
    ) -> Self:
        """Start serving what ``path`` said; returns when it accepts. Raises ConfigError."""
        worker = cls(path, settings, await start(settings, listen, metrics, limits), metrics)
        gc.collect()
        gc.freeze()
        return worker

    def join(self, gathered: Gathered) -> None:
        """Show what it counts from now on, in this process."""
        gathered.add(self.metrics.bank, self.pid)

    def leave(self, gathered: Gathered) -> None:
        """Keep what it has counted; it has ended."""
        gathered.end(self.metrics.bank, self.pid)

    @property
    def facts(self) -> Facts:
        """Its configuration's facts."""
        return facts(self._settings)

    @property
    def written(self) -> Written:
        """The texts its configuration was read from."""
        return self._settings.written

    async def reload(self, written: Written | None) -> None:
        """Take over what the configuration's files say, or these texts of theirs. Raises ConfigError."""
        settings = await asyncio.to_thread(load, self._path, None, written)
        if problems := check_reload(self._settings, settings):
            raise ConfigError(str(self._path), problems)
        await self._app.reload(settings)
        self._settings = settings

    async def report(self, name: str) -> bytes:
        """Give the application's report of this name, a JSON array; empty if it knows none."""
        report = self._app.reports.get(name)
        return await asyncio.to_thread(report) if report is not None else b"[]"

    async def order(self, name: str, body: bytes) -> bytes:
        """Have the application do something and give its answer, both JSON. Raises ConfigError: it knows no such."""
        order = self._app.orders.get(name)
        if order is None:
            raise ConfigError("a worker", (Problem(name, "is nothing that it can do"),))
        return await asyncio.to_thread(order, body)

    async def refresh(self) -> None:
        """Bring every gauge up to date."""
        self._app.refresh()

    def drain(self, *, hand_over: bool = False, orphaned: bool = False) -> None:
        """Begin to end. Told again, it does not begin anew, but a hand-over becomes an end.

        ``orphaned``: nobody supervises it any more, so the listener is closed without delay.
        """
        if self._ending is None:
            delay = 0.0 if orphaned else self._settings.timeouts.drain_delay
            self._ending = asyncio.get_running_loop().create_task(self._end(delay, hand_over=hand_over), name="drain")
            self._ending.add_done_callback(lambda ending: None if ending.cancelled() else self._ended.set())
        elif not hand_over and self._handing_over is not None:
            self._handing_over.cancel()

    async def end(self) -> None:
        """End at once; what runs is cut."""
        if self._ending is not None:
            self._ending.cancel()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._app.close(), AT_ONCE)
        self._ended.set()

    async def ended(self) -> int:
        """Wait until it has ended; gives an exit code."""
        await self._ended.wait()
        return 0

    async def _end(self, delay: float, *, hand_over: bool) -> None:
        times = self._settings.timeouts
        if hand_over:
            self._handing_over = asyncio.ensure_future(self._app.hand_over(times.drain))
            await asyncio.wait((self._handing_over,))
            handed_over = not self._handing_over.cancelled()
            await self._app.stop_accepting()
            await self._app.drained(0 if handed_over else times.drain)
        else:
            self._app.begin_drain()
            await asyncio.sleep(delay)
            await self._app.stop_accepting()
            await self._app.drained(times.drain)
        await self._app.close()
