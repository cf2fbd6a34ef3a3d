"""A supervisor and its workers' processes: deaths, orphans, starts that fail, and what a service manager is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import json
import os
from pathlib import Path
import re
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import pytest

import sluicegate

SCRIPT = Path(__file__).with_name("worker_process.py")
GATE = {
    "listen": "127.0.0.1:0",
    "admin": "127.0.0.1:0",
    "store": "none",
    "workers": 2,
    "upstreams": {"local": {"dialect": "openai", "base_url": "http://127.0.0.1:8000/v1"}},
    "models": {"fast": {"targets": [{"upstream": "local", "model": "qwen3-8b"}]}},
    "timeouts": {"drain": 20},
}
READY = re.compile(r"ready listen=http://(\S+):(\d+) admin=http://(\S+):(\d+)\n")


class Supervised:
    """A running supervisor of scripted workers. A file named `broken` beside its configuration breaks their start."""

    def __init__(self, folder: Path, environment: dict[str, str], **settings: Any) -> None:
        self.folder = folder
        self.log_file = folder / "stderr.log"
        file = folder / "gate.json"
        file.write_text(json.dumps(GATE | settings), encoding="utf-8")
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(SCRIPT), str(file)],
                env=os.environ | {"PYTHONPATH": str(Path(sluicegate.__file__).parents[1])} | environment,
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.port = 0

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8")

    @property
    def workers(self) -> list[int]:
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]

    def ready(self) -> None:
        assert self.process.stdout is not None
        line = READY.fullmatch(self.process.stdout.readline())
        assert line is not None, self.log
        self.port = int(line[2])

    def greeted(self) -> socket.socket:
        """A connection that a worker serves."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        assert connection.recv(6) == b"hello\n"
        return connection


@contextmanager
def supervised(folder: Path, environment: dict[str, str] | None = None, **settings: Any) -> Iterator[Supervised]:
    started = Supervised(folder, environment or {}, **settings)
    try:
        yield started
    finally:
        orphans = started.workers if started.process.poll() is None else []
        started.process.kill()
        with started.process:
            started.process.wait()
        for pid in orphans:
            until(lambda pid=pid: not is_alive(pid), "the workers' end")  # type: ignore[misc]


def until(holds: Callable[[], bool], what: str, within: float = 40.0) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"waited {within} s for {what}"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_it_is_ready_when_every_worker_is_and_carries_nothing_itself(tmp_path: Path) -> None:
    with supervised(tmp_path, workers=3) as gate:
        gate.ready()
        assert len(gate.workers) == 3
        gate.greeted().close()
        gate.process.terminate()

        assert gate.process.wait(40) == 0
        for word in ("begin_drain", "stop_accepting", "drained 20", "close"):
            assert gate.log.splitlines().count(word) == 3
        assert gate.log.splitlines()[-1] == "admin close"


def test_a_worker_that_cannot_start_is_said_and_nothing_runs(tmp_path: Path) -> None:
    (tmp_path / "broken").write_text("refuse", encoding="utf-8")
    with supervised(tmp_path) as gate:
        assert gate.process.wait(40) == 1
        assert "aiohttp: its parser in C is missing" in gate.log.splitlines()
        assert gate.process.stdout is not None
        assert gate.process.stdout.read() == ""


def test_a_worker_that_dies_at_its_start_is_said_too(tmp_path: Path) -> None:
    (tmp_path / "broken").write_text("die", encoding="utf-8")
    with supervised(tmp_path) as gate:
        assert gate.process.wait(40) == 1
        words = r"worker \d+: exited with 7 before it accepted; what it said of that stands above"
        assert re.search(words, gate.log), gate.log


def test_workers_that_die_again_and_again_are_started_ever_more_rarely(tmp_path: Path) -> None:
    with supervised(tmp_path) as gate:
        gate.ready()
        first, other = gate.workers
        (tmp_path / "broken").write_text("die", encoding="utf-8")
        os.kill(first, signal.SIGKILL)
        pauses = re.compile(r"a worker cannot be started, again in (\S+) s: worker \d+: exited with 7 before")

        until(lambda: len(pauses.findall(gate.log)) >= 2, "two attempts")

        assert pauses.findall(gate.log)[:2] == ["1.0", "2.0"]
        assert gate.workers.count(other) == 1
        gate.greeted().close()
        (tmp_path / "broken").unlink()
        until(lambda: len(gate.workers) == 2, "the next attempt")
        gate.process.terminate()
        assert gate.process.wait(40) == 0


def test_a_worker_that_is_told_to_end_by_itself_drains_and_is_replaced(tmp_path: Path) -> None:
    with supervised(tmp_path) as gate:
        gate.ready()
        first, _ = gate.workers
        os.kill(first, signal.SIGTERM)

        until(lambda: first not in gate.workers and len(gate.workers) == 2, "another worker")

        assert f"worker {first} exited with 0; it is replaced" in gate.log
        gate.greeted().close()


def test_a_signal_to_the_whole_group_counts_once(tmp_path: Path) -> None:
    with supervised(tmp_path) as gate:
        gate.ready()
        connection = gate.greeted()
        for pid in (*gate.workers, gate.process.pid):
            os.kill(pid, signal.SIGINT)
        until(lambda: gate.log.splitlines().count("drained 20") == 2, "the drain of both")
        assert gate.process.poll() is None
        connection.close()
        assert gate.process.wait(40) == 0


def test_workers_whose_supervisor_was_killed_free_the_address_and_end(tmp_path: Path) -> None:
    with supervised(tmp_path) as gate:
        gate.ready()
        connection, workers = gate.greeted(), gate.workers
        gate.process.kill()

        until(lambda: refuses(gate.port), "the listener's end")

        assert any(is_alive(pid) for pid in workers), "what runs may end"
        connection.close()
        until(lambda: not any(is_alive(pid) for pid in workers), "the workers' end")


def test_workers_hear_nothing_of_reloads_and_upgrades_but_from_their_supervisor(tmp_path: Path) -> None:
    with supervised(tmp_path) as gate:
        gate.ready()
        before = gate.workers
        for pid in before:
            os.kill(pid, signal.SIGHUP)
            os.kill(pid, signal.SIGUSR2)
        gate.greeted().close()
        assert gate.workers == before

        gate.process.send_signal(signal.SIGHUP)
        until(lambda: gate.log.splitlines().count("reload 20") == 2, "the reload of both")
        assert gate.log.splitlines().count("admin reload 20") == 1


def test_an_upgrade_whose_workers_die_leaves_the_former_ones(tmp_path: Path) -> None:
    with supervised(tmp_path) as gate:
        gate.ready()
        before = gate.workers
        (tmp_path / "broken").write_text("die", encoding="utf-8")
        gate.process.send_signal(signal.SIGUSR2)

        until(lambda: "upgrade: the former workers serve on: worker" in gate.log, "word of it")

        assert gate.workers == before
        gate.greeted().close()


def test_the_end_may_be_told_while_workers_start(tmp_path: Path) -> None:
    with supervised(tmp_path) as gate:
        until(lambda: len(gate.workers) == 2, "workers' processes")
        gate.process.terminate()
        assert gate.process.wait(40) == 0
        assert gate.process.stdout is not None
        assert gate.process.stdout.read() == ""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_service_manager_is_told_how_it_stands(workers: int, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notes:
        notes.bind(str(tmp_path / "notify"))
        notes.settimeout(40)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}

        def told() -> dict[str, str]:
            """The next note that is no sign of life."""
            while (note := notes.recv(4096).decode()) == "WATCHDOG=1":
                pass
            return dict(line.split("=", 1) for line in note.splitlines())

        with supervised(tmp_path, environment, workers=workers) as gate:
            gate.ready()
            assert told() == {"READY": "1", "MAINPID": str(gate.process.pid), "STATUS": "serving"}
            assert notes.recv(4096) == b"WATCHDOG=1"
            before = time.monotonic_ns() // 1000
            gate.process.send_signal(signal.SIGHUP)
            reloading = told()
            assert reloading["RELOADING"] == "1"
            assert before <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
            assert told()["READY"] == "1"
            gate.process.terminate()
            stopping = told()
            assert (stopping["STOPPING"], stopping["EXTEND_TIMEOUT_USEC"]) == ("1", "25000000")
            assert gate.process.wait(40) == 0
