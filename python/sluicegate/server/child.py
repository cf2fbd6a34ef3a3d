"""A worker in a process of its own: ``python -m sluicegate.server.child DESCRIPTOR``, started by a supervisor.

Rules:

- A fresh interpreter, not a fork: the supervisor has threads (names, metrics, the access log), and a fork of those may
  hang on a lock that nobody holds any more. So an upgrade's workers run what is installed now, too.
- The descriptor is a socket to the supervisor (:mod:`sluicegate.server.control`). When it ends, so does the worker: it
  closes the listener at once, that a new supervisor may bind, and drains.
- SIGTERM and SIGINT drain it, a second one ends it at once; SIGHUP and SIGUSR2 are the supervisor's to hear. Whoever
  signals the whole group (a terminal, a service manager) signals it once, and the supervisor's word does not count.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
import signal
import socket
import sys
from typing import TYPE_CHECKING

import uvloop

from sluicegate.config import ConfigError, Problem, Settings, Written, load, prepare_environment
from sluicegate.server.control import VERSION, Answer, Ask, Channel, Drain, End, Failed, Ready, Start
from sluicegate.server.worker import StartApp, Worker
from sluicegate.telemetry.gathered import count_in
from sluicegate.telemetry.metrics import TABLE, Metrics
from sluicegate.web import app

if TYPE_CHECKING:
    from collections.abc import Coroutine

_log = logging.getLogger(__name__)


class _Child:
    """The worker, and what its supervisor wants of it. From now on signals drain it."""

    def __init__(self, channel: Channel, worker: Worker) -> None:
        self._channel = channel
        self._worker = worker
        self._signals = 0
        self._tasks: set[asyncio.Task[None]] = set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)

    async def live(self) -> None:
        """Do what is asked until the worker has ended."""
        self._begin(self._listen())
        await self._worker.ended()
        self._channel.send(Answer(number=0, body=await self._worker.report("requests")))
        await self._channel.close()

    async def _listen(self) -> None:
        while (order := await self._channel.order()) is not None:
            match order:
                case Ask():
                    self._begin(self._answer(order))
                case Drain(hand_over=hand_over):
                    self._worker.drain(hand_over=hand_over)
                case End():
                    await self._worker.end()
                case Start():
                    _log.error("told to start a second time")
        self._worker.drain(orphaned=True)

    async def _answer(self, ask: Ask) -> None:
        answer = Answer(number=ask.number)
        try:
            match ask.what:
                case "reload":
                    await self._worker.reload(Written(ask.written) if ask.written is not None else None)
                    answer = Answer(number=ask.number, facts=self._worker.facts, written=self._worker.written.texts)
                case "report":
                    answer = Answer(number=ask.number, body=await self._worker.report(ask.name))
                case "order":
                    answer = Answer(number=ask.number, body=await self._worker.order(ask.name, ask.body))
                case "refresh":
                    await self._worker.refresh()
        except ConfigError as error:
            answer = Answer(number=ask.number, source=error.source, problems=error.problems)
        self._channel.send(answer)

    def _signalled(self) -> None:
        self._signals += 1
        if self._signals == 1:
            self._worker.drain()
        else:
            self._begin(self._worker.end())

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _live(connected: socket.socket, start: StartApp) -> int:
    channel = await Channel.over(connected)
    order = await channel.order()
    if not isinstance(order, Start):
        return 1
    listen = [socket.socket(fileno=descriptor) for descriptor in order.listen]
    metrics = Metrics(count_in(order.memory))
    limits = socket.socket(fileno=order.limits) if order.limits is not None else None
    try:
        path = Path(order.path) if order.path is not None else None
        settings = _load(path, order)
        worker = await Worker.start(start, path, settings, listen, metrics, limits)
    except ConfigError as error:
        channel.send(Failed(source=error.source, problems=error.problems))
        await channel.close()
        return 1
    for each in listen:
        each.close()
    child = _Child(channel, worker)
    channel.send(Ready(facts=worker.facts, written=worker.written.texts, table=TABLE))
    await child.live()
    return 0


def _load(path: Path | None, order: Start) -> Settings:
    if order.version != VERSION:
        message = f"speaks version {order.version} to its workers and these version {VERSION}; restart it"
        raise ConfigError("this installation", (Problem("the supervisor", message),))
    return load(path, None, Written(order.written) if order.written is not None else None)


def main(start: StartApp = app.start) -> int:
    """Serve until told to end; gives the exit code. What could not be started has been told to the supervisor."""
    for ignored in (signal.SIGHUP, signal.SIGUSR2):
        signal.signal(ignored, signal.SIG_IGN)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    prepare_environment()
    connected = socket.socket(fileno=int(sys.argv[1]))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_live(connected, start))


if __name__ == "__main__":
    sys.exit(main())
