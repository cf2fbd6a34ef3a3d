"""The ledger in an SQLite file: the default, nothing to install.

Rules: write-ahead log, so that people can read while we write; a commit is on the disk before it is believed, since the
spool's files are removed after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import count
from pathlib import Path
import sqlite3

from sluicegate.store.interface import (
    ADD_DAILY,
    COLUMNS,
    FIGURES,
    GROUPS,
    OWN,
    SAME,
    Alike,
    Batch,
    Place,
    Row,
    StoreError,
    alike,
    daily_sums,
    key_of,
    migrations,
    without,
)
from sluicegate.store.keys import GET_KEYS, KEY_COLUMNS, LAST_CHANGE, PUT_KEY, KeyRecord, key_record, key_values

#: Seconds to wait for somebody else's transaction.
_PATIENCE = 5.0
#: Rows deleted in one transaction: about 20 ms.
_AT_ONCE = 5000

#: Rows inserted by one statement, where there are so many that are alike: what they have in common is bound once, and
#: Python's lock, which the event loop wants, is let go of and taken again once. Every SQLite takes 999 values at once.
#: A few are inserted by a statement of their number.
_MANY, _FEW = 48, 8
#: In the order of the table, which saves SQLite a copy.
_IN_TABLE = ("received_at", "instance", "sequence", *COLUMNS[3:])
_ADD = ADD_DAILY.format(values=", ".join("?" * len(GROUPS + FIGURES)))
_HAS = "SELECT 1 FROM requests WHERE received_at = ? AND instance = ? AND sequence = ?"
_MOVE = (
    "INSERT INTO spools (instance, segment, place) VALUES (?, ?, ?) "
    "ON CONFLICT (instance) DO UPDATE SET segment = excluded.segment, place = excluded.place"
)


class Sqlite:
    """A store in a file, which is made if it is not there (not so its folder). ``create=False``: it must be there."""

    def __init__(self, path: str, *, create: bool = True) -> None:
        self._path = path
        self._create = create
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Connect, and bring the tables to this version."""
        if self._connection is not None:
            return
        mode = "rwc" if self._create else "rw"
        with _named():
            connection = sqlite3.connect(
                f"{Path(self._path).absolute().as_uri()}?mode={mode}",
                uri=True,
                timeout=_PATIENCE,
                isolation_level=None,
                check_same_thread=False,  # one thread at a time: the writer's, then whoever closes
            )
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
        self._connection = connection

    @staticmethod
    def _prepare(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        known = migrations("sqlite")
        if _version(connection, len(known)) == len(known):
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statements in known[_version(connection, len(known)) :]:
                for statement in statements:
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(known)}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    def write(self, batch: Batch) -> None:
        """Write a batch in one transaction."""
        with self._transaction() as connection:
            rows = self._insert(connection, batch.rows)
            connection.executemany(_ADD, daily_sums(rows))
            connection.executemany(
                "INSERT OR IGNORE INTO running (instance, sequence, record) VALUES (?, ?, ?)",
                [(batch.instance, sequence, record.hex()) for sequence, record in batch.running.items()],
            )
            connection.executemany(
                "DELETE FROM running WHERE instance = ? AND sequence = ?",
                [(batch.instance, sequence) for sequence in batch.settled],
            )
            connection.execute(_MOVE, (batch.instance, batch.place.segment, batch.place.offset))

    @staticmethod
    def _insert(connection: sqlite3.Connection, rows: Sequence[Alike]) -> Sequence[Alike]:
        """Insert rows and give those that were new."""
        connection.execute("SAVEPOINT rows")
        if all(_insert_alike(connection, some) == len(some) for some in rows):
            return rows
        connection.execute("ROLLBACK TO rows")
        single = [row for some in rows for row in some.rows()]
        known = {key for row in single if connection.execute(_HAS, key := key_of(row)).fetchone()}
        new = alike(without(single, known))
        for some in new:
            _insert_alike(connection, some)
        return new

    def place(self, instance: str) -> Place:
        """Say how far a spool has been read."""
        found = self._ask("SELECT segment, place FROM spools WHERE instance = ?", (instance,))
        return Place(*found[0]) if found else Place()

    def running(self, instance: str) -> dict[int, bytes]:
        """Give the admissions whose files are gone and whose requests have not ended."""
        found = self._ask("SELECT sequence, record FROM running WHERE instance = ?", (instance,))
        return {sequence: bytes.fromhex(record) for sequence, record in found}

    def forget(self, instance: str) -> None:
        """Drop what is kept of a spool that is gone."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM spools WHERE instance = ?", (instance,))
            connection.execute("DELETE FROM running WHERE instance = ?", (instance,))

    def remember_prices(self, prices: Mapping[str, str]) -> None:
        """Keep prices (JSON) by version."""
        with self._transaction() as connection:
            connection.executemany("INSERT OR IGNORE INTO prices (version, price) VALUES (?, ?)", prices.items())

    def prices(self) -> dict[str, str]:
        """Give every price that is kept, by version."""
        return dict(self._ask("SELECT version, price FROM prices"))

    def expire(self, before: int) -> int:
        """Delete rows received before so many microseconds since 1970; gives how many."""
        deleted = 0
        while True:
            found = self._ask("SELECT received_at FROM requests ORDER BY received_at LIMIT 1 OFFSET ?", (_AT_ONCE,))
            until = min(before, found[0][0] + 1) if found else before
            with self._transaction() as connection:
                deleted += connection.execute("DELETE FROM requests WHERE received_at < ?", (until,)).rowcount
            if until == before:
                return deleted

    def daily(self, since: str, until: str) -> list[Row]:
        """Give the sums of days."""
        columns = ", ".join(GROUPS + FIGURES)
        return self._ask(f"SELECT {columns} FROM daily WHERE day BETWEEN ? AND ?", (since, until))  # noqa: S608  # names of ours, values apart

    def daily_of(self, caller: str, since: str, until: str) -> list[Row]:
        """Give the sums of one caller's days."""
        columns = ", ".join(GROUPS + FIGURES)
        statement = f"SELECT {columns} FROM daily WHERE caller = ? AND day BETWEEN ? AND ?"  # noqa: S608  # names of ours, values apart
        return self._ask(statement, (caller, since, until))

    def keys_version(self) -> int:
        """Give the version of the last change of a key."""
        found: int = self._ask(LAST_CHANGE)[0][0]
        return found

    def keys(self, after: int) -> list[KeyRecord]:
        """Give the keys that were changed after a version."""
        return [key_record(values) for values in self._ask(GET_KEYS.format(after="?"), (after,))]

    def write_key(self, record: KeyRecord, before: int) -> bool:
        """Write a key, if nobody else has since ``before``."""
        with self._transaction() as connection:
            found = connection.execute("SELECT version FROM keys WHERE name = ?", (record.name,)).fetchone()
            if (found[0] if found else 0) != before:
                return False
            version = connection.execute(LAST_CHANGE).fetchone()[0] + 1
            connection.execute(PUT_KEY.format(values=", ".join("?" * len(KEY_COLUMNS))), key_values(record, version))
            return True

    def rows(self, since: int, until: int, limit: int, after: tuple[int, str, int] | None = None) -> list[Row]:
        """Give rows in the order of their keys."""
        return self._ask(
            f"SELECT {', '.join(COLUMNS)} FROM requests WHERE received_at >= ? AND received_at < ? "  # noqa: S608  # names of ours, values apart
            "AND (received_at, instance, sequence) > (?, ?, ?) ORDER BY received_at, instance, sequence LIMIT ?",
            (since, until, *(after or (-1, "", -1)), limit),
        )

    def close(self) -> None:
        """Disconnect."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _ask(self, query: str, values: Sequence[str | int] = ()) -> list[Row]:
        with _named():
            return self._connected().execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connected()
        with _named():
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreError("the store is not open")
        return self._connection


@lru_cache(maxsize=64)
def _inserting(rows: int, known: tuple[bool, ...]) -> str:
    """Give the statement that inserts so many rows that are alike.

    Bound are SAME, then the columns of OWN that are ``known``: to hand None over costs more than eight numbers do.
    """
    places = {name: f"?{place}" for place, name in enumerate(SAME, 1)}
    values = []
    for row in range(len(SAME) + 1, len(SAME) + rows + 1):
        columns = count(row, rows)
        places |= {name: f"?{next(columns)}" if here else "NULL" for name, here in zip(OWN, known, strict=True)}
        values.append(f"({', '.join(places[name] for name in _IN_TABLE)})")
    return f"INSERT OR IGNORE INTO requests ({', '.join(_IN_TABLE)}) VALUES {', '.join(values)}"  # noqa: S608  # names of ours, values apart


def _insert_alike(connection: sqlite3.Connection, some: Alike) -> int:
    """Insert rows that are alike; gives how many were new."""
    columns = [column for column in some.own if column is not None]
    known = tuple([column is not None for column in some.own])
    new = first = 0
    while left := len(some) - first:
        size = _MANY if left >= _MANY else min(left, _FEW)
        values = list(some.same)
        for column in columns:
            values += column[first : first + size]
        new += connection.execute(_inserting(size, known), values).rowcount
        first += size
    return new


def _version(connection: sqlite3.Connection, known: int) -> int:
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if found > known:
        raise StoreError(f"the store was written by a newer version: {found}, and this one knows {known}")
    return found


@contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(f"SQLite: {error}") from error
