"""What a store can do, and what is written to one.

Rules: a method blocks, so nobody calls one on an event loop; each may be called again after a StoreError. A batch is
written whole or not at all, and any number of times with the same result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import resources
from typing import Any, Protocol

import msgspec

from sluicegate._native import Ends
from sluicegate.store.keys import KeyStore

#: A row's values, each text, a whole number or None.
Row = tuple[Any, ...]

#: The columns of a row, in the order of its values: which record of which spool, what a row has of its own, and what it
#: has in common with others of its kind.
OWN: tuple[str, ...] = (
    *("received_at", "id", "upstream_request_id", "duration", "attempts"),
    *("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens", "cost", "credits"),
    *("first_content", "bytes_in", "bytes_out", "upstream_bytes_in", "upstream_bytes_out"),
)
SAME: tuple[str, ...] = (
    *("endpoint", "stream", "caller", "caller_group", "requested_model", "model", "target", "upstream_model"),
    *("credential", "status", "error_code", "outcome", "input_provenance", "output_provenance", "price"),
    "configuration",
)
COLUMNS: tuple[str, ...] = ("instance", "sequence", *OWN, *SAME)
#: What the sums of a day are kept for, and the figures that are summed.
GROUPS: tuple[str, ...] = ("day", "model", "target", "caller", "caller_group")
FIGURES: tuple[str, ...] = (
    *("requests", "input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens"),
    *("cost", "credits", "unpriced"),
)
#: Where a sum stops: a column holds no more.
MOST = 2**63 - 1


class StoreError(Exception):
    """The store did not do it: it is away, full, read-only, or broken. The words are for the operator's log."""


class Place(msgspec.Struct, frozen=True, order=True):
    """How far a spool has been read: a segment and the bytes of it."""

    segment: int = 0
    offset: int = 0


class Batch(msgspec.Struct, frozen=True):
    """What one spool has for the store. ``running`` and ``settled`` are sequences whose admission outlives its file."""

    instance: str
    ends: Ends | None
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


def daily(sums: Iterable[Row]) -> list[Row]:
    """Give sums as they stand in the table: GROUPS, then FIGURES; their days come as numbers, since 1970."""
    return [(datetime.fromtimestamp(day * 86_400, UTC).date().isoformat(), *rest) for day, *rest in sums]


def key_of(row: Row) -> tuple[int, str, int]:
    """Give what a row is known by: received_at, instance, sequence."""
    return row[2], row[0], row[1]


def migrations(dialect: str) -> list[list[str]]:
    """Give the statements of each migration, the first at place 0.

    ``NUMBER.DIALECT.sql`` is of that one only, as is what stands behind ``--DIALECT:`` in a line of another.
    """
    folder = resources.files("sluicegate.store").joinpath("migrations")
    found: dict[str, list[str]] = {}
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        number, *of, suffix = file.name.split(".")
        if suffix == "sql":
            statements = found.setdefault(number, [])
            if of in ([], [dialect]):
                statements += _statements(file.read_text(encoding="utf-8"), f"--{dialect}:")
    return list(found.values())


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
