"""A line per request, one event per line whatever is in it, and a loop that never waits for a slow reader."""

from __future__ import annotations

from collections.abc import Iterator
from io import FileIO
import json
import os
import threading

import msgspec
import pytest
from tests.telemetry.rows import STREAMED, row

from sluicegate.exchange import Row
from sluicegate.telemetry.access_log import AccessLog, line


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


HOSTILE = {
    "a line end": "fast\n{}",
    "carriage return": "fast\r\nlevel=error",
    "terminal escape": "\x1b[2J\x1b]0;owned\x07",
    "NUL, DEL and C1": "\x00\x7f\x9b31m\x85",
    "line separators": "a\u2028b\u2029c",
    "right-to-left override": "gnp\u202eexe",
    "lone surrogate": "a\ud800b",
    "quote and backslash": '","status":500,"x":"\\',
    "umlaut and emoji": "Füß 🚰",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("member", ["id", "caller", "requested_model", "upstream_request_id", "endpoint"])
def test_141_a_line_is_one_event_whatever_is_in_it(member: str, text: str) -> None:
    written = line(row(**{member: text}))

    assert all(0x20 <= byte < 0x7F for byte in written)
    assert json.loads(written) == {**as_json(STREAMED), member: text}


def as_json(row: Row) -> dict[str, object]:
    loaded = json.loads(json.dumps(msgspec.to_builtins(row)))
    assert isinstance(loaded, dict)
    return loaded


def test_a_line_says_all_that_the_row_says() -> None:
    assert list(json.loads(line(STREAMED))) == list(Row.__struct_fields__)


def test_lines_reach_the_stream_in_order(pipe: tuple[FileIO, FileIO]) -> None:
    reading, writing = pipe
    dropped = Dropped()
    log = AccessLog(writing, dropped)
    for number in range(20):
        log.record(row(id=f"req_{number}"))
    log.close()
    writing.close()

    lines = reading.readall().splitlines()
    assert [json.loads(text)["id"] for text in lines] == [f"req_{number}" for number in range(20)]
    assert dropped.lines == 0


def test_a_line_arrives_while_the_gateway_serves_on(pipe: tuple[FileIO, FileIO]) -> None:
    reading, writing = pipe
    log = AccessLog(writing, Dropped())
    for number in range(3):
        log.record(row(id=f"req_{number}"))
        assert json.loads(reading.read(65536))["id"] == f"req_{number}"
    log.close()


def test_a_reader_that_stalls_costs_lines_and_never_time(pipe: tuple[FileIO, FileIO]) -> None:
    reading, writing = pipe
    dropped = Dropped()
    log = AccessLog(writing, dropped, limit=200)
    recorded = 0
    while not dropped.seen.is_set():
        log.record(row(id=f"req_{recorded}"))
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
        log.record(STREAMED)
    log.close()

    assert dropped.lines == 10
    log.record(STREAMED)
    assert dropped.lines == 11


def test_writers_that_share_a_pipe_do_not_cut_into_each_other(pipe: tuple[FileIO, FileIO]) -> None:
    reading, writing = pipe
    logs = [AccessLog(writing, Dropped()) for _ in range(2)]
    received: list[bytes] = []
    drain = threading.Thread(target=lambda: received.extend(iter(lambda: reading.read(65536), b"")))
    drain.start()
    for number in range(500):
        for name, log in zip("ab", logs, strict=True):
            log.record(row(id=f"{name}{number}"))
    for log in logs:
        log.close()
    writing.close()
    drain.join()

    ids = sorted(json.loads(text)["id"] for text in b"".join(received).splitlines())
    assert ids == sorted(f"{name}{number}" for name in "ab" for number in range(500))


def test_the_last_1000_rows_are_at_hand_newest_first() -> None:
    log = AccessLog(None, Dropped())
    for number in range(1_500):
        log.record(row(id=f"req_{number}"))

    assert [entry["id"] for entry in json.loads(log.recent())] == [f"req_{number}" for number in range(1_499, 499, -1)]
    assert json.loads(AccessLog(None, Dropped()).recent()) == []


def test_names_of_megabytes_are_not_kept() -> None:
    log = AccessLog(None, Dropped())
    for _ in range(20):
        log.record(row(requested_model="m" * 2**20, upstream_model="u" * 2**20, upstream_request_id="i" * 2**20))

    entry = json.loads(log.recent())[0]
    assert (entry["requested_model"], entry["upstream_model"]) == ("m" * 256 + "...", "u" * 256 + "...")
    assert len(log.recent()) < 50_000


def test_a_full_disk_is_counted() -> None:
    dropped = Dropped()
    with FileIO("/dev/full", "w") as full:
        log = AccessLog(full, dropped)
        log.record(STREAMED)
        log.close()

    assert dropped.lines == 1
