"""A real Redis server of the test's own, on a Unix socket: stopped, frozen and ended by its pid."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
import signal
import subprocess
import tempfile


class RedisServer:
    """A running `redis-server` that keeps nothing on a disk."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "redis.sock"
        self.url = f"unix://{self.path}"
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        options = ["--port", "0", "--unixsocket", str(self.path), "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(  # noqa: ASYNC220 - returns at once
            ["redis-server", *options, "--dir", str(self.path.parent), "--loglevel", "warning"],
            stdout=subprocess.DEVNULL,
        )
        async with asyncio.timeout(10):
            while await self._ping() != b"+PONG\r\n":  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.01)

    def freeze(self) -> None:
        """Let it accept and be silent: what a hung server looks like."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it, with everything it knew."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def _ping(self) -> bytes:
        try:
            reader, writer = await asyncio.open_unix_connection(self.path)
        except OSError:
            return b""
        writer.write(b"PING\r\n")
        answer = await reader.readline()
        writer.close()
        await writer.wait_closed()
        return answer


@asynccontextmanager
async def redis_server() -> AsyncIterator[RedisServer]:
    """A server until the block's end. Its socket's path is short: the kernel takes 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="sluicegate-") as folder:
        server = RedisServer(Path(folder))
        await server.start()
        try:
            yield server
        finally:
            server.kill()
