"""A gateway and its ledger as a process: what the store holds, and clients that go on asking meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
import time
from typing import Any

from tests.kit.client import Answer, BadFraming, chat
from tests.kit.gateway import Gateway, configuration, eventually
from tests.kit.ledger import column, every_row

from sluicegate.demo.upstream import Upstream
from sluicegate.store.interface import Row
from sluicegate.store.postgres import Postgres
from sluicegate.store.sqlite import Sqlite

PRICES = [{"model": "*", "input": 1, "output": 2}]


def stored(folder: Path, name: str = "sluicegate.db") -> list[Row]:
    """Every row of the gateway's own store."""
    store = Sqlite(str(folder / name))
    store.open()
    try:
        return every_row(store)
    finally:
        store.close()


def in_postgres(dsn: str) -> list[Row]:
    """Every row of a database."""
    store = Postgres(dsn)
    store.open()
    try:
        return every_row(store)
    finally:
        store.close()


def seen(row: Row, *names: str) -> tuple[Any, ...]:
    """Some values of a row."""
    return tuple(column(row, name) for name in names)


def outcomes_of(rows: list[Row]) -> dict[str, str]:
    """Each request's outcome; one that stands twice is an error."""
    times = Counter(column(row, "id") for row in rows)
    assert [ident for ident, count in times.items() if count > 1] == []
    return {column(row, "id"): column(row, "outcome") for row in rows}


async def rows_of(folder: Path, count: int) -> list[Row]:
    """The rows of the store, as soon as there are so many."""
    found: list[Row] = []

    async def there() -> bool:
        found[:] = await asyncio.to_thread(stored, folder)
        return len(found) >= count

    await eventually(there, f"{count} rows in the store", 10)
    return found


@asynccontextmanager
async def gateway(folder: Path, **settings: Any) -> AsyncIterator[tuple[Gateway, Upstream]]:
    """A gateway whose upstream answers every model alike."""
    async with Upstream() as upstream:
        upstreams = {"plain": {"dialect": "openai", "base_url": upstream.base_url}}
        models = {"*": {"targets": [{"upstream": "plain", "model": "*"}]}}
        made = Gateway(configuration(upstreams, models, prices=PRICES, **settings), folder)
        await made.start()
        try:
            yield made, upstream
        finally:
            made.kill()


async def ask(made: Gateway, *, stream: bool = False) -> Answer:
    """Ask once."""
    return await made.ask(chat("m", stream=stream))


async def store_is(made: Gateway, *, up: bool) -> None:
    """The metrics say whether the store answers."""

    async def so() -> bool:
        return await made.gauges("sluicegate_ledger_store_up") == [up]

    await eventually(so, f"store_up {up}", 20)


async def until_refused(made: Gateway, ids: list[str]) -> Answer:
    """Asks, from several clients at once, until there is no room for a row; ``ids`` gets those that were served."""
    while True:
        answers = await asyncio.gather(*(ask(made) for _ in range(16)))
        ids += [answer.id for answer in answers if answer.status == 200]
        refused = [answer for answer in answers if answer.status != 200]
        if refused:
            return refused[0]


@dataclass(frozen=True)
class Served:
    """A request that was answered whole: when it began, and how long it took, in seconds."""

    id: str
    began: float
    took: float


class Load:
    """Clients that ask one after the other, each `pace` seconds after it began the last, and what they had got."""

    def __init__(self, made: Gateway, pace: float = 0.0) -> None:
        self._made = made
        self._pace = pace
        self.served: list[Served] = []
        self.failed: list[Answer] = []

    @property
    def finished(self) -> list[str]:
        """Those that were served, by id."""
        return [one.id for one in self.served]

    @property
    def slowest(self) -> float:
        """How long the slowest took."""
        return max(one.took for one in self.served)

    def took(self, since: float, until: float) -> list[float]:
        """How long those took that began within these times, the shortest first."""
        return sorted(one.took for one in self.served if since <= one.began < until)

    async def run(self, clients: int, until: asyncio.Event) -> None:
        """Ask until that is set, or the gateway is gone."""
        await asyncio.gather(*(self._client(number, until, number / clients * self._pace) for number in range(clients)))

    async def _client(self, number: int, until: asyncio.Event, late: float) -> None:
        due = time.monotonic() + late
        while not until.is_set():
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            began = time.monotonic()
            due = max(due + self._pace, began)
            try:
                answer = await ask(self._made, stream=number % 2 == 0)
            except (OSError, EOFError, BadFraming, asyncio.IncompleteReadError):
                return
            if not answer.whole:
                return
            if answer.status == 200:
                self.served.append(Served(answer.id, began, time.monotonic() - began))
            else:
                self.failed.append(answer)
