"""``sluicegate serve``: addresses, signals, the ready line, the exit code.

SIGTERM and SIGINT drain: readiness says 503 while new requests are still served, for ``timeouts.drain_delay``; then
nothing new is accepted; what runs may end within ``timeouts.drain``; then streams end with the error event
``gateway_draining``. A second signal ends at once, a third kills. SIGHUP reloads the configuration; SIGUSR2 replaces
the workers by what is installed now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
import contextlib
import logging
from pathlib import Path
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

import uvloop

from sluicegate.config import Address, ConfigError, Settings, facts
from sluicegate.server.remote import COMMAND
from sluicegate.server.sockets import BindError, bind, raise_descriptor_limit
from sluicegate.server.supervisor import Service, StartAdmin, Supervisor

if TYPE_CHECKING:
    from sluicegate.server.worker import StartApp

_ENDING = (signal.SIGTERM, signal.SIGINT)


def serve(
    path: Path | None,
    settings: Settings,
    start: StartApp,
    start_admin: StartAdmin,
    *,
    services: Sequence[Service] = (),
    command: Sequence[str] = COMMAND,
) -> int:
    """Serve until a signal, and return the exit code: 0 after draining, 1 if it could not start, 128 + n if forced.

    ``path`` is where ``settings`` were read. ``prepare_environment`` of :mod:`sluicegate.config` must have been called.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("sluicegate.server").setLevel(logging.INFO)
    raise_descriptor_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, contextlib.ExitStack() as opened:
        try:
            listen = _bind("listen", settings.listen, opened)
            admin = _bind("admin", settings.admin, opened)

            async def live() -> int:
                supervisor = Supervisor(path, settings, listen, start, services=services, command=command)
                return await _live(supervisor, settings, start_admin, listen, admin)

            return runner.run(live())
        except (BindError, ConfigError) as error:
            print(error, file=sys.stderr)  # noqa: T201 the operator's terminal
            return 1


async def _live(
    supervisor: Supervisor,
    settings: Settings,
    start_admin: StartAdmin,
    listen: Sequence[socket.socket],
    admin: Sequence[socket.socket],
) -> int:
    signals = _Signals(supervisor)
    where = _ready_line(settings, listen[0], admin[0])
    with signals.caught():
        try:
            starting = asyncio.ensure_future(_start(supervisor, settings, start_admin, admin))
            stopped = asyncio.ensure_future(signals.first.wait())
            await asyncio.wait((starting, stopped), return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                starting.cancel()
                await asyncio.wait((starting,))
                return 0
            starting.result()
            # Who started us may have closed the pipe already; that is no reason not to serve.
            with contextlib.suppress(OSError):
                print(where, flush=True)  # noqa: T201 the one line
            supervisor.say_ready()
            await stopped
            ending = asyncio.ensure_future(supervisor.drain())
            forced = asyncio.ensure_future(signals.second.wait())
            await asyncio.wait((ending, forced), return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                forced.cancel()
                ending.result()
                return 0
            ending.cancel()
            await supervisor.end()
            return 128 + signals.number
        finally:
            await supervisor.close()


async def _start(
    supervisor: Supervisor, settings: Settings, start_admin: StartAdmin, admin: Sequence[socket.socket]
) -> None:
    await supervisor.start(settings)
    supervisor.admin = await start_admin(supervisor, facts(settings), admin)


class _Signals:
    """The signals: those that end it, as events; the others as changes of the workers."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        self.number = 0

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Catch them until the block's end."""
        loop = asyncio.get_running_loop()
        for number in _ENDING:
            loop.add_signal_handler(number, self._note, number)
        loop.add_signal_handler(signal.SIGHUP, self._change, self._supervisor.try_reload)
        loop.add_signal_handler(signal.SIGUSR2, self._change, self._supervisor.upgrade)
        try:
            yield
        finally:
            for number in (*_ENDING, signal.SIGHUP, signal.SIGUSR2):
                loop.remove_signal_handler(number)

    def _change(self, what: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._supervisor.change(what())

    def _note(self, number: int) -> None:
        if not self.first.is_set():
            self.first.set()
            return
        self.number = number
        self.second.set()
        for each in _ENDING:
            asyncio.get_running_loop().remove_signal_handler(each)


def _bind(setting: str, address: Address, opened: contextlib.ExitStack) -> list[socket.socket]:
    sockets = bind(setting, address)
    for one in sockets:
        opened.callback(one.close)
    return sockets


def _ready_line(settings: Settings, listen: socket.socket, admin: socket.socket) -> str:
    scheme = "https" if settings.tls else "http"
    public = Address(settings.listen.host, listen.getsockname()[1])
    private = Address(settings.admin.host, admin.getsockname()[1])
    return f"ready listen={scheme}://{public} admin=http://{private}"
