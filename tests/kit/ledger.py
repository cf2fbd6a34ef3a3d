"""Records as the gateway leaves them, spools full of them, and what a store then says.

Records are written and read here by hand: what the gateway makes of them, and of them alone, is compared with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import Struct
from typing import Any
from zlib import crc32

import msgspec

from sluicegate._native import Ends
from sluicegate.ledger.drain import Drain
from sluicegate.ledger.spool import Spool
from sluicegate.store.interface import COLUMNS, Row, Store
from sluicegate.store.sqlite import Sqlite

#: Kinds of records, and their frames: length and CRC, then kind and sequence.
ADM, FIN = 0x11, 0x13
_HEAD, _KIND, _BOTH = Struct("<II"), Struct("<BQ"), Struct("<IIBQ")
#: A frame as read: its kind (0 if it is damaged), its sequence, the record's bytes, and where it ends.
Frame = tuple[int, int, bytes, int]


class Admitted(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A request that may be served, before it goes anywhere. ``received_at`` is in microseconds since 1970."""

    received_at: int
    id: str
    endpoint: str
    stream: bool
    caller: str
    caller_group: str
    requested_model: str
    model: str
    configuration: str


class Finished(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A request that has ended. Fields are the store's columns but the first two, in their order."""

    received_at: int
    id: str
    upstream_request_id: str
    duration: int
    attempts: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cost: int | None
    credits: int | None
    first_content: int | None
    bytes_in: int
    bytes_out: int
    upstream_bytes_in: int
    upstream_bytes_out: int
    endpoint: str
    stream: bool
    caller: str
    caller_group: str
    requested_model: str
    model: str
    target: str
    upstream_model: str
    credential: str
    status: int
    error_code: str
    outcome: str
    input_provenance: str
    output_provenance: str
    price: str
    configuration: str


def frame(sequence: int, record: Admitted | Finished) -> bytes:
    """The bytes of a record in a spool."""
    return framed(FIN if isinstance(record, Finished) else ADM, sequence, msgspec.msgpack.encode(record))


def framed(kind: int, sequence: int, packed: bytes) -> bytes:
    """The bytes of whatever stands in a record's place."""
    body = _KIND.pack(kind, sequence) + packed
    return _HEAD.pack(len(body), crc32(body)) + body


def frames(data: bytes) -> Iterator[Frame]:
    """The frames of ``data`` that are whole."""
    place, size = 0, len(data)
    while place + _BOTH.size <= size:
        length, check, kind, sequence = _BOTH.unpack_from(data, place)
        end = place + _HEAD.size + length
        if end > size:
            return
        agrees = crc32(data[place + _HEAD.size : end]) == check
        yield kind if agrees else 0, sequence, data[place + _BOTH.size : end], end
        place = end


def read_admitted(record: bytes) -> Admitted:
    """An admission by its record's bytes."""
    return msgspec.msgpack.decode(record, type=Admitted)


def read_finished(record: bytes) -> Finished:
    """An end by its record's bytes."""
    return msgspec.msgpack.decode(record, type=Finished)


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
            into.admit(frame(number, admitted(number)))
        else:
            into.finish(frame(number, finished(number)))


def ends(rows: Iterable[Row]) -> Ends:
    """Rows of the store's columns, all of the first one's instance, as its spool would bring them."""
    found = list(rows)
    named = [dict(zip(COLUMNS, row, strict=True)) for row in found]
    made = [
        frame(row.pop("sequence"), Finished(**row))
        for row in (row | {"stream": bool(row["stream"])} for row in named)
        if row.pop("instance") is not None
    ]
    return Ends(b"".join(made), found[0][0])


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
