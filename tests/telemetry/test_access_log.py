"""A line per request, and a loop that never waits for a slow reader."""

from __future__ import annotations

from collections.abc import Iterator
from io import FileIO
import json
import os
import threading

import pytest

from sluicegate.telemetry.access_log import AccessLog


class Dropped:
    """Counts lost lines, and wakes who waits for one."""

    def __init__(self) -> None:
        self.lines = 0
        self.seen = threading.Event()

    def __call__(self, lines: int) -> None:
        self.lines += lines
        self.seen.set()


@pytest.fixture
def pipe() -> Iterator[tuple[FileIO, FileIO]]:
    reader, writer = os.pipe()
    with FileIO(reader, "r") as reading, FileIO(writer, "w") as writing:
        yield reading, writing


def line(number: int | str) -> bytes:
    return b'{"id":"req_%s"}' % str(number).encode()


def test_lines_reach_the_stream_in_order(pipe: tuple[FileIO, FileIO]) -> None:
    reading, writing = pipe
    dropped = Dropped()
    log = AccessLog(writing, dropped)
    for number in range(20):
        log.record(line(number))
    log.close()
    writing.close()

    lines = reading.readall().splitlines()
    assert [json.loads(text)["id"] for text in lines] == [f"req_{number}" for number in range(20)]
    assert dropped.lines == 0


def test_a_line_arrives_while_the_gateway_serves_on(pipe: tuple[FileIO, FileIO]) -> None:
    reading, writing = pipe
    log = AccessLog(writing, Dropped())
    for number in range(3):
        log.record(line(number))
        assert json.loads(reading.read(65536))["id"] == f"req_{number}"
    log.close()


def test_a_reader_that_stalls_costs_lines_and_never_time(pipe: tuple[FileIO, FileIO]) -> None:
    reading, writing = pipe
    dropped = Dropped()
    log = AccessLog(writing, dropped, limit=200)
    recorded = 0
    while not dropped.seen.is_set():
        log.record(line(recorded))
        recorded += 1
    assert recorded < 1_000

    received: list[bytes] = []
    drain = threading.Thread(target=lambda: received.extend(iter(lambda: reading.read(65536), b"")))
    drain.start()
    log.close()
    writing.close()
    drain.join()
    ids = [json.loads(text)["id"] for text in b"".join(received).splitlines()]
    assert ids == [f"req_{number}" for number in range(recorded - dropped.lines)]


def test_a_reader_that_is_gone_is_counted_and_nothing_else(pipe: tuple[FileIO, FileIO]) -> None:
    reading, writing = pipe
    reading.close()
    dropped = Dropped()
    log = AccessLog(writing, dropped)
    for _ in range(10):
        log.record(line(1))
    log.close()

    assert dropped.lines == 10
    log.record(line(1))
    assert dropped.lines == 11


def test_writers_that_share_a_pipe_do_not_cut_into_each_other(pipe: tuple[FileIO, FileIO]) -> None:
    reading, writing = pipe
    logs = [AccessLog(writing, Dropped()) for _ in range(2)]
    received: list[bytes] = []
    drain = threading.Thread(target=lambda: received.extend(iter(lambda: reading.read(65536), b"")))
    drain.start()
    for number in range(500):
        for name, log in zip("ab", logs, strict=True):
            log.record(line(f"{name}{number}"))
    for log in logs:
        log.close()
    writing.close()
    drain.join()

    ids = sorted(json.loads(text)["id"] for text in b"".join(received).splitlines())
    assert ids == sorted(f"req_{name}{number}" for name in "ab" for number in range(500))


def test_the_last_1000_rows_are_at_hand_newest_first() -> None:
    log = AccessLog(None, Dropped())
    for number in range(1_500):
        log.record(line(number))

    assert [entry["id"] for entry in json.loads(log.recent())] == [f"req_{number}" for number in range(1_499, 499, -1)]
    assert json.loads(AccessLog(None, Dropped()).recent()) == []


def test_a_full_disk_is_counted() -> None:
    dropped = Dropped()
    with FileIO("/dev/full", "w") as full:
        log = AccessLog(full, dropped)
        log.record(line(1))
        log.close()

    assert dropped.lines == 1
