"""The process that was started: it binds, has the workers and the admin address, hears the signals, and ends last.

With ``workers: 1`` it is the worker too, and there is no other process. With more, and after an upgrade, workers are
processes of their own on the same listening sockets, and this one carries no request.

Rules:

- One listening socket for all, inherited: what waits in its queue is nobody's until it is accepted, so neither a dead
  worker nor an upgrade loses it (a socket each, by SO_REUSEPORT, would lose what had been dealt to the dead one's). The
  kernel wakes whoever waits, so busy workers take less: 400 connections that ask at once are shared 85 to 108 each.
- A worker that ends without having been told to is replaced: at once, or, if it had not served for a minute, after a
  pause that grows to 30 s. The others serve meanwhile.
- A configuration is taken over by all or refused whole. The first worker reads the files, the others get what it read.
- An upgrade starts as many workers as the file says now, from what is installed now; only when all accept do the former
  ones hand over. This process itself keeps its code until a restart.
- Standard output gets one line, when every worker accepts; everything else goes to standard error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
import contextlib
import logging
from pathlib import Path
import socket
import time
from typing import Any, Protocol

import msgspec

from sluicegate.config import ConfigError, Facts, Problem, Settings, Written, check_upgrade, facts
from sluicegate.limits.history import recall
from sluicegate.limits.line import Service as Limits
from sluicegate.server.notify import Notifier
from sluicegate.server.remote import COMMAND, Remote, Silent, how_it_ended
from sluicegate.server.worker import StartApp, Worker
from sluicegate.telemetry.gathered import Gathered
from sluicegate.telemetry.metrics import Metrics

#: Seconds after which a worker counts as one that can serve: its end is no sign of one that never will.
_PROVEN = 60.0
_LONGEST_PAUSE = 30.0
#: Rows that are listed, of all workers together.
_ROWS = 1000
#: Seconds by which what runs may outlast its deadline: the last words of streams, and closing.
_LAST = 5.0

_NONE_SERVES = Problem("workers", "none serves; their ends stand in the log")
_log = logging.getLogger(__name__)

Member = Worker | Remote


class Service(Protocol):
    """Something that all workers share and this process runs: it starts before them and ends after the last one."""

    async def start(self) -> None:
        """Begin. Raises ConfigError if it cannot."""

    async def close(self) -> None:
        """End."""


class RunningAdmin(Protocol):
    """The admin address at work."""

    def reload(self, facts: Facts) -> None:
        """Serve under this configuration from now on."""

    async def close(self) -> None:
        """Close every connection and the listeners."""


#: Starts the admin address on sockets that are bound; returns when it accepts.
StartAdmin = Callable[["Supervisor", Facts, Sequence[socket.socket]], Awaitable[RunningAdmin]]


class Supervisor:
    """The workers and what an operator can do with them: the admin address's operations.

    ``listen`` are the clients' sockets, bound; they are closed here when accepting is to end. ``command`` starts a
    worker's process.
    """

    def __init__(
        self,
        path: Path | None,
        settings: Settings,
        listen: Sequence[socket.socket],
        start: StartApp,
        *,
        services: Sequence[Service] = (),
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._path = path
        self._facts = facts(settings)
        self._written = settings.written
        self._listen = listen
        self._start_app = start
        self._services = services
        self._command = command
        self._gathered = Gathered()
        #: Grants leases of what keys, groups and models may use, to every worker that is a process of its own.
        self._limits = Limits()
        #: The settings, while this process is the only worker and grants leases to nobody.
        self._alone: Settings | None = None
        self._notifier = Notifier()
        #: Who serves; who drains is in ``_leaving``.
        self._workers: list[Member] = []
        self._leaving: list[Member] = []
        self._ended = asyncio.Event()
        self._followers: set[asyncio.Task[None]] = set()
        self._changes: set[asyncio.Task[None]] = set()
        self._changing = asyncio.Lock()
        self._draining = False
        self._failures = 0
        self._past_rows = b"[]"
        self.admin: RunningAdmin | None = None

    # --- life ---

    async def start(self, settings: Settings) -> None:
        """Start the services, then every worker. Raises ConfigError if one cannot start; none runs then."""
        for service in self._services:
            await service.start()
        if settings.workers == 1:
            self._alone = settings
            self._enter([await Worker.start(self._start_app, self._path, settings, self._listen, Metrics(), None)])
        else:
            await self._recall(settings)
            self._enter(await self._launch(self._written, settings.workers))

    def say_ready(self) -> None:
        """Tell the service manager that all is served."""
        self._notifier.ready()

    async def drain(self) -> None:
        """End well: readiness says no, workers drain, and this returns when all have ended."""
        self._draining = True
        self._notifier.stopping(self._facts.drain_delay + self._facts.drain + _LAST)
        for each in self._listen:  # theirs are their own: the address refuses when the last of them stops accepting
            each.close()
        for worker in self._members():
            worker.drain()
        await _stop(self._changes)
        while self._members():
            self._ended.clear()
            await self._ended.wait()

    async def end(self) -> None:
        """End at once."""
        self._draining = True
        for each in self._listen:
            each.close()
        await asyncio.gather(_stop(self._changes), *(worker.end() for worker in self._members()))

    async def close(self) -> None:
        """Close the admin address and the services; no worker runs any more."""
        await _stop(self._changes | self._followers)
        if self.admin is not None:
            await self.admin.close()
        await self._limits.close()
        for service in reversed(self._services):
            await service.close()
        self._notifier.close()

    def change(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin a change of the workers; it is given up when the end is told."""
        if self._draining:
            work.close()
        else:
            _begin(work, self._changes)

    # --- what an operator can see and do ---

    @property
    def ready(self) -> bool:
        """Whether new requests are welcome: at least one worker serves, and the end has not been told."""
        return bool(self._workers) and not self._draining

    async def exposition(self) -> bytes:
        """Every series of all workers as Prometheus text."""
        await asyncio.gather(*(worker.refresh() for worker in self._members()))
        return await asyncio.to_thread(self._gathered.exposition)

    async def report(self, name: str) -> bytes:
        """The report of this name as a JSON array: of every worker, rows the newest first."""
        members = self._members()
        reports = await asyncio.gather(*(worker.report(name) for worker in members))
        if name != "requests":
            return b"[" + b",".join(each for report in reports if (each := report.strip()[1:-1])) + b"]"
        if len(reports) == 1 and self._past_rows == b"[]":
            return reports[0]
        return await asyncio.to_thread(_newest, [*reports, self._past_rows])

    async def order(self, name: str, body: bytes) -> bytes:
        """Have one worker do something and give its answer, both JSON. Raises ConfigError: none can."""
        if not self._workers:
            raise ConfigError("this gateway", (_NONE_SERVES,))
        return await self._workers[0].order(name, body)

    async def reload(self) -> Facts:
        """Have all workers take over what the configuration's files say now.

        Raises ConfigError: it cannot be used, and nothing has changed. A worker that cannot follow is replaced.
        """
        async with self._changing:
            self._notifier.reloading()
            try:
                return await self._reload()
            except ConfigError as error:
                _log.error("reload: %s cannot be used, nothing has changed: %s", error.source, _in_words(error))
                raise
            finally:
                self._notifier.ready()

    async def try_reload(self) -> None:
        """Reload because a signal asked; what is wrong stands in the log."""
        with contextlib.suppress(ConfigError):
            await self.reload()

    async def upgrade(self) -> None:
        """Start workers from what is installed now; when they accept, the former ones hand over and end.

        What is wrong stands in the log, and the former ones serve on.
        """
        async with self._changing:
            self._notifier.status("upgrading")
            try:
                await self._upgrade()
            except ConfigError as error:
                _log.error("upgrade: the former workers serve on: %s", _in_words(error))
            finally:
                self._notifier.ready()

    # --- the steps ---

    async def _reload(self) -> Facts:
        if not self._workers:
            raise ConfigError("this gateway", (_NONE_SERVES,))
        first, *others = self._workers
        try:
            await first.reload(None)
        except Silent:
            first.drain(hand_over=True)  # it may yet take over what the others do not have
            raise
        self._facts, self._written = first.facts, first.written
        if self.admin is not None:
            self.admin.reload(self._facts)
        results = await asyncio.gather(*(worker.reload(self._written) for worker in others), return_exceptions=True)
        for worker, result in zip(others, results, strict=True):
            if isinstance(result, BaseException):
                _log.error("reload: worker %d cannot follow and is replaced: %s", worker.pid, _in_words(result))
                worker.drain(hand_over=True)
        for warning in self._facts.warnings:
            _log.warning("%s", warning)
        _log.info("reload: configuration %s serves", self._facts.version)
        return self._facts

    async def _upgrade(self) -> None:
        if self._alone is not None:
            await self._recall(self._alone)
        first = await self._process(None)
        problems = check_upgrade(self._facts, first.facts)
        try:
            others = [] if problems else await self._launch(first.written, first.facts.workers - 1)
        except BaseException:
            await first.end()
            raise
        if problems:
            await first.end()
            raise ConfigError(str(self._path), problems)
        former, self._workers = self._workers, []
        self._leaving += former
        self._facts, self._written = first.facts, first.written
        if self.admin is not None:
            self.admin.reload(self._facts)
        self._enter([first, *others])
        for worker in former:
            worker.drain(hand_over=True)
        _log.info("upgrade: %d workers serve, %d hand over", len(self._workers), len(former))

    async def _recall(self, settings: Settings) -> None:
        """Learn from the store what budgets have spent: from now on they are granted here."""
        self._alone = None
        await asyncio.to_thread(recall, settings, self._limits.authority, time.time())

    async def _process(self, written: Written | None) -> Remote:
        return await Remote.start(self._path, written, self._listen, self._limits, self._command)

    async def _launch(self, written: Written, workers: int) -> list[Member]:
        """Start processes at the same time. Raises ConfigError if one cannot start; none runs then."""
        starting = [asyncio.ensure_future(self._process(written)) for _ in range(workers)]
        try:
            return list(await asyncio.gather(*starting))
        except BaseException:
            for each in starting:
                each.cancel()
            results = await asyncio.gather(*starting, return_exceptions=True)
            await asyncio.gather(*(each.end() for each in results if isinstance(each, Remote)))
            raise

    def _enter(self, members: Sequence[Member]) -> None:
        for member in members:
            member.join(self._gathered)
            self._workers.append(member)
            _begin(self._follow(member), self._followers)
        self._gathered.serving(len(self._workers))

    async def _follow(self, member: Member) -> None:
        """Wait for a worker's end, keep what it has counted, and replace it if it should not have ended."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        code = await member.ended()
        self._past_rows = _newest([await member.report("requests"), self._past_rows])
        member.leave(self._gathered)
        told = member in self._leaving
        (self._leaving if told else self._workers).remove(member)
        self._gathered.serving(len(self._workers))
        self._ended.set()
        if told or self._draining:
            return
        self._failures = 0 if loop.time() - began >= _PROVEN else self._failures + 1
        if code != 0:
            self._gathered.died()
        _log.error("worker %d %s; it is replaced", member.pid, how_it_ended(code))
        self.change(self._replace())

    async def _replace(self) -> None:
        """Start one worker in place of one that ended; again and again, with pauses, until it accepts."""
        while True:
            await asyncio.sleep(_pause(self._failures))
            async with self._changing:
                if len(self._workers) >= self._facts.workers:
                    return
                try:
                    self._enter([await self._process(self._written)])
                except ConfigError as error:
                    self._failures += 1
                    pause = _pause(self._failures)
                    _log.error("a worker cannot be started, again in %.1f s: %s", pause, _in_words(error))
                else:
                    return

    def _members(self) -> list[Member]:
        return [*self._workers, *self._leaving]


def _begin(work: Coroutine[Any, Any, None], among: set[asyncio.Task[None]]) -> None:
    task = asyncio.get_running_loop().create_task(work)
    among.add(task)
    task.add_done_callback(among.discard)


async def _stop(tasks: set[asyncio.Task[None]]) -> None:
    for task in (stopping := list(tasks)):
        task.cancel()
    await asyncio.gather(*stopping, return_exceptions=True)


def _pause(failures: int) -> float:
    """Seconds before a worker is started, after so many that did not last."""
    return min(_LONGEST_PAUSE, 0.25 * 2**failures) if failures else 0.0


def _in_words(error: BaseException) -> str:
    return "; ".join(str(error).splitlines())


def _newest(reports: Sequence[bytes]) -> bytes:
    rows: list[tuple[float, msgspec.Raw]] = []
    for report in reports:
        for raw in msgspec.json.decode(report, type=list[msgspec.Raw]):
            ended = msgspec.json.decode(raw, type=_Times)
            rows.append((ended.received_at + ended.duration, raw))
    rows.sort(key=lambda row: row[0], reverse=True)
    return b"[" + b",\n".join(bytes(raw) for _, raw in rows[:_ROWS]) + b"]"


class _Times(msgspec.Struct):
    """What of a row tells its place among others."""

    received_at: float
    duration: float
