"""What a worker appends to its own file, and what it says when it cannot."""

from __future__ import annotations

from collections.abc import Callable
import errno
import os
from pathlib import Path
import threading
from typing import Any

import pytest
from tests.kit.failing import ERRORS, refusing, room, uncut, writes
from tests.kit.ledger import ADM, FIN, FINISHED, Lost, admitted, fill, finished, frame, frames, spool

from sluicegate.ledger import segments
from sluicegate.ledger.spool import Spool, SpoolFull


def records(path: Path) -> list[tuple[int, int]]:
    """Kind and sequence of every record in a spool's files; what is torn ends its file."""
    found = []
    for number in segments.segments(path):
        found += [one[:2] for one in frames(segments.segment_file(path, number).read_bytes())]
    return found


def until_full(write: Callable[[int], None]) -> int:
    """Writes one number after the other until the spool refuses one; gives that one."""
    for number in range(1, 100_000):
        try:
            write(number)
        except SpoolFull:
            return number
    raise AssertionError("it never was full")


def test_two_records_for_each_request(tmp_path: Path) -> None:
    with spool(tmp_path) as one:
        fill(one, "+1 +2 -2 -1")

    assert [(ADM, 1), (ADM, 2), (FIN, 2), (FIN, 1)] == records(one.path)


def test_each_record_is_one_write(tmp_path: Path) -> None:
    with spool(tmp_path) as one:
        before = writes()
        fill(one, "+1 -1")
        assert 2 == writes() - before

    assert frame(1, admitted(1)) + frame(1, finished(1)) == segments.segment_file(one.path, 1).read_bytes()


def test_segments_are_begun_when_one_is_full(tmp_path: Path) -> None:
    with spool(tmp_path, segment=1000) as one:
        fill(one, " ".join(f"+{n} -{n}" for n in range(1, 21)))
        used = one.used

    assert len(segments.segments(one.path)) > 4
    assert all(segments.segment_file(one.path, n).stat().st_size <= 1000 for n in segments.segments(one.path))
    assert used == segments.size_of(one.path)
    assert 40 == len(records(one.path))


def test_its_owner_is_dead_when_it_is_closed(tmp_path: Path) -> None:
    with spool(tmp_path) as one:
        assert not segments.is_dead(one.path)
    assert segments.is_dead(one.path)


def test_an_end_after_the_spools_own_is_counted_as_lost(tmp_path: Path) -> None:
    lost = Lost()
    with spool(tmp_path, lost=lost) as one:
        fill(one, "+1 +2 -1")
    fill(one, "-2")
    assert (0, 1) == (one.late, lost.rows)


def test_a_short_write_is_cut_back(tmp_path: Path) -> None:
    with spool(tmp_path) as one:
        fill(one, "+1")
        with room(one.used + 30), pytest.raises(SpoolFull):
            one.admit(frame(2, admitted(2)))
        fill(one, "+3 -1 -3")

    assert [(ADM, 1), (ADM, 3), (FIN, 1), (FIN, 3)] == records(one.path)


def test_a_short_write_that_cannot_be_cut_back_ends_the_segment(tmp_path: Path) -> None:
    with spool(tmp_path) as one:
        fill(one, "+1")
        held, file = one.used, segments.segment_file(one.path, 1)
        with uncut(one.tail.descriptor, file):
            with room(held + 30), pytest.raises(SpoolFull):
                one.admit(frame(2, admitted(2)))
            fill(one, "+3 -1 -3")

    assert (held + 30, [1, 2]) == (file.stat().st_size, segments.segments(one.path))
    assert [(ADM, 1), (ADM, 3), (FIN, 1), (FIN, 3)] == records(one.path)


@pytest.mark.parametrize("error", ERRORS)
def test_a_disk_that_takes_nothing_refuses_admissions_and_loses_no_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: int
) -> None:
    lost = Lost()
    with spool(tmp_path, lost=lost) as one:
        fill(one, "+1 +2")
        with refusing(one.tail.descriptor, error):
            one.finish(frame(1, finished(1)))
            one.finish(frame(2, finished(2)))
            with pytest.raises(SpoolFull):
                one.admit(frame(3, admitted(3)))
            assert 2 == one.late
        fill(one, "+4 -4")
        assert 0 == one.late

    assert 0 == lost.rows
    assert [(ADM, 1), (ADM, 2), (FIN, 1), (FIN, 2), (ADM, 4), (FIN, 4)] == records(one.path)
    assert [f"the spool {one.path} cannot be written: {os.strerror(error)}"] == caplog.messages


def test_ends_that_wait_are_written_though_nobody_asks_again(tmp_path: Path) -> None:
    with spool(tmp_path) as one:
        fill(one, "+1")
        with refusing(one.tail.descriptor, errno.ENOSPC):
            fill(one, "-1")

    assert [(ADM, 1), (FIN, 1)] == records(one.path)


def test_what_waits_in_memory_is_bounded_and_what_is_lost_is_counted(tmp_path: Path) -> None:
    lost = Lost()
    with room(0), spool(tmp_path, lost=lost) as one:
        for number in range(10_003):
            one.finish(frame(number, FINISHED))
        assert (10_000, 3) == (one.late, lost.rows)

    assert 10_003 == lost.rows


def test_room_for_the_end_of_every_admitted_request_is_kept(tmp_path: Path) -> None:
    with spool(tmp_path, size=100_000) as one:
        admissions = until_full(lambda number: one.admit(frame(number, admitted(number))))
        for number in range(1, admissions):
            one.finish(frame(number, finished(number)))
        assert one.used <= 100_000

    assert 40 < admissions < 50
    assert 2 * (admissions - 1) == len(records(one.path))


def test_a_full_spool_takes_requests_again_once_it_was_drained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("sluicegate.ledger.spool.time.monotonic", lambda: now[0])
    with spool(tmp_path, size=20_000) as one:
        number = until_full(lambda number: fill(one, f"+{number} -{number}"))
        now[0] += 1
        for segment in segments.segments(one.path)[:-1]:
            segments.remove_segment(one.path, segment)
        fill(one, f"+{number} -{number}")


@pytest.mark.parametrize(
    "fsync, expected",
    [("never", 0), ("each", 4), ("interval", 1)],
    ids=["never", "each: at every record", "interval: not by the request"],
)
def test_when_records_are_forced_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fsync: Any, expected: int
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    with spool(tmp_path, fsync=fsync) as one:
        fill(one, "+1 -1 +2 -2")
        during = len(synced)
        one._closing.set()
        one._keeper.join()

    assert expected == (during if fsync == "each" else len(synced))


def test_without_descriptors_records_are_forced_to_the_disk_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, synced, dup = threading.Semaphore(0), threading.Event(), os.dup

    def none_is_left(descriptor: int) -> int:
        asked.release()
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "dup", none_is_left)
    monkeypatch.setattr(os, "fdatasync", lambda _: synced.set())
    with spool(tmp_path, fsync="interval", interval=0.01) as one:
        fill(one, "+1 -1")
        assert asked.acquire(timeout=10)
        assert asked.acquire(timeout=10)
        assert not synced.is_set()
        monkeypatch.setattr(os, "dup", dup)

        assert synced.wait(10)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(NotADirectoryError):
        Spool(tmp_path / "file" / "spool", size=1 << 20, fsync="never", interval=1.0, lost=Lost())
