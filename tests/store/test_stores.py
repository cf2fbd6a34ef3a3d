"""What both stores do alike: rows once, sums that are right, places that move with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import msgspec
import pytest
from tests.kit.ledger import NOON, column, drained, ends, every_row, fill, finished, outcomes, spool
from tests.kit.postgres import Server, server

from sluicegate._native import Database
from sluicegate.store.interface import COLUMNS, GROUPS, Batch, Place, Row, Store, StoreError, migrations
from sluicegate.store.keys import KeyRecord
from sluicegate.store.postgres import Postgres
from sluicegate.store.sqlite import Sqlite

Make = Callable[[], Store]
DAY = 86_400_000_000


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    with server() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgres"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes stores of the same rows; all are closed at the end."""
    made: list[Store] = []
    if request.param == "sqlite":
        where = str(tmp_path / "it's ünusual.db")
    else:
        running: Server = request.getfixturevalue("postgres")
        where = running.database(f"test{next(NUMBERS)}")

    def one() -> Store:
        made.append(Sqlite(where) if request.param == "sqlite" else Postgres(where))
        made[-1].open()
        return made[-1]

    yield one
    for store in made:
        store.close()


NUMBERS = count()


def row(number: int, **changes: object) -> Row:
    """The row of a request of that number."""
    values = finished(number)
    named = {name: getattr(values, name, None) for name in COLUMNS} | {"instance": "i", "sequence": number} | changes
    return tuple(named[name] for name in COLUMNS)


def sums(store: Store) -> dict[tuple[str, ...], tuple[int, ...]]:
    return {tuple(one[: len(GROUPS)]): tuple(one[len(GROUPS) :]) for one in store.daily("0001-01-01", "9999-12-31")}


def test_rows_come_back_as_they_were_written(make: Make) -> None:
    rows = [
        row(1),
        row(2, cost=None, credits=None, first_content=None, price=""),
        row(3, requested_model="ünïcode \N{SNOWMAN} ' \" ; DROP TABLE requests --", attempts='[{"a": 1}]'),
        row(4, input_tokens=2**53 - 1, cost=2**63 - 1, credits=2**63 - 1),
    ]
    store = make()
    store.write(Batch("i", ends(rows), Place(1, 100)))

    assert rows == every_row(make())
    assert Place(1, 100) == make().place("i")


def test_a_batch_written_twice_is_there_once(make: Make) -> None:
    store = make()
    store.write(Batch("i", ends([row(1), row(2)]), Place(1, 100)))
    store.write(Batch("i", ends([row(1), row(2), row(3)]), Place(1, 150)))

    assert [1, 2, 3] == [column(one, "sequence") for one in every_row(store)]
    assert {("2026-11-22", "fast", "a/small", "dev", ""): (3, 300, 150, 60, 15, 30, 3702, 6, 0)} == sums(store)


def test_the_same_request_id_twice_is_two_rows(make: Make) -> None:
    store = make()
    store.write(Batch("i", ends([row(1, id="same"), row(2, id="same")]), Place(1, 1)))

    assert ["same", "same"] == [column(one, "id") for one in every_row(store)]


def test_sums_are_kept_apart_by_day_model_target_and_caller(make: Make) -> None:
    store = make()
    midnight = NOON - NOON % DAY + DAY
    store.write(
        Batch(
            "i",
            ends(
                [
                    row(1, received_at=midnight - 1),
                    row(2, received_at=midnight),
                    row(3, received_at=midnight, caller="other"),
                    row(4, received_at=midnight, target="b/small"),
                    row(5, received_at=midnight, model="*", cost=None, credits=None),
                    row(6, received_at=midnight, caller_group="g"),
                ]
            ),
            Place(1, 1),
        )
    )

    assert {
        ("2026-11-22", "fast", "a/small", "dev", ""): (1, 100, 50, 20, 5, 10, 1234, 2, 0),
        ("2026-11-23", "fast", "a/small", "dev", ""): (1, 100, 50, 20, 5, 10, 1234, 2, 0),
        ("2026-11-23", "fast", "a/small", "other", ""): (1, 100, 50, 20, 5, 10, 1234, 2, 0),
        ("2026-11-23", "fast", "b/small", "dev", ""): (1, 100, 50, 20, 5, 10, 1234, 2, 0),
        ("2026-11-23", "*", "a/small", "dev", ""): (1, 100, 50, 20, 5, 10, 0, 0, 1),
        ("2026-11-23", "fast", "a/small", "dev", "g"): (1, 100, 50, 20, 5, 10, 1234, 2, 0),
    } == sums(store)
    assert 1 == len(store.daily("2026-11-22", "2026-11-22"))


def test_sums_stop_where_their_column_ends(make: Make) -> None:
    most = 2**63 - 1
    store = make()
    for place in range(3):
        store.write(Batch("i", ends([row(place, cost=most, credits=most)]), Place(1, place)))

    (figures,) = sums(store).values()
    assert (3, 300, most, most) == (figures[0], figures[1], figures[6], figures[7])


def test_old_rows_go_and_the_sums_of_their_days_stay(make: Make) -> None:
    store = make()
    store.write(
        Batch("i", ends([row(number, received_at=NOON + number // 3) for number in range(12_000)]), Place(1, 1))
    )

    assert 11_400 == store.expire(NOON + 3800)
    assert (NOON + 3800, 600) == (column(every_row(store)[0], "received_at"), len(every_row(store)))
    assert 12_000 == next(iter(sums(store).values()))[0]
    assert 0 == store.expire(NOON + 3800)


def test_rows_are_read_page_by_page(make: Make) -> None:
    store = make()
    rows = [row(number, received_at=NOON + number // 4) for number in range(10)]
    store.write(Batch("i", ends(rows), Place(1, 1)))

    page, found = store.rows(NOON, NOON + 10, 3), []
    while page:
        found += page
        last = page[-1]
        key = (column(last, "received_at"), str(last[0]), column(last, "sequence"))
        page = store.rows(NOON, NOON + 10, 3, key)
    assert rows == found
    assert rows[4:8] == store.rows(NOON + 1, NOON + 2, 100)


def test_prices_are_kept_as_they_first_were(make: Make) -> None:
    store = make()
    store.remember_prices({"a": "1", "b": "2"})
    make().remember_prices({"b": "other", "c": "3"})

    assert {"a": "1", "b": "2", "c": "3"} == store.prices()


def test_a_spool_goes_in(make: Make, tmp_path: Path) -> None:
    with spool(tmp_path / "spool", segment=700) as one:
        fill(one, "+1 +2 -2 +3 -3 +4 +5 -5 +6 -6 -1 +7")
    store = make()
    drained(one.path, store)

    assert [(n, "completed" if n in (1, 2, 3, 5, 6) else "unknown") for n in range(1, 8)] == sorted(
        outcomes(store, one.instance)
    )
    assert Place() == store.place(one.instance)
    assert {} == store.running(one.instance)


def test_what_still_runs_is_kept_and_forgotten(make: Make) -> None:
    store = make()
    store.write(Batch("i", None, Place(2, 0), running={1: b"\x00one", 2: b"two"}))
    store.write(Batch("i", None, Place(2, 0), running={2: b"other"}))
    assert {1: b"\x00one", 2: b"two"} == store.running("i")
    store.write(Batch("i", None, Place(2, 9), settled=[1, 7]))
    assert {2: b"two"} == store.running("i")
    store.forget("i")
    assert ({}, Place()) == (store.running("i"), store.place("i"))


def test_a_closed_store_says_so_and_opens_again(make: Make) -> None:
    store = make()
    store.close()
    store.close()
    with pytest.raises(StoreError):
        store.place("i")
    store.open()
    assert Place() == store.place("i")


def test_both_dialects_have_the_same_tables_but_for_the_rows_of_the_third_migration() -> None:
    sqlite, postgres = migrations("sqlite"), migrations("postgres")

    assert [[one.replace("\n WITHOUT ROWID", "") for one in part] for part in sqlite[:2]] == postgres[:2]
    assert 2 == sum(one.endswith("WITHOUT ROWID") for part in sqlite[:2] for one in part)
    assert ([True], [[]]) == ([bool(part) for part in sqlite[2:]], postgres[2:])


def test_a_ledger_of_an_older_version_keeps_its_rows(tmp_path: Path) -> None:
    file = tmp_path / "old.db"
    rows = [row(number, status=200 + number % 3, cost=number % 2 or None) for number in range(1, 40)]
    old = Database(file, True, 1.0)
    for statement in [one for part in migrations("sqlite")[:2] for one in part]:
        old.ask(statement)
    for values in rows:
        old.ask(f"INSERT INTO requests ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})", values)
    old.ask("PRAGMA user_version = 2")
    old.close()

    store = Sqlite(str(file))
    store.open()
    store.write(Batch("i", ends([*rows, row(40)]), Place(1, 1)))

    assert [*rows, row(40)] == every_row(store)
    assert [(3, "fast", NOON // DAY)] == store._ask(
        "SELECT count(*), model, last_day FROM kinds GROUP BY model, last_day"
    )
    store.close()


def test_kinds_of_rows_go_with_the_last_of_them(tmp_path: Path) -> None:
    store = Sqlite(str(tmp_path / "kinds.db"))
    store.open()
    first = [row(1, received_at=NOON), row(2, received_at=NOON, caller="gone"), row(3, received_at=NOON + 2 * DAY)]
    store.write(Batch("i", ends(first), Place(1, 1)))

    assert 2 == store.expire(NOON + DAY)
    assert [("dev", NOON // DAY + 2)] == store._ask("SELECT caller, last_day FROM kinds")
    assert first[2:] == every_row(store)
    store.write(Batch("i", ends([row(4, received_at=NOON + DAY), row(5, caller="gone")]), Place(1, 2)))
    assert [("dev", NOON // DAY + 2), ("gone", NOON // DAY)] == store._ask("SELECT caller, last_day FROM kinds")
    assert [5, 4, 3] == [column(one, "sequence") for one in every_row(store)]
    store.close()


def test_postgresql_holds_no_nul_and_loses_no_row_for_one(postgres: Server) -> None:
    store = Postgres(postgres.database(f"test{next(NUMBERS)}"))
    store.open()
    store.write(Batch("i", ends([row(1, requested_model="a\0b")]), Place(1, 1)))

    assert ["a\N{REPLACEMENT CHARACTER}b"] == [column(one, "requested_model") for one in every_row(store)]
    store.close()


def test_a_server_that_went_and_came_back(postgres: Server) -> None:
    store = Postgres(postgres.database(f"test{next(NUMBERS)}"))
    store.open()
    postgres.stop()
    with pytest.raises(StoreError):
        store.write(Batch("i", ends([row(1)]), Place(1, 1)))
    store.close()
    with pytest.raises(StoreError):
        store.open()
    postgres.start()
    store.open()
    store.write(Batch("i", ends([row(1)]), Place(1, 1)))

    assert 1 == len(every_row(store))
    store.close()


def test_a_store_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    store = Sqlite(str(tmp_path / "new.db"))
    store.open()
    store._ask("PRAGMA user_version = 99")
    store.close()

    with pytest.raises(StoreError, match="written by a newer version: 99"):
        store.open()


@pytest.mark.parametrize("name", [":memory:", "file:x.db?mode=ro", "\udcff.db", "%41.db"])
def test_a_file_may_have_any_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    known: list[dict[str, str]] = []
    for prices in ({"a": "1"}, {"b": "2"}):
        store = Sqlite(name)
        store.open()
        store.remember_prices(prices)
        known.append(store.prices())
        store.close()
    assert [{"a": "1"}, {"a": "1", "b": "2"}] == known
    assert [name] == [file.name for file in tmp_path.iterdir()]


def test_a_file_that_must_be_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="unable to open database file"):
        Sqlite(str(tmp_path / "none.db"), create=False).open()
    assert [] == list(tmp_path.iterdir())


def key(name: str, **changes: object) -> KeyRecord:
    """A key's record; its digest is as good as its name."""
    return msgspec.structs.replace(
        KeyRecord(name=name, digest=name.encode().hex(), shown="sk-sg-abcd", created=NOON), **changes
    )


def test_keys_are_read_on_from_a_version(make: Make) -> None:
    store, other = make(), make()
    assert (0, []) == (store.keys_version(), store.keys(0))
    full = key("full", key_group="blue", models='["a/*"]', limits='{"a":1}', rotated=NOON, expires=NOON, former="00")
    assert [store.write_key(key("one"), 0), other.write_key(full, 0)] == [True, True]
    one, two = other.keys(0)

    assert (key("one", version=one.version), msgspec.structs.replace(full, version=two.version)) == (one, two)
    assert (two.version, [two], []) == (store.keys_version(), store.keys(one.version), store.keys(two.version))
    assert other.write_key(msgspec.structs.replace(one, revoked=NOON), one.version)
    assert ["one"] == [record.name for record in store.keys(two.version)]


def test_of_two_changes_of_a_key_the_second_is_told(make: Make) -> None:
    store, other = make(), make()
    assert store.write_key(key("one"), 0)
    (seen,) = other.keys(0)
    assert store.write_key(msgspec.structs.replace(seen, revoked=NOON), seen.version)

    assert not other.write_key(msgspec.structs.replace(seen, key_group="blue"), seen.version)
    assert not other.write_key(key("one"), 0)
    assert [NOON] == [record.revoked for record in other.keys(0)]


def test_what_one_caller_used_is_its_own(make: Make) -> None:
    store = make()
    rows = [row(1), row(2, caller="other"), row(3)]
    store.write(Batch("i", ends(rows), Place(1, 1)))

    (found,) = store.daily_of("dev", "2026-11-22", "2026-11-22")
    assert ("dev", 2) == (found[GROUPS.index("caller")], found[len(GROUPS)])
    assert [] == store.daily_of("dev", "2026-11-23", "2026-12-31")
