"""Records as the gateway leaves them, spools full of them, and what a store then says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from sluicegate.ledger.drain import Drain
from sluicegate.ledger.records import Admitted, Finished
from sluicegate.ledger.spool import Spool
from sluicegate.store.interface import COLUMNS, Row, Store
from sluicegate.store.sqlite import Sqlite

NOON = 1_795_348_800_000_000
"""2026-11-22 12:00 UTC, in microseconds."""
ADMITTED = Admitted(
    received_at=NOON,
    id="req_1",
    endpoint="chat_completions",
    stream=True,
    caller="dev",
    caller_group="",
    requested_model="fast",
    model="fast",
    configuration="abc",
)
FINISHED = Finished(
    received_at=NOON,
    id="req_1",
    upstream_request_id="up_1",
    endpoint="chat_completions",
    stream=True,
    duration=2_500_000,
    caller="dev",
    caller_group="",
    requested_model="fast",
    model="fast",
    target="a/small",
    upstream_model="small",
    credential="",
    attempts="",
    status=200,
    error_code="",
    outcome="completed",
    input_tokens=100,
    output_tokens=50,
    cached_tokens=20,
    cache_write_tokens=5,
    reasoning_tokens=10,
    input_provenance="provider",
    output_provenance="provider",
    cost=1234,
    credits=2,
    price="p1",
    configuration="abc",
    first_content=50_000,
    bytes_in=300,
    bytes_out=9000,
    upstream_bytes_in=9500,
    upstream_bytes_out=400,
)


def admitted(number: int, **changes: Any) -> Admitted:
    """The admission of a request of that number."""
    return msgspec.structs.replace(
        ADMITTED, **{"id": f"req_{number}", "received_at": NOON + number * 1_000_000, **changes}
    )


def finished(number: int, **changes: Any) -> Finished:
    """Its end."""
    return msgspec.structs.replace(
        FINISHED, **{"id": f"req_{number}", "received_at": NOON + number * 1_000_000, **changes}
    )


class Lost:
    """How many rows a spool gave up."""

    def __init__(self) -> None:
        self.rows = 0

    def __call__(self, rows: int) -> None:
        self.rows += rows


@contextmanager
def spool(folder: Path, **settings: Any) -> Iterator[Spool]:
    """A spool whose owner is dead after the block."""
    made = Spool(folder, **{"size": 1 << 20, "fsync": "never", "interval": 60.0, "lost": Lost(), **settings})
    try:
        yield made
    finally:
        made.close()


def fill(into: Spool, script: str) -> None:
    """Writes records as a script says: `+1` admits request 1, `-1` finishes it."""
    for word in script.split():
        number = int(word[1:])
        if word[0] == "+":
            into.admit(number, admitted(number))
        else:
            into.finish(number, finished(number))


def drained(path: Path, store: Store) -> Drain:
    """Carries a dead spool to its end."""
    drain = Drain(path, store)
    while not drain.gone:
        drain.step()
    return drain


def every_row(store: Store) -> list[Row]:
    """All rows of a store."""
    return store.rows(0, 2**62, 1 << 20)


def column(row: Row, name: str) -> Any:
    """One value of a row."""
    return row[COLUMNS.index(name)]


def outcomes(store: Store, instance: str) -> list[tuple[int, str]]:
    """The sequence and outcome of every row that came from a spool."""
    return [(column(row, "sequence"), column(row, "outcome")) for row in every_row(store) if row[0] == instance]


@contextmanager
def sqlite(folder: Path) -> Iterator[Sqlite]:
    """A store in a file there."""
    store = Sqlite(str(folder / "ledger.db"))
    store.open()
    try:
        yield store
    finally:
        store.close()
