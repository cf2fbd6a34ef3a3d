"""The real gateway as a process: started from a configuration, watched from outside, ended by its pid."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
import json
import os
from pathlib import Path
import re
import resource
import signal
import subprocess
import sys
from typing import Any, Self

from tests.kit.client import Answer, ask, request_bytes
from tests.kit.samples import Samples

READY = re.compile(r"^ready listen=(https?://\S+) admin=(http://\S+)$")
START_LIMIT = 40.0
KEY = "sk-test-key"


class Serving:
    """A gateway that serves: how to ask it, and what it says of itself."""

    url: str
    admin: str
    key = KEY

    async def ask(self, body: bytes | Mapping[str, Any] | None, **how: Any) -> Answer:
        """Ask with the key the configuration knows."""
        return await ask(self.url, request_bytes(body, **({"key": self.key} | how)))

    async def admin_get(self, path: str) -> Answer:
        """Ask the admin address."""
        return await ask(self.admin, request_bytes(None, path=path, method="GET"))

    async def metrics(self) -> Samples:
        """A scrape."""
        return Samples.parse((await self.admin_get("/metrics")).body.decode())

    async def gauges(self, *names: str) -> list[float]:
        """The sums of a scrape's samples with these names: for those who look often, without reading all of it."""
        sums = dict.fromkeys(names, 0.0)
        for line in (await self.admin_get("/metrics")).body.decode().splitlines():
            series, _, value = line.rpartition(" ")
            name = series.partition("{")[0]
            if name in sums:
                sums[name] += float(value)
        return list(sums.values())

    async def rows(self) -> list[dict[str, Any]]:
        """The last rows, as the admin address lists them."""
        return list((await self.admin_get("/admin/requests")).json["data"])

    async def row(self, **members: Any) -> dict[str, Any]:
        """The row with these members, as soon as it is there."""
        found: list[dict[str, Any]] = []

        async def written() -> bool:
            rows = await self.rows()
            found[:] = [row for row in rows if all(row.get(name) == value for name, value in members.items())]
            return bool(found)

        await eventually(written, f"a row with {members}")
        assert len(found) == 1, found
        return found[0]


class Gateway(Serving):
    """A running `sluicegate serve`. Its standard error stands in `log`."""

    def __init__(self, configuration: Mapping[str, Any], folder: Path, *, descriptors: int | None = None) -> None:
        #: How many files it may have open; None: as many as we.
        self._may_open = descriptors
        self.file = folder / "sluicegate.yaml"
        self.log_file = folder / "stderr.log"
        # JSON is YAML.
        self.file.write_text(json.dumps(configuration), encoding="utf-8")
        self.folder = folder

    async def start(self) -> Self:
        """Start it and wait for its `ready` line."""
        environment = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220 - returns at once
                [sys.executable, "-m", "sluicegate", "serve", "--config", str(self.file)],
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self.folder,
                env=environment,
                preexec_fn=self._take_descriptors if self._may_open else None,  # noqa: PLW1509 - we have no threads yet
            )
        assert self.process.stdout is not None
        line = await asyncio.wait_for(asyncio.to_thread(self.process.stdout.readline), START_LIMIT)
        ready = READY.match(line.decode().rstrip("\n"))
        assert ready, f"said {line!r} and {self.log[-4000:]}"
        self.url, self.admin = ready.groups()
        return self

    async def stop(self, within: float = 20.0) -> None:
        """End it as a service manager would, and see that it ended well and never lost its countenance."""
        self.process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(self.process.wait, within)
        assert self.process.stdout is not None
        said = self.process.stdout.read()
        self.process.stdout.close()
        assert (code, said) == (0, b""), self.log[-4000:]
        assert [line for line in self.log.splitlines() if line.startswith(("Traceback", "thread '"))] == [], self.log

    def kill(self) -> None:
        """End it if it still runs (a test has failed already)."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    @property
    def workers(self) -> list[int]:
        """The processes it has started that still live, by their ids; none where it serves itself."""
        return [pid for pid in map(int, self._children()) if not _is_zombie(pid)]

    def _children(self) -> list[str]:
        pid = self.process.pid
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return [child for task in tasks for child in (task / "children").read_text(encoding="ascii").split()]

    async def has_workers(self, count: int, within: float = 20.0) -> list[int]:
        """Wait until so many workers serve and no other process of its lives; gives their ids."""

        async def there() -> bool:
            serving = (await self.metrics()).get("sluicegate_workers")
            return (serving, len(self.workers)) == (count, count)

        await eventually(there, f"{count} workers", within)
        return self.workers

    def configure(self, **settings: Any) -> None:
        """Write other settings into its file; it does not know yet."""
        before = json.loads(self.file.read_text(encoding="utf-8"))
        self.file.write_text(json.dumps(before | settings), encoding="utf-8")

    async def reload(self) -> Answer:
        """Have it take over its file, by the admin address."""
        return await ask(self.admin, request_bytes(None, path="/admin/reload", method="POST"))

    async def upgrade(self, workers: int) -> list[int]:
        """Have it replace its workers, and wait until the new ones accept; gives their ids."""
        before = set(self.workers)
        lines = self.log.count("INFO sluicegate.server.supervisor: upgrade:")
        self.process.send_signal(signal.SIGUSR2)

        async def upgraded() -> bool:
            return self.log.count("INFO sluicegate.server.supervisor: upgrade:") > lines

        await eventually(upgraded, "the upgrade", 60)
        new = [pid for pid in self.workers if pid not in before]
        assert len(new) == workers
        return new

    def allow_descriptors(self, soft: int | None = None) -> None:
        """Change how many files it may have open while it runs; None: as many as at its start."""
        _, hard = resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (hard if soft is None else soft, hard))

    def _take_descriptors(self) -> None:
        assert self._may_open
        resource.setrlimit(resource.RLIMIT_NOFILE, (self._may_open, self._may_open))

    @property
    def log(self) -> str:
        """Everything it has written to standard error."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    @property
    def rss(self) -> int:
        """Resident memory in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) * 1024

    @property
    def cpu(self) -> float:
        """Seconds of processor time it has used."""
        nanoseconds = Path(f"/proc/{self.process.pid}/schedstat").read_text(encoding="ascii").split()[0]
        return int(nanoseconds) / 1e9

    @property
    def descriptors(self) -> int:
        """How many file descriptors it has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    async def logged(self, ident: str) -> list[str]:
        """The lines of the log that speak of a request, as soon as there are any; lines are written 50 ms late."""

        async def written() -> bool:
            return ident in self.log

        await eventually(written, f"{ident} in the log")
        return [line for line in self.log.split("\n") if ident in line]


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def eventually(holds: Callable[[], Any], what: str, within: float = 5.0) -> None:
    """Ask again and again until it holds; fails by name after `within` seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while not await holds():
        assert loop.time() < deadline, f"waited {within} s for {what}"
        await asyncio.sleep(0.01)


def configuration(upstreams: Mapping[str, Any], models: Mapping[str, Any], **settings: Any) -> dict[str, Any]:
    """A configuration for tests: free ports, one key; limits, retries in place and health are the tests' to set."""
    return {
        "listen": "127.0.0.1:0",
        "admin": "127.0.0.1:0",
        "upstreams": dict(upstreams),
        "models": dict(models),
        "keys": [{"name": "tests", "key": KEY, "models": ["*"]}],
        "retries": {"here": 0},
        "health": {"failures": 0},
        **settings,
    }
