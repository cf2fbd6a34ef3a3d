"""What a store can do, and what is written to one.

Rules: a method blocks, so nobody calls one on an event loop; each may be called again after a StoreError. A batch is
written whole or not at all, and any number of times with the same result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import resources
from itertools import count
from operator import add, itemgetter
from typing import Any, Protocol

import msgspec

from sluicegate.store.keys import KeyStore

#: A row's values, each text, a whole number or None.
Row = tuple[Any, ...]

#: The columns of a row, in the order of its values.
COLUMNS: tuple[str, ...] = (
    *("instance", "sequence", "received_at", "id", "upstream_request_id", "endpoint", "stream", "duration"),
    *("caller", "caller_group", "requested_model", "model", "target", "upstream_model", "credential", "attempts"),
    *("status", "error_code", "outcome"),
    *("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens"),
    *("input_provenance", "output_provenance", "cost", "credits", "price", "configuration"),
    *("first_content", "bytes_in", "bytes_out", "upstream_bytes_in", "upstream_bytes_out"),
)
#: What each row has of its own. Of the others there are as many different ones as kinds of requests.
OWN: tuple[str, ...] = (
    *("sequence", "received_at", "id", "upstream_request_id", "duration"),
    *("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens", "cost", "credits"),
    *("first_content", "bytes_in", "bytes_out", "upstream_bytes_in", "upstream_bytes_out"),
)
SAME: tuple[str, ...] = tuple(name for name in COLUMNS if name not in OWN)
#: What the sums of a day are kept for, and the figures that are summed.
GROUPS: tuple[str, ...] = ("day", "model", "target", "caller", "caller_group")
FIGURES: tuple[str, ...] = (
    *("requests", "input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens"),
    *("cost", "credits", "unpriced"),
)
#: Where a sum stops: a column holds no more.
MOST = 2**63 - 1

_SEQUENCE, _RECEIVED = COLUMNS.index("sequence"), COLUMNS.index("received_at")
_OF_SAME, _OF_OWN = (itemgetter(*map(COLUMNS.index, names)) for names in (SAME, OWN))
#: Where in (*SAME, *OWN) each column stands.
_SPREAD = itemgetter(*map((SAME + OWN).index, COLUMNS))
_OWN_RECEIVED, _OWN_COST = OWN.index("received_at"), OWN.index("cost")
_GROUP_BY = itemgetter(*(SAME.index(name) for name in GROUPS[1:]))
_SUMMED = [OWN.index(name) for name in FIGURES[1:8]]
_DAY = 86_400_000_000


class StoreError(Exception):
    """The store did not do it: it is away, full, read-only, or broken. The words are for the operator's log."""


class Place(msgspec.Struct, frozen=True, order=True):
    """How far a spool has been read: a segment and the bytes of it."""

    segment: int = 0
    offset: int = 0


class Alike(msgspec.Struct, frozen=True):
    """Rows of one day (UTC) that differ in nothing but OWN: the values of SAME, and each column of OWN.

    A column is None where no row has a value: where one has, all have.
    """

    same: Row
    own: tuple[list[Any] | None, ...]

    @property
    def sequences(self) -> list[int]:
        """Give the sequence of each."""
        return self.own[0] or []

    def __len__(self) -> int:
        return len(self.sequences)

    def rows(self) -> list[Row]:
        """Give them one by one."""
        columns = [[None] * len(self) if column is None else column for column in self.own]
        return [_SPREAD((*self.same, *values)) for values in zip(*columns, strict=True)]


class Batch(msgspec.Struct, frozen=True):
    """What one spool has for the store. ``running`` and ``settled`` are sequences whose admission outlives its file."""

    instance: str
    rows: Sequence[Alike]
    place: Place
    running: Mapping[int, bytes] = {}
    settled: Sequence[int] = ()


class Store(KeyStore, Protocol):
    """Where rows are kept, and keys. Every method raises StoreError."""

    def open(self) -> None:
        """Connect, and bring the tables to this version. Does nothing while connected."""

    def write(self, batch: Batch) -> None:
        """Write a batch in one transaction; rows that are there already are left as they are, and not summed again."""

    def place(self, instance: str) -> Place:
        """Say how far a spool has been read."""

    def running(self, instance: str) -> dict[int, bytes]:
        """Give the admissions whose files are gone and whose requests have not ended."""

    def forget(self, instance: str) -> None:
        """Drop what is kept of a spool that is gone."""

    def remember_prices(self, prices: Mapping[str, str]) -> None:
        """Keep prices (JSON) by version; those that are there stay as they are."""

    def prices(self) -> dict[str, str]:
        """Give every price that is kept, by version."""

    def expire(self, before: int) -> int:
        """Delete rows received before so many microseconds since 1970; gives how many. The sums of days stay."""

    def daily(self, since: str, until: str) -> list[Row]:
        """Give the sums of the days from ``since`` to ``until``, both included: GROUPS, then FIGURES."""

    def daily_of(self, caller: str, since: str, until: str) -> list[Row]:
        """Give as :meth:`daily` does, of one caller alone."""

    def rows(self, since: int, until: int, limit: int, after: tuple[int, str, int] | None = None) -> list[Row]:
        """Give rows received from ``since`` until before ``until`` (microseconds), in the order of their keys.

        ``after`` is the key (received_at, instance, sequence) of the last row one has.
        """

    def close(self) -> None:
        """Disconnect. May be called twice."""


def alike(rows: Iterable[Row]) -> list[Alike]:
    """Put rows together that are alike."""
    found: dict[tuple[int, Row, Row], list[Row]] = {}
    for row in rows:
        own = _OF_OWN(row)
        key = row[_RECEIVED] // _DAY, tuple(value is None for value in own), _OF_SAME(row)
        found.setdefault(key, []).append(own)
    return [
        Alike(same, tuple(None if column[0] is None else list(column) for column in zip(*own, strict=True)))
        for (_, _, same), own in found.items()
    ]


def daily_sums(rows: Iterable[Alike]) -> list[Row]:
    """Sum rows by day and group: GROUPS, then FIGURES."""
    sums: dict[tuple[str, ...], Sequence[int]] = {}
    days: dict[int, str] = {}
    for some in rows:
        received = some.own[_OWN_RECEIVED] or [0]
        number = received[0] // _DAY
        key = (days.get(number) or days.setdefault(number, _day(number)), *_GROUP_BY(some.same))
        figures = [sum(some.own[place] or ()) for place in _SUMMED]
        added = (len(some), *figures, len(some) if some.own[_OWN_COST] is None else 0)
        known = sums.get(key)
        sums[key] = added if known is None else [*map(add, known, added)]
    # In one order everywhere: two writers of one database never wait for each other in a circle.
    return [(*key, *(min(figure, MOST) for figure in sums[key])) for key in sorted(sums)]


def key_of(row: Row) -> tuple[int, str, int]:
    """Give what a row is known by: received_at, instance, sequence."""
    return row[_RECEIVED], row[0], row[_SEQUENCE]


def _day(number: int) -> str:
    return datetime.fromtimestamp(number * 86_400, UTC).date().isoformat()


def without(rows: Sequence[Row], known: set[tuple[int, str, int]]) -> list[Row]:
    """Give the rows whose keys are not known."""
    return [row for row in rows if key_of(row) not in known]


def migrations(dialect: str) -> list[list[str]]:
    """Give the statements of each migration, the first at place 0. A line after ``--DIALECT:`` is for that one only."""
    folder = resources.files("sluicegate.store").joinpath("migrations")
    found: list[list[str]] = []
    for number in count(1):
        file = folder.joinpath(f"{number:03}.sql")
        if not file.is_file():
            return found
        found.append(_statements(file.read_text(encoding="utf-8"), f"--{dialect}:"))
    raise AssertionError  # count() has no end


def _statements(text: str, own: str) -> list[str]:
    lines = [line.removeprefix(own) if line.startswith(own) else line.partition("--")[0] for line in text.splitlines()]
    return [statement for part in "\n".join(lines).split(";") if (statement := part.strip())]


#: Adds a day's sums to those that are there. Written so that no sum can leave its column's range.
ADD_DAILY = (
    f"INSERT INTO daily ({', '.join(GROUPS + FIGURES)}) VALUES ({{values}}) "  # noqa: S608  # names of our own
    f"ON CONFLICT ({', '.join(GROUPS)}) DO UPDATE SET "
    + ", ".join(
        f"{name} = CASE WHEN daily.{name} > {MOST} - excluded.{name} THEN {MOST} "
        f"ELSE daily.{name} + excluded.{name} END"
        for name in FIGURES
    )
)
