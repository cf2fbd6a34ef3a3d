"""The soak: a gateway, two upstreams that fail as asked, and clients of all kinds, for a while; then the reckoning."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
import random
import sqlite3
import time
from typing import TYPE_CHECKING
import uuid

from tests.kit.gateway import KEY, Gateway, configuration, eventually
from tests.kit.samples import Samples
from tests.soak.cases import CASES, Case
from tests.soak.clients import Ask, Told
from typing_extensions import override

from sluicegate.demo.connection import Opened
from sluicegate.demo.tls import make_authority
from sluicegate.demo.upstream import Upstream

if TYPE_CHECKING:
    from sluicegate.demo.connection import Connection
    from sluicegate.demo.requests import Received
    from sluicegate.demo.scripts import Script

#: Short times, so that a stall is over while the soak still runs. Kept connections are gone 2 s after their last use.
TIMEOUTS = {"connect": 5, "header": 2, "body": 5, "first_content": 4, "idle": 4, "write": 2, "pool_idle": 2}
#: Requests at a time; more wait for their turn, so that a slow machine does not pile them up.
AT_ONCE = 400
STORE = "rows.db"
#: How often a resting gateway is looked at.
LOOKS = 20
SCRIPTS = {case.model: case.script for case in CASES if case.script is not None}


class Counting(Upstream):
    """A scripted upstream that remembers of each request only how often it came."""

    def __init__(self, **how: object) -> None:
        super().__init__(decide=self._decide_by_model, **how)  # type: ignore[arg-type]  # tls
        self.seen: Counter[str] = Counter()
        self._waiting: dict[str, asyncio.Event] = {}

    @staticmethod
    def _decide_by_model(request: Received) -> Script | None:
        return SCRIPTS[request.model or ""]()

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


#: Status, error code, input and output tokens, as the ledger's store has them.
Stored = tuple[int, str, int, int]


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
    seen: Counter[str] = field(default_factory=Counter)
    stored: dict[str, Stored] = field(default_factory=dict)
    """What the ledger's store holds, by the request's id."""
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
            samples = await self.gateway.metrics()
            busy = ("sluicegate_streams_active", "sluicegate_upstream_connections", "sluicegate_client_connections")
            return not any(samples.get(name) for name in busy)

        await eventually(quiet, "the gateway to rest", within=20)
        # The connection of the scrape before may still be there: a leak is what every look shows.
        descriptors, tasks = [], []
        for _ in range(LOOKS):
            samples = await self.gateway.metrics()
            descriptors.append(self.gateway.descriptors)
            tasks.append(int(samples.get("sluicegate_tasks")))
        return Resting(self.gateway.rss, min(descriptors), min(tasks))

    async def watch(self) -> None:
        """Note the memory once a second."""
        while True:
            self.story.rss.append(self.gateway.rss)
            await asyncio.sleep(1)

    async def mix(self, seconds: float, rate: float) -> None:
        """Start ``rate`` clients a second for so many seconds; wait for all of them."""
        room = asyncio.Semaphore(AT_ONCE)
        weights = [case.weight for case in CASES]
        began = time.monotonic()
        running: set[asyncio.Task[None]] = set()
        due = began
        while due < began + seconds:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await room.acquire()
            [case] = self.chance.choices(CASES, weights)
            task = asyncio.create_task(self.play(case))
            running.add(task)
            task.add_done_callback(running.discard)
            task.add_done_callback(lambda _: room.release())
            due += 1 / rate
        await asyncio.gather(*running)
        self.story.seconds = time.monotonic() - began


async def soak(folder: Path, *, seconds: float, rate: float, seed: int) -> Story:
    """Run it and tell what was seen. Every case is played once before the measuring begins."""
    async with stage(folder, seed) as running:
        await asyncio.gather(*(running.play(case) for case in CASES for _ in range(4)))
        running.story.before = await running.rest()
        watching = asyncio.create_task(running.watch())
        await running.mix(seconds, rate)
        watching.cancel()
        running.story.after = await running.rest()
        running.story.moved = await running.gateway.metrics()
        await running.gateway.stop()
        running.story.log = running.gateway.log
        running.story.stored = stored(folder / STORE)
        running.story.seen = sum((upstream.seen for upstream in running.upstreams.values()), Counter())
        return running.story


def stored(path: Path) -> dict[str, Stored]:
    """The rows of a store, by id; one that is there twice is an error."""
    connection = sqlite3.connect(path)
    found = connection.execute("SELECT id, status, error_code, input_tokens, output_tokens FROM requests").fetchall()
    connection.close()
    rows = {ident: (status, code, given, taken) for ident, status, code, given, taken in found}
    assert len(rows) == len(found), "the ledger has a request twice"
    return rows


@asynccontextmanager
async def stage(folder: Path, seed: int) -> AsyncIterator[Stage]:
    """A gateway and its upstreams, plain and TLS."""
    authority = make_authority(folder)
    async with Counting() as plain, Counting(tls=authority.server_context()) as secure:
        shared = {"dialect": "openai", "api_key": "sk-upstream-secret"}
        upstreams = {
            "plain": {**shared, "base_url": plain.base_url},
            "secure": {**shared, "base_url": secure.base_url, "ca_file": str(authority.ca_file)},
        }
        models = {f"{name}/*": {"targets": [{"upstream": name, "model": "*"}]} for name in upstreams}
        second = {"upstream": "secure", "model": "stream"}
        models["fallback/*"] = {"targets": [{"upstream": "plain", "model": "*"}, second]}
        gateway = Gateway(
            configuration(
                upstreams, models, timeouts=TIMEOUTS, limits={"body": "1MiB"}, store=f"sqlite:///{folder / STORE}"
            ),
            folder,
        )
        try:
            await gateway.start()
            yield Stage(gateway, {"plain": plain, "secure": secure}, Story(), random.Random(seed))
        finally:
            gateway.kill()
