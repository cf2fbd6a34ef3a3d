"""The soak: a gateway, two upstreams that fail as asked, and clients of all kinds, for a while; then the reckoning."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
import random
import time
from typing import TYPE_CHECKING, Any
import uuid

from tests.kit.exact import Figures
from tests.kit.gateway import KEY, Gateway, configuration, eventually
from tests.kit.ledger import every_row
from tests.kit.samples import Samples
from tests.soak.cases import CASES, Case
from tests.soak.clients import Ask, Told
from tests.soak.words import Words
from typing_extensions import override

from sluicegate.demo.connection import Opened
from sluicegate.demo.tls import make_authority
from sluicegate.demo.upstream import Upstream
from sluicegate.ledger.recompute import Difference, recompute
from sluicegate.store.interface import COLUMNS, FIGURES, GROUPS
from sluicegate.store.postgres import Postgres
from sluicegate.store.sqlite import Sqlite

if TYPE_CHECKING:
    from sluicegate.demo.connection import Connection
    from sluicegate.demo.requests import Received
    from sluicegate.demo.scripts import Script
    from sluicegate.store.interface import Store

#: Short times, so that a stall is over while the soak still runs. Kept connections are gone 2 s after their last use.
TIMEOUTS = {"connect": 5, "header": 2, "body": 5, "first_content": 4, "idle": 4, "write": 2, "pool_idle": 2}
#: Requests at a time; more wait for their turn, so that a slow machine does not pile them up.
AT_ONCE = 400
STORE = "rows.db"
#: Dollars per million tokens, and per request: all that a price can say, in two of them.
PRICES: tuple[dict[str, Any], ...] = (
    {
        "model": "plain/*",
        "input": "0.15",
        "output": "0.6",
        "cached_input": "0.075",
        "reasoning": "1.1",
        "request": "0.00000123",
        "tiers": [{"above": 100_000, "input": "0.333333333", "output": "1.2"}],
    },
    {"model": "secure/*", "input": "3.000000001", "output": "15", "cache_write": "3.75"},
)
#: How often a resting gateway is looked at.
LOOKS = 20
SCRIPTS = {case.model: case.script for case in CASES if case.script is not None}

CREDITS = {"per_dollar": "12345.678", "rounding": "up"}


class Counting(Upstream):
    """A scripted upstream that remembers of each request only how often it came, and what usage it was told."""

    def __init__(self, chance: random.Random, **how: object) -> None:
        super().__init__(decide=self._decide_by_model, **how)  # type: ignore[arg-type]  # tls
        self.seen: Counter[str] = Counter()
        self.said: dict[str, dict[int, Figures]] = {}
        """By the request's id: the last usage of each answer that had any, by its number."""
        self._chance = chance
        self._waiting: dict[str, asyncio.Event] = {}

    def _decide_by_model(self, request: Received) -> Script | None:
        ident = request.header("x-client-request-id") or ""
        number = self.seen[ident]

        def tell(figures: Figures) -> None:
            self.said.setdefault(ident, {})[number] = figures

        return SCRIPTS[request.model or ""](Words(self._chance, tell))

    @override
    def opened(self, connection: Connection) -> Opened:
        self._live.add(connection)
        return Opened(0, asyncio.get_running_loop().time())

    @override
    def admit(self, request: Received) -> None:
        ident = request.header("x-client-request-id") or ""
        self.seen[ident] += 1
        if ident in self._waiting:
            self._waiting[ident].set()

    async def arrived(self, ident: str) -> None:
        """Wait until a request with this id has come."""
        event = self._waiting.setdefault(ident, asyncio.Event())
        if not self.seen[ident]:
            async with asyncio.timeout(20):
                await event.wait()
        del self._waiting[ident]


Stored = dict[str, Any]
"""A row of the store by its columns."""


@dataclass(frozen=True)
class Asked:
    """A request of the soak and what its client was told."""

    case: Case
    told: Told


@dataclass(frozen=True)
class Resting:
    """The gateway with nothing to do: what it still holds."""

    rss: int
    descriptors: int
    tasks: int


@dataclass
class Story:
    """Everything that was seen, for the reckoning."""

    asked: dict[str, Asked] = field(default_factory=dict)
    unasked: list[Asked] = field(default_factory=list)
    """Those that are refused before they have a row: nobody but the client knows their id."""
    failures: list[str] = field(default_factory=list)
    """Clients that met what no client should: broken framing, a hang."""
    alone: bool = True
    """One process served, so that what it holds can be told."""
    seen: Counter[str] = field(default_factory=Counter)
    said: dict[str, list[Figures]] = field(default_factory=dict)
    """What the upstreams said was used, by the request's id: each answer's last word."""
    stored: list[Stored] = field(default_factory=list)
    """What the ledger's store holds."""
    summed: list[Stored] = field(default_factory=list)
    """The store's own sums of days."""
    differences: list[Difference] = field(default_factory=list)
    """What `sluicegate usage --recompute` lists."""
    rss: list[int] = field(default_factory=list)
    """Resident memory, once a second."""
    seconds: float = 0.0
    log: str = ""
    before: Resting | None = None
    after: Resting | None = None
    moved: Samples = field(default_factory=lambda: Samples({}))


@dataclass
class Stage:
    """The gateway and the upstreams while they run."""

    gateway: Gateway
    upstreams: dict[str, Counting]
    story: Story
    chance: random.Random

    async def play(self, case: Case) -> None:
        """Let one client behave; whatever it meets that it should not is a failure."""
        by = self.chance.choice(case.by)
        ids = (uuid.UUID(int=self.chance.getrandbits(128)).hex, uuid.UUID(int=self.chance.getrandbits(128)).hex)
        model = f"{by}/{case.model}"
        ask = Ask(
            self.gateway.url,
            KEY,
            model,
            ids,
            case.stream,
            self.chance,
            self.upstreams.get(by, self.upstreams["plain"]).arrived,
        )
        try:
            async with asyncio.timeout(40):
                answers = await case.client(ask)
        except Exception as error:  # noqa: BLE001 - told at the end, with all the others
            self.story.failures.append(f"{case.name} ({ids[0]}): {error!r}")
            return
        for ident, told in zip(ids, answers, strict=False):
            asked = Asked(case, told)
            if case.refused is None:
                self.story.asked[ident] = asked
            else:
                self.story.unasked.append(asked)

    async def rest(self) -> Resting:
        """Wait until nothing is left of anybody's request, and look."""

        async def quiet() -> bool:
            busy = ("sluicegate_streams_active", "sluicegate_upstream_connections", "sluicegate_client_connections")
            return not any(await self.gateway.gauges(*busy))

        await eventually(quiet, "the gateway to rest", within=20)
        # The connection of the scrape before may still be there: a leak is what every look shows.
        descriptors, tasks = [], []
        for _ in range(LOOKS):
            [running] = await self.gateway.gauges("sluicegate_tasks")
            descriptors.append(self.gateway.descriptors)
            tasks.append(int(running))
        return Resting(self.gateway.rss, min(descriptors), min(tasks))

    async def watch(self) -> None:
        """Note the memory once a second."""
        while True:
            self.story.rss.append(self.gateway.rss)
            await asyncio.sleep(1)

    async def mix(self, requests: int, rate: float) -> None:
        """Start so many clients, ``rate`` a second; wait for all of them."""
        room = asyncio.Semaphore(AT_ONCE)
        weights = [case.weight for case in CASES]
        began = time.monotonic()
        running: set[asyncio.Task[None]] = set()
        for number in range(requests):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            await room.acquire()
            [case] = self.chance.choices(CASES, weights)
            task = asyncio.create_task(self.play(case))
            running.add(task)
            task.add_done_callback(running.discard)
            task.add_done_callback(lambda _: room.release())
        await asyncio.gather(*running)
        self.story.seconds = time.monotonic() - began


async def soak(
    folder: Path, *, requests: int, rate: float, seed: int, workers: int = 1, postgres: str | None = None
) -> Story:
    """Run it and tell what was seen. Every case is played at least once; one process is measured after that.

    ``postgres``: the DSN of an empty database; without it the ledger is in SQLite.
    """
    store: Store = Postgres(postgres) if postgres else Sqlite(str(folder / STORE))
    async with stage(folder, seed, workers, postgres or f"sqlite:///{folder / STORE}") as running:
        story = running.story
        story.alone = workers == 1
        every = asyncio.gather(*(running.play(case) for case in CASES for _ in range(4 if story.alone else 1)))
        if story.alone:
            await every
            story.before = await running.rest()
        watching = asyncio.create_task(running.watch())
        await running.mix(requests, rate)
        await every
        watching.cancel()
        story.after = await running.rest()
        story.moved = await running.gateway.metrics()
        await running.gateway.stop()
        story.log = running.gateway.log
        await asyncio.to_thread(read_store, store, story)
        for upstream in running.upstreams.values():
            story.seen.update(upstream.seen)
            for ident, told in upstream.said.items():
                story.said.setdefault(ident, []).extend(told.values())
        return story


def read_store(store: Store, story: Story) -> None:
    """Everything that the ledger's store says."""
    store.open()
    try:
        story.stored = [dict(zip(COLUMNS, row, strict=True)) for row in every_row(store)]
        story.differences = recompute(store, 0, 2**62).differences
        sums = store.daily("0001-01-01", "9999-12-31")
        story.summed = [dict(zip(GROUPS + FIGURES, row, strict=True)) for row in sums]
    finally:
        store.close()


@asynccontextmanager
async def stage(folder: Path, seed: int, workers: int, store: str) -> AsyncIterator[Stage]:
    """A gateway and its upstreams, plain and TLS."""
    authority = make_authority(folder)
    chance = random.Random(seed)
    async with Counting(chance) as plain, Counting(chance, tls=authority.server_context()) as secure:
        shared = {"dialect": "openai", "api_key": "sk-upstream-secret"}
        upstreams = {
            "plain": {**shared, "base_url": plain.base_url},
            "secure": {**shared, "base_url": secure.base_url, "ca_file": str(authority.ca_file)},
        }
        models = {f"{name}/*": {"targets": [{"upstream": name, "model": "*"}]} for name in upstreams}
        second = {"upstream": "secure", "model": "stream"}
        models["fallback/*"] = {"targets": [{"upstream": "plain", "model": "*"}, second]}
        settings = {"timeouts": TIMEOUTS, "limits": {"body": "1MiB"}, "prices": PRICES, "credits": CREDITS}
        gateway = Gateway(configuration(upstreams, models, store=store, workers=workers, **settings), folder)
        try:
            await gateway.start()
            yield Stage(gateway, {"plain": plain, "secure": secure}, Story(), chance)
        finally:
            gateway.kill()
