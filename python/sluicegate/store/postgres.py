"""The ledger in PostgreSQL, for several machines or whoever has one already. Needs the extra ``postgres``.

Rules: a connection and a loop of its own, in the thread of whoever calls; every step has a time limit. Several gateways
may write into one database: what each writes is known by its own spools.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import asyncpg

from sluicegate._native import Ends
from sluicegate.store.interface import (
    ADD_DAILY,
    COLUMNS,
    FIGURES,
    GROUPS,
    Batch,
    Place,
    Row,
    StoreError,
    daily,
    migrations,
)
from sluicegate.store.keys import GET_KEYS, KEY_COLUMNS, LAST_CHANGE, PUT_KEY, KeyRecord, key_record, key_values

if TYPE_CHECKING:
    Link = asyncpg.Connection[asyncpg.Record]

T = TypeVar("T")

#: Seconds to connect, for one statement, and to say good-bye.
_CONNECT, _STATEMENT, _CLOSE = 5.0, 30.0, 1.0
#: Rows deleted in one transaction.
_AT_ONCE = 5000
#: Who migrates or changes a key, others wait: any number that nobody else locks.
_MIGRATING, _CHANGING_KEYS = 0x51_0C_E6_A7_E0, 0x51_0C_E6_A7_E1

_TEXT = frozenset(
    {
        *("instance", "id", "upstream_request_id", "endpoint", "caller", "caller_group", "requested_model", "model"),
        *("target", "upstream_model", "credential", "attempts", "error_code", "outcome"),
        *("input_provenance", "output_provenance", "price", "configuration"),
    }
)
_ARRAYS = ", ".join(f"${place}::{'text' if name in _TEXT else 'bigint'}[]" for place, name in enumerate(COLUMNS, 1))
_INSERT = (
    f"INSERT INTO requests ({', '.join(COLUMNS)}) SELECT * FROM unnest({_ARRAYS}) "  # noqa: S608  # names of our own
    "ON CONFLICT DO NOTHING RETURNING sequence"
)
_ADD = ADD_DAILY.format(values=", ".join(f"${place}" for place in range(1, len(GROUPS + FIGURES) + 1)))
_MOVE = (
    "INSERT INTO spools (instance, segment, place) VALUES ($1, $2, $3) "
    "ON CONFLICT (instance) DO UPDATE SET segment = excluded.segment, place = excluded.place"
)


class Postgres:
    """A store at a DSN such as ``postgresql://user:password@host/database``."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._runner: asyncio.Runner | None = None
        self._connection: Link | None = None

    def open(self) -> None:
        """Connect, and bring the tables to this version."""
        if self._connection is not None:
            return
        self._runner = self._runner or asyncio.Runner()
        with _named():
            self._connection = self._runner.run(_connect(self._dsn))

    def write(self, batch: Batch) -> None:
        """Write a batch in one transaction."""

        async def work(connection: Link) -> None:
            async with connection.transaction():
                if batch.ends is not None:
                    await connection.executemany(_ADD, daily(await _insert(connection, batch.ends)))
                await connection.executemany(
                    "INSERT INTO running (instance, sequence, record) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                    [(batch.instance, sequence, record.hex()) for sequence, record in batch.running.items()],
                )
                if batch.settled:
                    statement = "DELETE FROM running WHERE instance = $1 AND sequence = ANY($2::bigint[])"
                    await connection.execute(statement, batch.instance, list(batch.settled))
                await connection.execute(_MOVE, batch.instance, batch.place.segment, batch.place.offset)

        self._run(work)

    def place(self, instance: str) -> Place:
        """Say how far a spool has been read."""
        found = self._ask("SELECT segment, place FROM spools WHERE instance = $1", instance)
        return Place(*found[0]) if found else Place()

    def running(self, instance: str) -> dict[int, bytes]:
        """Give the admissions whose files are gone and whose requests have not ended."""
        found = self._ask("SELECT sequence, record FROM running WHERE instance = $1", instance)
        return {sequence: bytes.fromhex(record) for sequence, record in found}

    def forget(self, instance: str) -> None:
        """Drop what is kept of a spool that is gone."""

        async def work(connection: Link) -> None:
            async with connection.transaction():
                await connection.execute("DELETE FROM spools WHERE instance = $1", instance)
                await connection.execute("DELETE FROM running WHERE instance = $1", instance)

        self._run(work)

    def remember_prices(self, prices: Mapping[str, str]) -> None:
        """Keep prices (JSON) by version."""
        statement = "INSERT INTO prices (version, price) VALUES ($1, $2) ON CONFLICT DO NOTHING"
        self._run(lambda connection: connection.executemany(statement, list(prices.items())))

    def prices(self) -> dict[str, str]:
        """Give every price that is kept, by version."""
        return dict(self._ask("SELECT version, price FROM prices"))

    def expire(self, before: int) -> int:
        """Delete rows received before so many microseconds since 1970; gives how many."""
        deleted = 0
        while True:
            found = self._ask(
                "WITH old AS (SELECT received_at, instance, sequence FROM requests WHERE received_at < $1 "
                "ORDER BY received_at LIMIT $2), gone AS (DELETE FROM requests USING old "
                "WHERE (requests.received_at, requests.instance, requests.sequence) "
                "= (old.received_at, old.instance, old.sequence) RETURNING 1) SELECT count(*) FROM gone",
                before,
                _AT_ONCE,
            )
            gone: int = found[0][0]
            deleted += gone
            if gone < _AT_ONCE:
                return deleted

    def daily(self, since: str, until: str) -> list[Row]:
        """Give the sums of days."""
        columns = ", ".join(GROUPS + FIGURES)
        return self._ask(f"SELECT {columns} FROM daily WHERE day BETWEEN $1 AND $2", since, until)  # noqa: S608  # names of ours, values apart

    def daily_of(self, caller: str, since: str, until: str) -> list[Row]:
        """Give the sums of one caller's days."""
        columns = ", ".join(GROUPS + FIGURES)
        statement = f"SELECT {columns} FROM daily WHERE caller = $1 AND day BETWEEN $2 AND $3"  # noqa: S608  # names of ours, values apart
        return self._ask(statement, caller, since, until)

    def keys_version(self) -> int:
        """Give the version of the last change of a key."""
        found: int = self._ask(LAST_CHANGE)[0][0]
        return found

    def keys(self, after: int) -> list[KeyRecord]:
        """Give the keys that were changed after a version."""
        return [key_record(values) for values in self._ask(GET_KEYS.format(after="$1"), after)]

    def write_key(self, record: KeyRecord, before: int) -> bool:
        """Write a key, if nobody else has since ``before``."""

        async def work(connection: Link) -> bool:
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock($1)", _CHANGING_KEYS)
                known = await connection.fetchval("SELECT version FROM keys WHERE name = $1", record.name)
                if (known or 0) != before:
                    return False
                version = await connection.fetchval(LAST_CHANGE) + 1
                places = ", ".join(f"${place}" for place in range(1, len(KEY_COLUMNS) + 1))
                await connection.execute(PUT_KEY.format(values=places), *key_values(record, version))
                return True

        return self._run(work)

    def rows(self, since: int, until: int, limit: int, after: tuple[int, str, int] | None = None) -> list[Row]:
        """Give rows in the order of their keys."""
        return self._ask(
            f"SELECT {', '.join(COLUMNS)} FROM requests WHERE received_at >= $1 AND received_at < $2 "  # noqa: S608  # names of ours, values apart
            "AND (received_at, instance, sequence) > ($3, $4, $5) ORDER BY received_at, instance, sequence LIMIT $6",
            *(since, until, *(after or (-1, "", -1)), limit),
        )

    def close(self) -> None:
        """Disconnect."""
        connection, self._connection = self._connection, None
        runner, self._runner = self._runner, None
        if runner is not None:
            if connection is not None:
                runner.run(_disconnect(connection))
            runner.close()

    def _ask(self, query: str, *values: str | int) -> list[Row]:
        return [tuple(found) for found in self._run(lambda connection: connection.fetch(query, *values))]

    def _run(self, work: Callable[[Link], Awaitable[T]]) -> T:
        if self._runner is None or self._connection is None:
            raise StoreError("the store is not open")
        connection = self._connection

        async def run() -> T:
            return await work(connection)

        with _named():
            return self._runner.run(run())


async def _connect(dsn: str) -> Link:
    connection = await asyncpg.connect(dsn, timeout=_CONNECT, command_timeout=_STATEMENT)
    try:
        await _migrate(connection)
    except BaseException:
        connection.terminate()
        raise
    return connection


async def _disconnect(connection: Link) -> None:
    try:
        await connection.close(timeout=_CLOSE)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
        connection.terminate()


async def _migrate(connection: Link) -> None:
    known = migrations("postgres")
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _MIGRATING)
        await connection.execute("CREATE TABLE IF NOT EXISTS sluicegate_schema (version INTEGER NOT NULL)")
        version = await connection.fetchval("SELECT max(version) FROM sluicegate_schema") or 0
        if version > len(known):
            raise StoreError(f"the store was written by a newer version: {version}, and this one knows {len(known)}")
        for number, statements in enumerate(known[version:], version + 1):
            for statement in statements:
                await connection.execute(statement)
            await connection.execute("INSERT INTO sluicegate_schema (version) VALUES ($1)", number)


async def _insert(connection: Link, ends: Ends) -> list[Row]:
    """Insert ends and give the sums of those that were new."""
    rows = [_without_nul(row) for row in ends.rows()]
    if not rows:
        return []
    new = await connection.fetch(_INSERT, *map(list, zip(*rows, strict=True)))
    return [_without_nul(sums) for sums in ends.sums({found["sequence"] for found in new})]


def _without_nul(row: Row) -> Row:
    """PostgreSQL's text holds every character but one."""
    return tuple(value.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else value for value in row)


@contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        raise StoreError(f"PostgreSQL: {type(error).__name__} {error}") from error
