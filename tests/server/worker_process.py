"""The gateway's processes with a scripted application: each open connection is an exchange; what it hears, it says.

`worker_process.py FILE [refuse]` is the supervisor, `worker_process.py DESCRIPTOR` a worker's process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
import contextlib
import os
from pathlib import Path
import socket
import sys
import time
from unittest.mock import patch

from typing_extensions import override

from sluicegate.config import ConfigError, Facts, Problem, Settings, load, prepare_environment
from sluicegate.server import child
from sluicegate.server.control import Channel, Order, Word
from sluicegate.server.serve import serve
from sluicegate.server.supervisor import RunningAdmin, Supervisor
from sluicegate.server.worker import RunningApp
from sluicegate.telemetry.metrics import Metrics

Line = socket.socket | None


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


class Scripted:
    def __init__(self) -> None:
        self.servers: list[asyncio.Server] = []
        self.reports: Mapping[str, Callable[[], bytes]] = {}
        self.orders: Mapping[str, Callable[[bytes], bytes]] = {}
        self.open = 0
        self.idle = asyncio.Event()
        self.idle.set()

    async def exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.idle.clear()
        writer.write(b"hello\n")
        with contextlib.suppress(asyncio.CancelledError):
            await reader.read()
        self.open -= 1
        if not self.open:
            self.idle.set()
        writer.close()

    async def reload(self, settings: Settings) -> None:
        say(f"reload {settings.timeouts.drain:g}")

    def refresh(self) -> None:
        say("refresh")

    async def hand_over(self, timeout: float) -> None:  # noqa: ASYNC109
        say(f"hand_over {timeout:g}")
        await self.stop_accepting()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.idle.wait(), timeout)

    def begin_drain(self) -> None:
        say("begin_drain")

    async def stop_accepting(self) -> None:
        say("stop_accepting")
        for server in self.servers:
            server.close()

    async def drained(self, timeout: float) -> bool:  # noqa: ASYNC109
        say(f"drained {timeout:g}")
        try:
            await asyncio.wait_for(self.idle.wait(), timeout)
        except TimeoutError:
            say("late")
            return False
        return True

    async def close(self) -> None:
        say("close")
        for server in self.servers:
            server.close()


class ScriptedAdmin:
    def __init__(self, servers: Sequence[asyncio.Server]) -> None:
        self.servers = servers

    def reload(self, facts: Facts) -> None:
        say(f"admin reload {facts.drain:g}")

    async def close(self) -> None:
        say("admin close")
        for server in self.servers:
            server.close()


async def start(
    _: Settings, listen: Sequence[socket.socket], metrics: Metrics, limits: socket.socket | None
) -> RunningApp:
    with contextlib.suppress(FileNotFoundError):
        how = Path("broken").read_text(encoding="ascii")  # noqa: ASYNC240
        if how == "die":
            os._exit(7)
        return await refuse(_, listen, metrics, limits)
    await asyncio.get_running_loop().getaddrinfo("localhost", 80)  # starts libuv's threads
    app = Scripted()
    app.servers = [await asyncio.start_server(app.exchange, sock=each.dup()) for each in listen]
    return app


async def start_admin(supervisor: Supervisor, facts: Facts, admin: Sequence[socket.socket]) -> RunningAdmin:
    app = Scripted()
    return ScriptedAdmin([await asyncio.start_server(app.exchange, sock=each.dup()) for each in admin])


async def refuse(
    _: Settings, listen: Sequence[socket.socket], metrics: Metrics, limits: socket.socket | None
) -> RunningApp:
    raise ConfigError("this machine", (Problem("aiohttp", "its parser in C is missing"),))


class SlowAfterItsWord(Channel):
    """What a worker has to be when it says that it is ready, it has to be by then."""

    @override
    def send(self, message: Order | Word) -> None:
        super().send(message)
        time.sleep(0.1)


if __name__ == "__main__":
    if sys.argv[1].isdecimal():
        with patch.object(child, "Channel", SlowAfterItsWord):
            sys.exit(child.main(start))
    prepare_environment()
    path = Path(sys.argv[1])
    command = (sys.executable, __file__)
    sys.exit(serve(path, load(path), refuse if sys.argv[2:] else start, start_admin, command=command))
