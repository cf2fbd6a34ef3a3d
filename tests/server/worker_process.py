"""A worker with a scripted application: each open connection is an exchange; what it is told goes to stderr."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
import contextlib
from pathlib import Path
import socket
import sys

from sluicegate.config import ConfigError, Problem, Settings, load, prepare_environment
from sluicegate.server.worker import RunningApp, serve


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


class Scripted:
    def __init__(self) -> None:
        self.public: list[asyncio.Server] = []
        self.private: list[asyncio.Server] = []
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

    def begin_drain(self) -> None:
        say("begin_drain")

    async def stop_accepting(self) -> None:
        say("stop_accepting")
        for server in self.public:
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
        for server in (*self.public, *self.private):
            server.close()


async def start(_: Settings, listen: Sequence[socket.socket], admin: Sequence[socket.socket]) -> RunningApp:
    await asyncio.get_running_loop().getaddrinfo("localhost", 80)  # starts libuv's threads
    app = Scripted()
    app.public = [await asyncio.start_server(app.exchange, sock=each) for each in listen]
    app.private = [await asyncio.start_server(app.exchange, sock=each) for each in admin]
    return app


async def refuse(_: Settings, listen: Sequence[socket.socket], admin: Sequence[socket.socket]) -> RunningApp:
    raise ConfigError("this machine", (Problem("aiohttp", "its parser in C is missing"),))


if __name__ == "__main__":
    prepare_environment()
    sys.exit(serve(load(Path(sys.argv[1])), refuse if sys.argv[2:] else start))
