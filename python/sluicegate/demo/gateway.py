"""The gateway as a process of its own, for the show: started with a written configuration, ended by SIGTERM."""

from __future__ import annotations

import asyncio
from pathlib import Path
import re
import sys
from typing import TYPE_CHECKING, Any, Self
import urllib.request

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

READY = re.compile(r"ready listen=(\S+) admin=(\S+)")
START_LIMIT = 20.0
STOP_LIMIT = 20.0
LOG_SHOWN = 2000

Series = dict[str, float]


class GatewayError(Exception):
    """The gateway did not start or did not end as it should; the message ends with what it logged."""


class Gateway:
    """A running gateway; an async context manager. Its stderr goes to a file in `folder`."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._folder = folder
        self._settings = settings
        self._log = folder / "gateway.log"
        self.listen = ""
        self.admin = ""

    async def __aenter__(self) -> Self:
        """Start it and wait until it accepts. Raises :class:`GatewayError`."""
        path = self._folder / "sluicegate.yaml"
        path.write_bytes(orjson.dumps(self._settings))  # JSON is YAML
        with self._log.open("wb") as log:
            # In a session of its own: Ctrl-C is the show's to hear, and the gateway drains when told to.
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "sluicegate", "serve", "--config", str(path)),
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        try:
            self.listen, self.admin = await self._ready()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """End it in good order. Raises :class:`GatewayError` if it exits with anything but 0."""
        died = self._process.returncode
        await self._end()
        if died is not None or self._process.returncode != 0:
            raise GatewayError(f"the gateway exited with {self._process.returncode}{self._logged()}")

    async def ended(self) -> None:
        """Wait until the process ends by itself."""
        await self._process.wait()

    async def series(self) -> Series:
        """Every series of ``/metrics`` and its value."""
        lines = (await self._get("/metrics")).decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    async def rows(self) -> list[dict[str, Any]]:
        """The last requests' rows."""
        rows: list[dict[str, Any]] = orjson.loads(await self._get("/admin/requests"))["data"]
        return rows

    async def _get(self, path: str) -> bytes:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

        def fetch() -> bytes:
            with opener.open(self.admin + path, timeout=10) as answer:
                body: bytes = answer.read()
                return body

        return await asyncio.to_thread(fetch)

    async def _ready(self) -> tuple[str, str]:
        stdout = self._process.stdout
        line = b""
        if stdout is not None:
            try:
                async with asyncio.timeout(START_LIMIT):
                    line = await stdout.readline()
            except TimeoutError:
                raise GatewayError(f"the gateway was not ready within {START_LIMIT:.0f} s{self._logged()}") from None
        match = READY.match(line.decode(errors="replace"))
        if match is None:
            raise GatewayError(f"the gateway said {line!r} instead of where it listens{self._logged()}")
        return match[1], match[2]

    async def _end(self) -> None:
        if self._process.returncode is None:
            self._process.terminate()
        try:
            async with asyncio.timeout(STOP_LIMIT):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def _logged(self) -> str:
        text = self._log.read_text(errors="replace")[-LOG_SHOWN:].strip()
        return f"; it logged:\n{text}" if text else ""
