"""Each request once in the store, wherever its spool was cut and wherever its writer was stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import shutil
from typing import Any

import pytest
from tests.kit.ledger import (
    FIN,
    admitted,
    column,
    drained,
    every_row,
    fill,
    finished,
    frame,
    frames,
    outcomes,
    spool,
    sqlite,
)

from sluicegate._native import Database
from sluicegate.ledger import segments
from sluicegate.ledger.drain import Drain
from sluicegate.store.interface import GROUPS, Store
from sluicegate.store.sqlite import Sqlite

#: Interleaved, one request outlives two segments, two never end.
SCRIPT = "+1 +2 -2 +3 -3 +4 +5 -5 +6 -6 +7 -4 -7 +8 +9 -9 -1"
ENDS = [(n, "unknown" if n == 8 else "completed") for n in range(1, 10)]


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A dead spool of several segments."""
    with spool(tmp_path / "made", segment=700) as one:
        fill(one, SCRIPT)
    assert len(segments.segments(one.path)) > 2
    return one.path


def daily(store: Store) -> list[tuple[Any, ...]]:
    return [row[len(GROUPS) :] for row in store.daily("0001-01-01", "9999-12-31")]


def test_what_was_written_is_what_the_store_has(full: Path, tmp_path: Path) -> None:
    with sqlite(tmp_path) as store:
        drain = drained(full, store)

        assert ENDS == outcomes(store, full.name)
        assert (9, 0) == (drain.rows, drain.damaged)
        first = every_row(store)[0]
        assert (1, "req_1", 2_500_000, 1234, "provider") == tuple(
            column(first, name) for name in ("sequence", "id", "duration", "cost", "input_provenance")
        )
        assert not full.exists()
        assert [] == store._ask("SELECT * FROM spools") == store._ask("SELECT * FROM running")


def test_a_spool_cut_at_every_byte_gives_every_whole_record_once(full: Path, tmp_path: Path) -> None:
    files = [(number, segments.segment_file(full, number).read_bytes()) for number in segments.segments(full)]
    expected: dict[str, list[tuple[int, str]]] = {}
    with sqlite(tmp_path) as store:
        store._ask("PRAGMA synchronous = OFF")
        before: list[tuple[int, int]] = []
        for number, data in files:
            for cut in range(len(data)):
                name = f"cut-{number}-{cut:05}"
                copy = tmp_path / name
                copy.mkdir()
                for whole, bytes_of_it in files[: number - 1]:
                    segments.segment_file(copy, whole).write_bytes(bytes_of_it)
                segments.segment_file(copy, number).write_bytes(data[:cut])
                seen = before + [one[:2] for one in frames(data[:cut])]
                ended = {sequence for kind, sequence in seen if kind == FIN}
                expected[name] = [
                    (sequence, "completed" if sequence in ended else "unknown")
                    for sequence in sorted({sequence for _, sequence in seen})
                ]
                drained(copy, store)
            before += [one[:2] for one in frames(data)]

        found: dict[str, list[tuple[int, str]]] = {name: [] for name in expected}
        for row in every_row(store):
            found[str(row[0])].append((column(row, "sequence"), column(row, "outcome")))
        assert expected == {name: sorted(ends) for name, ends in found.items()}
        assert sum(map(len, expected.values())) == sum(figures[0] for figures in daily(store))


class Stopped(BaseException):
    """The writer's process is gone."""


class Mortal:
    """Counts what a writer does, and stops it after so much of it."""

    def __init__(self, life: int) -> None:
        self.life = life

    def step(self) -> None:
        if self.life <= 0:
            raise Stopped
        self.life -= 1

    def doing(self, what: Callable[..., Any]) -> Callable[..., Any]:
        def done(*arguments: Any) -> Any:
            self.step()
            return what(*arguments)

        return done


class Statements:
    """A database that dies with its process."""

    def __init__(self, database: Database, mortal: Mortal) -> None:
        self.ask = mortal.doing(database.ask)
        self.insert = mortal.doing(database.insert)
        self.close = database.close
        self.in_transaction = False  # a dead process rolls nothing back


def live(path: Path, file: Path, life: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Carries a spool until the writer dies of so many statements and removals; whether it lived to the end."""
    mortal, store = Mortal(life), Sqlite(str(file))
    store.open()
    database = store._database
    assert database is not None
    store._database = Statements(database, mortal)  # type: ignore[assignment]
    with monkeypatch.context() as patched:
        for name in ("remove_segment", "remove_instance"):
            patched.setattr(segments, name, mortal.doing(getattr(segments, name)))
        try:
            if path.exists():
                drained(path, store)
        except Stopped:
            return False
        finally:
            database.close()
    return True


def test_a_writer_stopped_after_each_of_its_statements(
    full: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stops, lived = 0, False
    while not lived:
        home = tmp_path / f"stopped-{stops}"
        path = home / full.name
        shutil.copytree(full, path)
        lived = live(path, home / "ledger.db", stops, monkeypatch)
        assert live(path, home / "ledger.db", 10_000, monkeypatch)
        with sqlite(home) as store:
            assert (stops, ENDS) == (stops, outcomes(store, full.name))
            assert [9] == [figures[0] for figures in daily(store) if figures[0] != 1] or (
                [1, 8] == sorted(figures[0] for figures in daily(store))
            )
            assert 800 == sum(figures[1] for figures in daily(store))
        stops += 1

    assert stops > 40


def test_a_writer_that_lives_for_one_statement_more_each_time_gets_there(
    full: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for life in range(200):
        if live(full, tmp_path / "ledger.db", life, monkeypatch):
            break

    with sqlite(tmp_path) as store:
        assert ENDS == outcomes(store, full.name)
        assert 9 == sum(figures[0] for figures in daily(store))


def test_rows_are_written_once_even_if_the_store_forgot_how_far_it_was(full: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy" / full.name
    shutil.copytree(full, copy)
    with sqlite(tmp_path) as store:
        drained(full, store)
        before = (every_row(store), daily(store))
        drained(copy, store)

        assert before == (every_row(store), daily(store))


def test_a_spool_that_is_written_to_is_followed(tmp_path: Path) -> None:
    with sqlite(tmp_path) as store:
        with spool(tmp_path / "spool", segment=700) as one:
            drain = Drain(one.path, store)
            assert not drain.step()
            fill(one, "+1 +2 -1")
            drain.step()
            assert [(1, "completed")] == outcomes(store, one.instance)
            fill(one, " ".join(f"+{n} -{n}" for n in range(3, 12)))
            while drain.step():
                pass
            assert 1 == len(segments.segments(one.path))
            assert [1, *range(3, 12)] == [sequence for sequence, _ in outcomes(store, one.instance)]
            assert [(2,)] == store._ask("SELECT sequence FROM running")

            successor = Drain(one.path, store)
            successor.step()
            fill(one, "-2")
            successor.step()
            assert (2, "completed") in outcomes(store, one.instance)
            assert [] == store._ask("SELECT sequence FROM running")
        drained(one.path, store)
        assert [(n, "completed") for n in range(1, 12)] == sorted(outcomes(store, one.instance))


@pytest.mark.parametrize("kind", ["a bit", "a length", "all of it"])
def test_damage_is_counted_and_costs_no_more_than_it_must(kind: str, full: Path, tmp_path: Path) -> None:
    file = segments.segment_file(full, 2)
    data = bytearray(file.read_bytes())
    whole = list(frames(bytes(data)))
    if kind == "a bit":
        data[whole[0][3] + 20] ^= 1
    elif kind == "a length":
        data[whole[0][3] + 3] = 0xFF
    else:
        data[:] = b"\xff" * len(data)
    file.write_bytes(data)

    with sqlite(tmp_path) as store:
        drain = drained(full, store)
        rows = dict(outcomes(store, full.name))

    lost = {"a bit": whole[1:2], "a length": whole[1:], "all of it": whole}[kind]
    ends = [sequence for one, sequence, _, _ in lost if one == FIN]
    assert all(rows.get(sequence) in (None, "unknown") for sequence in ends)
    kept = set(range(1, 10)) - {sequence for _, sequence, _, _ in lost}
    assert kept <= rows.keys()
    if kind == "a bit":
        assert 1 == drain.damaged


def test_a_segment_that_cannot_be_read_to_its_end_is_set_aside(tmp_path: Path) -> None:
    with spool(tmp_path / "spool", size=8 << 20) as one:
        fill(one, "+1 -1")
    file = segments.segment_file(one.path, 1)
    file.write_bytes(file.read_bytes() + b"\xff" * 100_000)

    with sqlite(tmp_path) as store:
        drain = drained(one.path, store)

        assert [(1, "completed")] == outcomes(store, one.instance)
    assert 1 == drain.damaged
    assert [f"{one.instance}-00000001.damaged"] == [path.name for path in (tmp_path / "spool").iterdir()]


def test_hostile_figures_stop_at_the_end_of_their_column(tmp_path: Path) -> None:
    most = 2**63 - 1
    with spool(tmp_path / "spool") as one:
        for number in range(1, 4):
            one.admit(frame(number, admitted(number)))
            one.finish(frame(number, finished(number, input_tokens=2**53 - 1, cost=most, credits=most)))

    with sqlite(tmp_path) as store:
        drained(one.path, store)
        with spool(tmp_path / "spool") as other:
            other.finish(frame(4, finished(4, cost=most, credits=1)))
        drained(other.path, store)

        assert [(4, 3 * (2**53 - 1) + 100, most, most)] == [(row[0], row[1], row[6], row[7]) for row in daily(store)]
