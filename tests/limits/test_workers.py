"""Limits of several workers: their supervisor grants, the bound holds, and a dead worker's share comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
import os
from pathlib import Path
import signal
from typing import Any

import pytest
from tests.kit.client import Wire, chat, request_bytes
from tests.kit.gateway import Gateway, configuration, eventually
from tests.kit.three import ALL_ROUNDS, ROOM_FOR_THREE, ROUNDS, against_three, key_of, within_a_minute
from tests.kit.words import ANSWER, GOOD

from sluicegate.demo.scripts import Stall, json_answer, respond
from sluicegate.demo.upstream import Upstream
from sluicegate.limits.authority import LEASE_TIME


@asynccontextmanager
async def four_workers(folder: Path, **settings: Any) -> AsyncIterator[tuple[Gateway, Upstream]]:
    allowances = ROOM_FOR_THREE | {
        "requests": {"requests_per_minute": 20},
        "streams": {"concurrent_streams": 4},
        "budget": {"budgets": [{"dollars": "0.002"}]},
    }
    async with Upstream() as upstream:
        upstream.script("whole", json_answer(ANSWER))
        upstream.script("open", respond(GOOD[0], Stall()))
        written = configuration(
            {"up": {"dialect": "openai", "base_url": upstream.base_url}},
            {"up/*": {"targets": [{"upstream": "up", "model": "*"}]}},
            keys=[{"name": name, "key": key_of(name), **allowance} for name, allowance in allowances.items()],
            prices=[{"model": "up/*", "input": 10, "output": 20}],
            workers=4,
            **settings,
        )
        gateway = Gateway(written, folder)
        try:
            await gateway.start()
            yield gateway, upstream
            await gateway.stop()
        finally:
            gateway.kill()


def workers(gateway: Gateway) -> list[int]:
    """The pids of its workers."""
    children = Path(f"/proc/{gateway.process.pid}/task/{gateway.process.pid}/children").read_text(encoding="ascii")
    return [int(pid) for pid in children.split()]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("rounds", [ROUNDS, pytest.param(ALL_ROUNDS, marks=pytest.mark.full)])
async def test_118_a_hundred_at_once_at_four_workers_against_a_budget_for_three(tmp_path: Path, rounds: int) -> None:
    async with four_workers(tmp_path, limits_unavailable="deny") as (gateway, upstream):
        for number in range(rounds):
            await against_three([gateway], upstream, number)


@pytest.mark.timeout(90)
async def test_four_workers_share_a_minute_and_a_budget(tmp_path: Path) -> None:
    async with four_workers(tmp_path) as (gateway, _):
        await within_a_minute(20)

        async def asked(key: str, count: int) -> list[int]:
            body = chat("up/whole", max_tokens=5)
            return [
                answer.status
                for answer in await asyncio.gather(*(gateway.ask(body, key=key_of(key)) for _ in range(count)))
            ]

        statuses = await asked("requests", 60)
        assert {200, 429} == set(statuses)
        # Leases that other workers hold may refuse a few too early, for a second.
        assert 10 <= statuses.count(200) <= 20
        more: list[int] = []

        async def exhausted() -> bool:
            more.extend(await asked("requests", 4))
            return statuses.count(200) + more.count(200) == 20

        await eventually(exhausted, "the rest of the minute's limit", LEASE_TIME + 2)
        assert [429] * 8 == await asked("requests", 8)

        # Each costs 0.00025 and reserves more: of 0.002 there is room for seven or eight.
        spent: list[int] = []

        async def broke() -> bool:
            spent.extend(await asked("budget", 4))
            return spent[-8:] == [402] * 8 and spent.count(200) >= 6

        await eventually(broke, "the end of the budget", LEASE_TIME + 5)
        assert spent.count(200) <= 8


async def test_a_killed_workers_streams_give_their_places_back(tmp_path: Path) -> None:
    async with four_workers(tmp_path) as (gateway, _), AsyncExitStack() as stack:
        sent = request_bytes(chat("up/open", stream=True), key=key_of("streams"))

        async def admitted() -> bool:
            wire = await stack.enter_async_context(Wire(gateway.url))
            await wire.send(sent)
            return (await wire.head()).status == 200

        async def full() -> bool:
            for _ in range(4):
                await admitted()
            moved = await gateway.metrics()
            return moved.get("sluicegate_streams_active") == 4

        await eventually(full, "four streams", LEASE_TIME + 2)
        assert [False] * 4 == [await admitted() for _ in range(4)]
        for pid in workers(gateway):
            os.kill(pid, signal.SIGKILL)
        await eventually(admitted, "a dead worker's place", LEASE_TIME + 5)


@pytest.mark.parametrize("decision, status", [("allow", 200), ("deny", 503)])
async def test_126_a_supervisor_that_hangs_holds_nobody_up(tmp_path: Path, decision: str, status: int) -> None:
    async with four_workers(tmp_path, limits_unavailable=decision) as (gateway, _):
        os.kill(gateway.process.pid, signal.SIGSTOP)
        try:
            loop = asyncio.get_running_loop()
            for _ in range(10):
                begun = loop.time()
                answer = await gateway.ask(chat("up/whole"), key=key_of("requests"))
                assert loop.time() - begun < 0.5
                assert status == answer.status
        finally:
            os.kill(gateway.process.pid, signal.SIGCONT)
