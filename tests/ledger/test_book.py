"""Requests as the ledger sees them: their records are appended by the calls that make them, or by the spool."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import errno
import os
from pathlib import Path
from typing import Any

import pytest
from tests.kit.failing import ERRORS, refusing, room, uncut, writes
from tests.kit.ledger import ADM, FIN, Lost, frames, read_admitted, read_finished
from tests.telemetry.rows import ENDED, exchange, row

from sluicegate import errors
from sluicegate.config import Ledger as LedgerSettings
from sluicegate.exchange import Exchange
from sluicegate.ledger import segments
from sluicegate.ledger.book import Ledger
from sluicegate.telemetry.metrics import Metrics


class Book:
    """A ledger, and the requests that it was told of."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.lost = Lost()
        self.ledger = Ledger(LedgerSettings(**{"folder": str(folder), "fsync": "never", **settings}), self.lost)
        self.spool = self.ledger.spool
        self._rows = Metrics().rows("1", {}, self.ledger.tail)
        self._exchanges: dict[int, Exchange] = {}

    def admit(self, number: int) -> int:
        """Request of that number; gives its sequence. Raises Overloaded."""
        made = self._exchanges[number] = exchange(row(id=f"req_{number}"))
        self.ledger.admit(made, self._rows)
        return made.sequence

    def finish(self, number: int) -> bool:
        """It has ended; whether that was left to the spool."""
        _, record = self._rows.ended(self._exchanges.pop(number), ENDED)
        if record is None:
            return False
        self.ledger.finish(record)
        return True

    def serve(self, script: str) -> None:
        """`+1` admits request 1, `-1` ends it."""
        for word in script.split():
            (self.admit if word[0] == "+" else self.finish)(int(word[1:]))

    @property
    def descriptor(self) -> int:
        """Of the segment that is written."""
        return self.spool.tail.descriptor

    @property
    def records(self) -> list[tuple[int, str]]:
        """Kind and request of every record."""
        found = []
        for number in segments.segments(self.spool.path):
            for kind, _, record, _ in frames(segments.segment_file(self.spool.path, number).read_bytes()):
                found.append((kind, (read_admitted if kind == ADM else read_finished)(record).id))
        return found


@contextmanager
def book(folder: Path, **settings: Any) -> Iterator[Book]:
    """A ledger that is closed after the block."""
    made = Book(folder, **settings)
    try:
        yield made
    finally:
        made.ledger.close()


def told(script: str) -> list[tuple[int, str]]:
    """The records that a script leaves."""
    return [(ADM if word[0] == "+" else FIN, f"req_{word[1:]}") for word in script.split()]


def test_each_request_leaves_two_records_each_with_one_write(tmp_path: Path) -> None:
    with book(tmp_path) as one:
        before = writes()
        sequences = [one.admit(1), one.admit(2)]
        left_to_the_spool = [one.finish(2), one.finish(1)]
        written = writes() - before

    assert ([1, 2], [False, False], 4) == (sequences, left_to_the_spool, written)
    assert told("+1 +2 -2 -1") == one.records
    assert one.spool.used == segments.size_of(one.spool.path)


def test_segments_are_begun_when_one_is_full(tmp_path: Path) -> None:
    script = " ".join(f"+{number} -{number}" for number in range(1, 101))
    with book(tmp_path, size=80_000) as one:
        one.serve(script)
        numbers = segments.segments(one.spool.path)

    assert len(numbers) > 2
    assert all(segments.segment_file(one.spool.path, number).stat().st_size <= 10_000 for number in numbers)
    assert (told(script), 0) == (one.records, one.lost.rows)


def test_forced_to_the_disk_each_is_the_spools_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", forced.append)
    with book(tmp_path, fsync="each") as one:
        assert (1, True) == (one.admit(1), one.finish(1))
        assert [one.descriptor] * 2 == forced

    assert told("+1 -1") == one.records


@pytest.mark.parametrize("error", ERRORS)
def test_a_disk_that_takes_nothing_refuses_requests_and_keeps_ends_in_their_order(tmp_path: Path, error: int) -> None:
    with book(tmp_path) as one:
        one.serve("+1 +2 +3 +4")
        with refusing(one.descriptor, error):
            one.serve("-1 -2")
            with pytest.raises(errors.Overloaded, match="cannot write down") as refused:
                one.admit(5)
            assert 2 == one.spool.late
        one.serve("-3")
        assert 3 == one.spool.late, "it stands behind those that wait"
        one.serve("+6")
        assert (0, False, False) == (one.spool.late, one.finish(4), one.finish(6))

    assert (503, "ledger_unavailable", 0) == (refused.value.status, refused.value.code, one.lost.rows)
    assert told("+1 +2 +3 +4 -1 -2 -3 +6 -4 -6") == one.records


def test_a_short_write_is_cut_back(tmp_path: Path) -> None:
    with book(tmp_path) as one:
        one.serve("+1 +2")
        with room(one.spool.used + 30):
            one.serve("-1")
            held = segments.size_of(one.spool.path)
            with pytest.raises(errors.Overloaded):
                one.admit(3)
        one.serve("+4 -2 -4")

    assert (held, 0) == (len_of(one, 2), one.lost.rows)
    assert told("+1 +2 -1 +4 -2 -4") == one.records


def len_of(of: Book, count: int) -> int:
    """How many bytes its first records have."""
    data = segments.segment_file(of.spool.path, 1).read_bytes()
    return [end for *_, end in frames(data)][count - 1]


def test_a_short_write_that_cannot_be_cut_back_ends_the_segment_and_loses_nothing(tmp_path: Path) -> None:
    with book(tmp_path) as one:
        one.serve("+1")
        held, file = one.spool.used, segments.segment_file(one.spool.path, 1)
        with uncut(one.descriptor, file):
            with room(held + 30):
                one.serve("-1")
            one.serve("+2 -2")

    assert (held + 30, [1, 2]) == (file.stat().st_size, segments.segments(one.spool.path))
    assert (told("+1 -1 +2 -2"), 0) == (one.records, one.lost.rows)


def until_refused(one: Book) -> int:
    """Admits requests until one is refused; gives how many were not."""
    for number in range(1, 1000):
        try:
            one.admit(number)
        except errors.Overloaded:
            return number - 1
    raise AssertionError("there always was room")


def test_room_for_the_end_of_every_admitted_request_is_kept(tmp_path: Path) -> None:
    with book(tmp_path, size=100_000) as one:
        admitted = until_refused(one)
        one.serve(" ".join(f"-{number}" for number in range(1, admitted + 1)))
        assert one.spool.used <= 100_000
        one.admit(2000)

    assert 40 < admitted < 50
    assert (2 * admitted + 1, 0) == (len(one.records), one.lost.rows)


def test_with_drop_a_request_that_cannot_be_written_down_is_served_and_leaves_no_end(tmp_path: Path) -> None:
    with book(tmp_path, when_full="drop") as one:
        with refusing(one.descriptor, errno.ENOSPC):
            assert 0 == one.admit(1)
        one.serve("-1 +2 -2")

    assert (1, told("+2 -2")) == (one.lost.rows, one.records)


def test_an_end_after_the_spools_own_is_counted_as_lost(tmp_path: Path) -> None:
    with book(tmp_path) as one:
        one.serve("+1 +2 -1")
    one.serve("-2")

    assert (0, 1) == (one.spool.late, one.lost.rows)
