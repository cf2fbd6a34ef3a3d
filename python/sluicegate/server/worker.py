"""One worker: sockets, the loop, readiness, signals, drain, exit code.

Rules: it knows what a running application can do (:class:`RunningApp`), not how; :mod:`sluicegate.web.app` is the one
there is. Standard output gets one line, when every socket accepts; everything else goes to standard error.

The end, after SIGTERM or SIGINT: readiness says 503 while new requests are still served, for ``timeouts.drain_delay``;
then nothing new is accepted; what runs may end within ``timeouts.drain``; then streams end with the error event
``gateway_draining``. A second signal ends at once, a third kills.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
import contextlib
import gc
import logging
import signal
import socket
import sys
from typing import Protocol

import uvloop

from sluicegate.config import Address, ConfigError, Settings
from sluicegate.server.sockets import BindError, bind, raise_descriptor_limit

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
#: Seconds that closing may take when a second signal wants the end at once.
_AT_ONCE = 1.0

_log = logging.getLogger(__name__)


class RunningApp(Protocol):
    """An application that accepts; it ends in this order: begin_drain, stop_accepting, drained, close."""

    def begin_drain(self) -> None:
        """From now on readiness says 503; new requests are still served."""

    async def stop_accepting(self) -> None:
        """Close the clients' listeners; a new request on a kept connection gets 503 and the connection's end."""

    async def drained(self, timeout: float) -> bool:  # noqa: ASYNC109 what runs on is ended in-band, not cancelled
        """Wait until no exchange runs, ``timeout`` seconds at most; then end the rest with ``gateway_draining``.

        Returns once all have ended, at most 2 s after the time-out; True if all ended by themselves.
        """

    async def close(self) -> None:
        """Close every connection and listener, the admin address's last."""


#: Starts an application on sockets that are bound (clients', the admin address's); returns when all accept.
#: Raises ConfigError if this machine or its libraries cannot serve what the settings ask.
Start = Callable[[Settings, Sequence[socket.socket], Sequence[socket.socket]], Awaitable[RunningApp]]


def serve(settings: Settings, start: Start) -> int:
    """Serve until a signal, and return the exit code: 0 after draining, 1 if it could not start, 128 + n if forced.

    ``prepare_environment`` of :mod:`sluicegate.config` must have been called before.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    raise_descriptor_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(_live(settings, start))
        except (BindError, ConfigError) as error:
            print(error, file=sys.stderr)  # noqa: T201 the operator's terminal
            return 1


async def _live(settings: Settings, start: Start) -> int:
    signals = _Signals()
    with signals.caught(), contextlib.ExitStack() as opened:
        listen = _bind("listen", settings.listen, opened)
        admin = _bind("admin", settings.admin, opened)
        app = await start(settings, listen, admin)
        gc.collect()
        gc.freeze()
        _say_ready(settings, listen[0], admin[0])
        await signals.first.wait()
        ending = asyncio.ensure_future(_end(app, settings))
        forced = asyncio.ensure_future(signals.second.wait())
        await asyncio.wait((ending, forced), return_when=asyncio.FIRST_COMPLETED)
        if ending.done():
            forced.cancel()
            ending.result()
            return 0
        ending.cancel()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(app.close(), _AT_ONCE)
        return 128 + signals.number


async def _end(app: RunningApp, settings: Settings) -> None:
    app.begin_drain()
    await asyncio.sleep(settings.timeouts.drain_delay)
    await app.stop_accepting()
    await app.drained(settings.timeouts.drain)
    await app.close()


class _Signals:
    """The signals that end a worker, as events; SIGHUP is answered and changes nothing."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        self.number = 0

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Catch them until the block's end."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._note, number)
        loop.add_signal_handler(signal.SIGHUP, _log.warning, "SIGHUP: reload is not built yet; nothing has changed")
        try:
            yield
        finally:
            for number in (*_SIGNALS, signal.SIGHUP):
                loop.remove_signal_handler(number)

    def _note(self, number: int) -> None:
        if not self.first.is_set():
            self.first.set()
            return
        self.number = number
        self.second.set()
        for each in _SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(each)


def _bind(setting: str, address: Address, opened: contextlib.ExitStack) -> list[socket.socket]:
    sockets = bind(setting, address)
    for one in sockets:
        opened.callback(one.close)
    return sockets


def _say_ready(settings: Settings, listen: socket.socket, admin: socket.socket) -> None:
    scheme = "https" if settings.tls else "http"
    public = Address(settings.listen.host, listen.getsockname()[1])
    private = Address(settings.admin.host, admin.getsockname()[1])
    # Who started us may have closed the pipe already; that is no reason not to serve.
    with contextlib.suppress(OSError):
        print(f"ready listen={scheme}://{public} admin=http://{private}", flush=True)  # noqa: T201 the one line
