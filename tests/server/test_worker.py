"""A worker's life, from its sockets to its exit code."""

from __future__ import annotations

from collections.abc import Iterator
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
    "upstreams": {"local": {"dialect": "openai", "base_url": "http://127.0.0.1:8000/v1"}},
    "models": {"fast": {"targets": [{"upstream": "local", "model": "qwen3-8b"}]}},
    "timeouts": {"drain": 20},
}
READY = re.compile(r"ready listen=http://(\S+):(\d+) admin=http://(\S+):(\d+)\n")


def start(folder: Path, *words: str, **settings: Any) -> subprocess.Popen[str]:
    file = folder / "gate.json"
    file.write_text(json.dumps(GATE | settings), encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(file), *words],
        env=os.environ | {"PYTHONPATH": str(Path(sluicegate.__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def worker(folder: Path, **settings: Any) -> Iterator[tuple[subprocess.Popen[str], int, int]]:
    """A worker that is ready, and its two ports."""
    process = start(folder, **settings)
    try:
        assert process.stdout is not None
        ready = READY.fullmatch(process.stdout.readline())
        assert ready is not None
        yield process, int(ready[2]), int(ready[4])
    finally:
        process.kill()
        with process:
            process.wait()


def ended(process: subprocess.Popen[str]) -> tuple[int, str, list[str]]:
    """The exit code, and what was said and not read so far. (communicate() would lose what readline() has buffered.)"""
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        return process.wait(timeout=15), process.stdout.read(), process.stderr.read().splitlines()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.readline().rstrip("\n")


def exchange(port: int, host: str = "127.0.0.1") -> socket.socket:
    """A connection that the application has greeted."""
    connection = socket.create_connection((host, port), timeout=10)
    assert connection.recv(6) == b"hello\n"
    return connection


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_exits_0(number: int, tmp_path: Path) -> None:
    with worker(tmp_path) as (process, port, _):
        connection = exchange(port)
        process.send_signal(number)

        assert ["begin_drain", "stop_accepting", "drained 20"] == [said(process) for _ in range(3)]
        assert refuses(port)
        assert process.poll() is None

        connection.close()

        assert (0, "", ["close", "admin close"]) == ended(process)


def test_both_addresses_accept_once_ready(tmp_path: Path) -> None:
    with worker(tmp_path) as (_, port, admin):
        assert port != admin
        exchange(port).close()
        exchange(admin).close()


def test_it_still_accepts_during_drain_delay(tmp_path: Path) -> None:
    with worker(tmp_path, timeouts={"drain": 20, "drain_delay": 1}) as (process, port, _):
        process.send_signal(signal.SIGTERM)

        assert "begin_drain" == said(process)
        exchange(port).close()
        assert "stop_accepting" == said(process)
        assert (0, "", ["drained 20", "close", "admin close"]) == ended(process)


def test_what_does_not_end_in_time_does_not_hold_it(tmp_path: Path) -> None:
    with worker(tmp_path, timeouts={"drain": 0.2}) as (process, port, _), exchange(port):
        process.send_signal(signal.SIGTERM)

        assert (0, "", ["begin_drain", "stop_accepting", "drained 0.2", "late", "close", "admin close"]) == ended(
            process
        )


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    with worker(tmp_path) as (process, port, _), exchange(port):
        process.send_signal(signal.SIGTERM)
        assert ["begin_drain", "stop_accepting", "drained 20"] == [said(process) for _ in range(3)]
        before = time.monotonic()

        process.send_signal(signal.SIGINT)

        assert (128 + signal.SIGINT, "", ["close", "admin close"]) == ended(process)
        assert time.monotonic() - before < 5


def test_a_second_signal_during_drain_delay(tmp_path: Path) -> None:
    with worker(tmp_path, timeouts={"drain_delay": 600}) as (process, _, _):
        process.send_signal(signal.SIGTERM)
        assert "begin_drain" == said(process)

        process.send_signal(signal.SIGTERM)

        assert (128 + signal.SIGTERM, "", ["close", "admin close"]) == ended(process)


def test_an_address_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        words = f"admin: 127.0.0.1:{port} is in use by another process; stop it, or choose another port"
        assert (1, "", [words]) == ended(start(tmp_path, admin=f"127.0.0.1:{port}"))


def test_an_address_of_another_machine(tmp_path: Path) -> None:
    keys = [{"name": "dev", "key": "sk-0123456789"}]

    words = "listen: 192.0.2.1:80 is no address of this machine"
    assert (1, "", [words]) == ended(start(tmp_path, listen="192.0.2.1:80", keys=keys))


def test_a_name_without_address(tmp_path: Path) -> None:
    keys = [{"name": "dev", "key": "sk-0123456789"}]

    status, out, err = ended(start(tmp_path, listen="nowhere.invalid:80", keys=keys))

    assert (1, "", 1) == (status, out, len(err))
    assert err[0].startswith("listen: nowhere.invalid:80: the host has no address (")


def test_what_the_application_refuses_is_said_in_words(tmp_path: Path) -> None:
    assert (1, "", ["aiohttp: its parser in C is missing"]) == ended(start(tmp_path, "refuse"))


def test_ipv6(tmp_path: Path) -> None:
    with worker(tmp_path, listen="[::1]:0") as (_, port, _):
        exchange(port, "::1").close()


def test_every_address_of_a_name(tmp_path: Path) -> None:
    with worker(tmp_path, listen="localhost:0") as (_, port, _):
        for host in {found[4][0] for found in socket.getaddrinfo("localhost", port, type=socket.SOCK_STREAM)}:
            exchange(port, str(host)).close()


def test_any_address_is_ipv4_too(tmp_path: Path) -> None:
    keys = [{"name": "dev", "key": "sk-0123456789"}]
    with worker(tmp_path, listen="[::]:0", keys=keys) as (_, port, _):
        exchange(port, "::1").close()
        exchange(port, "127.0.0.1").close()


def test_the_limit_of_open_files_is_the_hard_one(tmp_path: Path) -> None:
    with worker(tmp_path) as (process, _, _):
        limits = Path(f"/proc/{process.pid}/limits").read_text(encoding="utf-8")
        (soft, hard) = re.findall(r"Max open files\s+(\d+)\s+(\d+)", limits)[0]

        assert hard == soft


def test_names_are_looked_up_on_16_threads(tmp_path: Path) -> None:
    with worker(tmp_path) as (process, _, _):
        assert 16 + 1 == len(list(Path(f"/proc/{process.pid}/task").iterdir()))


def test_nobody_reading_the_ready_line_is_no_reason_to_stop(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = start(tmp_path, listen=f"127.0.0.1:{port}")
    assert process.stdout is not None
    process.stdout.close()
    try:
        deadline = time.monotonic() + 10
        while refuses(port) and time.monotonic() < deadline:
            time.sleep(0.02)
        exchange(port).close()
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()
