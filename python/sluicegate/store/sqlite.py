"""The ledger in an SQLite file: the default, nothing to install.

Rules: write-ahead log, so that people can read while we write; a commit is on the disk before it is believed, since the
spool's files are removed after it. No other SQLite may open the file in this process (``rust/src/python/database.rs``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from sluicegate._native import Database, DatabaseError
from sluicegate.store.interface import (
    ADD_DAILY,
    COLUMNS,
    FIGURES,
    GROUPS,
    OWN,
    SAME,
    Batch,
    Place,
    Row,
    StoreError,
    daily,
    migrations,
)
from sluicegate.store.keys import GET_KEYS, KEY_COLUMNS, LAST_CHANGE, PUT_KEY, KeyRecord, key_record, key_values

#: Seconds to wait for somebody else's transaction.
_PATIENCE = 5.0
#: Rows deleted in one transaction: about 20 ms.
_AT_ONCE = 5000
#: Microseconds of a day.
_DAY = 86_400_000_000

_KIND = (
    f"INSERT INTO kinds (last_day, {', '.join(SAME)}) VALUES ({', '.join('?' * (1 + len(SAME)))}) "  # noqa: S608  # names of ours, values apart
    f"ON CONFLICT ({', '.join(SAME)}) DO UPDATE SET last_day = max(last_day, excluded.last_day) RETURNING id"
)
_ROW = (
    f"INSERT OR IGNORE INTO request_rows (instance, sequence, kind, {', '.join(OWN)}) "  # noqa: S608  # names of ours, values apart
    f"VALUES ({', '.join('?' * (3 + len(OWN)))})"
)
_ADD = ADD_DAILY.format(values=", ".join("?" * len(GROUPS + FIGURES)))
_MOVE = (
    "INSERT INTO spools (instance, segment, place) VALUES (?, ?, ?) "
    "ON CONFLICT (instance) DO UPDATE SET segment = excluded.segment, place = excluded.place"
)


class Sqlite:
    """A store in a file, which is made if it is not there (not so its folder). ``create=False``: it must be there."""

    def __init__(self, path: str, *, create: bool = True) -> None:
        self._path = Path(path).absolute()
        self._create = create
        self._database: Database | None = None

    def open(self) -> None:
        """Connect, and bring the tables to this version."""
        if self._database is None:
            with _named():
                database = Database(self._path, self._create, _PATIENCE)
                try:
                    self._prepare(database)
                except BaseException:
                    database.close()
                    raise
            self._database = database

    @staticmethod
    def _prepare(database: Database) -> None:
        database.ask("PRAGMA journal_mode = WAL")
        database.ask("PRAGMA synchronous = FULL")
        known = migrations("sqlite")
        if _version(database, len(known)) == len(known):
            return
        with _transaction(database):
            for statements in known[_version(database, len(known)) :]:
                for statement in statements:
                    database.ask(statement)
            database.ask(f"PRAGMA user_version = {len(known)}")

    def write(self, batch: Batch) -> None:
        """Write a batch in one transaction."""
        with self._transaction() as database:
            if batch.ends is not None:
                for sums in daily(database.insert(batch.ends, _KIND, _ROW)):
                    database.ask(_ADD, sums)
            for sequence, record in batch.running.items():
                statement = "INSERT OR IGNORE INTO running (instance, sequence, record) VALUES (?, ?, ?)"
                database.ask(statement, (batch.instance, sequence, record.hex()))
            for sequence in batch.settled:
                database.ask("DELETE FROM running WHERE instance = ? AND sequence = ?", (batch.instance, sequence))
            database.ask(_MOVE, (batch.instance, batch.place.segment, batch.place.offset))

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
        with self._transaction() as database:
            database.ask("DELETE FROM spools WHERE instance = ?", (instance,))
            database.ask("DELETE FROM running WHERE instance = ?", (instance,))

    def remember_prices(self, prices: Mapping[str, str]) -> None:
        """Keep prices (JSON) by version."""
        with self._transaction() as database:
            for price in prices.items():
                database.ask("INSERT OR IGNORE INTO prices (version, price) VALUES (?, ?)", price)

    def prices(self) -> dict[str, str]:
        """Give every price that is kept, by version."""
        return dict(self._ask("SELECT version, price FROM prices"))

    def expire(self, before: int) -> int:
        """Delete rows received before so many microseconds since 1970; gives how many."""
        deleted: int = 0
        oldest = "SELECT received_at FROM request_rows ORDER BY received_at LIMIT 1 OFFSET ?"
        while True:
            found = self._ask(oldest, (_AT_ONCE,))
            until = min(before, found[0][0] + 1) if found else before
            with self._transaction() as database:
                database.ask("DELETE FROM request_rows WHERE received_at < ?", (until,))
                deleted += database.ask("SELECT changes()")[0][0]
            if until == before:
                break
        with self._transaction() as database:
            database.ask("DELETE FROM kinds WHERE last_day < ?", (before // _DAY,))
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
        with self._transaction() as database:
            found = database.ask("SELECT version FROM keys WHERE name = ?", (record.name,))
            if (found[0][0] if found else 0) != before:
                return False
            version = database.ask(LAST_CHANGE)[0][0] + 1
            database.ask(PUT_KEY.format(values=", ".join("?" * len(KEY_COLUMNS))), key_values(record, version))
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
        database, self._database = self._database, None
        if database is not None:
            database.close()

    def _ask(self, query: str, values: Sequence[str | int] = ()) -> list[Row]:
        with _named():
            return self._connected().ask(query, values)

    @contextmanager
    def _transaction(self) -> Iterator[Database]:
        with _named(), _transaction(self._connected()) as database:
            yield database

    def _connected(self) -> Database:
        if self._database is None:
            raise StoreError("the store is not open")
        return self._database


@contextmanager
def _transaction(database: Database) -> Iterator[Database]:
    database.ask("BEGIN IMMEDIATE")
    try:
        yield database
        database.ask("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.ask("ROLLBACK")
        raise


def _version(database: Database, known: int) -> int:
    found: int = database.ask("PRAGMA user_version")[0][0]
    if found > known:
        raise StoreError(f"the store was written by a newer version: {found}, and this one knows {known}")
    return found


@contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        raise StoreError(f"SQLite: {error}") from error
