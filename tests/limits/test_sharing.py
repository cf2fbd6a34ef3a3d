"""Two gateways that share their limits in a real Redis: the bound holds, and Redis away, hung or back is no outage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
import time
from typing import Any

import pytest
from tests.kit.client import Answer, Wire, chat, request_bytes
from tests.kit.gateway import Gateway, configuration, eventually
from tests.kit.redis_server import RedisServer, redis_server
from tests.kit.three import ALL_ROUNDS, ROOM_FOR_THREE, ROUNDS, against_three, key_of, within_a_minute
from tests.kit.words import ANSWER, GOOD

from sluicegate.demo.scripts import Stall, json_answer, respond
from sluicegate.demo.upstream import Upstream
from sluicegate.limits.authority import LEASE_TIME


@dataclass
class Pair:
    """Two gateways, the upstream behind both, and the Redis between them."""

    one: Gateway
    other: Gateway
    upstream: Upstream
    redis: RedisServer

    async def ask(self, gateway: Gateway, key: str, model: str = "whole", **members: Any) -> Answer:
        return await gateway.ask(chat(f"up/{model}", **members), key=key_of(key))

    @asynccontextmanager
    async def stream(self, gateway: Gateway, key: str) -> AsyncIterator[int]:
        """A stream that has begun, or was refused; its status."""
        async with Wire(gateway.url) as wire:
            await wire.send(request_bytes(chat("up/open", stream=True), key=key_of(key)))
            yield (await wire.head()).status

    async def streams(self, gateway: Gateway, key: str) -> bool:
        async with self.stream(gateway, key) as status:
            return status == 200


@asynccontextmanager
async def pair(folder: Path, **settings: Any) -> AsyncIterator[Pair]:
    allowances = ROOM_FOR_THREE | {
        "requests": {"requests_per_minute": 5},
        "many": {"requests_per_minute": 100_000},
        "streams": {"concurrent_streams": 2},
        "free": {},
    }
    async with Upstream() as upstream, redis_server() as redis:
        upstream.script("whole", json_answer(ANSWER))
        upstream.script("open", respond(GOOD[0], Stall()))
        written = configuration(
            {"up": {"dialect": "openai", "base_url": upstream.base_url}},
            {"up/*": {"targets": [{"upstream": "up", "model": "*"}]}},
            keys=[{"name": name, "key": key_of(name), **allowance} for name, allowance in allowances.items()],
            shared=redis.url,
            **settings,
        )
        gateways = []
        for name in ("one", "other"):
            (folder / name).mkdir()
            gateways.append(Gateway(written, folder / name))
        try:
            for gateway in gateways:
                await gateway.start()
            yield Pair(gateways[0], gateways[1], upstream, redis)
            for gateway in gateways:
                if gateway.process.poll() is None:
                    await gateway.stop()
        finally:
            for gateway in gateways:
                gateway.kill()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("rounds", [ROUNDS, pytest.param(ALL_ROUNDS, marks=pytest.mark.full)])
@pytest.mark.parametrize("workers", [1, 2])
async def test_118_a_hundred_at_once_at_two_gateways_against_a_budget_for_three(
    tmp_path: Path, rounds: int, workers: int
) -> None:
    async with pair(tmp_path, limits_unavailable="deny", workers=workers) as two:
        for number in range(rounds):
            await against_three([two.one, two.other], two.upstream, number)


async def test_two_gateways_share_a_minute(tmp_path: Path) -> None:
    async with pair(tmp_path) as two:
        await within_a_minute(10)
        answers = [await two.ask(gateway, "requests") for _ in range(4) for gateway in (two.one, two.other)]

        assert [200] * 5 + [429] * 3 == [answer.status for answer in answers]
        assert "5" == answers[-1].header("x-ratelimit-limit-requests")
        assert "0" == answers[-1].header("x-ratelimit-remaining-requests")

        for _ in range(50):
            assert 200 == (await two.ask(two.one, "many")).status
        moved = await two.one.metrics()
        asked = moved.get("sluicegate_limit_authority_seconds_count")
        assert asked < 50, "within a lease nobody is asked"


async def test_a_stream_that_ends_at_one_gateway_makes_room_at_the_other_at_once(tmp_path: Path) -> None:
    async with pair(tmp_path) as two:
        async with two.stream(two.one, "streams") as first, two.stream(two.one, "streams") as second:
            assert (200, 200) == (first, second)
            assert not await two.streams(two.other, "streams")
            await asyncio.sleep(LEASE_TIME + 1)
            assert not await two.streams(two.other, "streams"), "what is in use is renewed"

        async def room() -> bool:
            return await two.streams(two.other, "streams")

        await eventually(room, "room at the other gateway", 1.0)


async def test_a_dead_gateways_share_comes_back_after_its_time(tmp_path: Path) -> None:
    async with (
        pair(tmp_path) as two,
        two.stream(two.one, "streams") as first,
        two.stream(two.one, "streams") as second,
    ):
        assert (200, 200) == (first, second)
        assert not await two.streams(two.other, "streams")
        two.one.kill()

        async def room() -> bool:
            return await two.streams(two.other, "streams")

        await eventually(room, "the dead gateway's room", LEASE_TIME + 2)


async def quick(two: Pair, key: str, within: float = 0.5) -> Answer:
    """Ask, and see that nobody waits for Redis longer than the 50 ms there are for it."""
    begun = time.monotonic()
    answer = await two.ask(two.one, key)
    assert time.monotonic() - begun < within
    return answer


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_126_without_redis_deny_refuses_who_is_limited_and_nobody_hangs(tmp_path: Path, how: str) -> None:
    async with pair(tmp_path, limits_unavailable="deny") as two:
        assert 200 == (await quick(two, "requests")).status
        before = await two.one.metrics()
        two.redis.kill() if how == "killed" else two.redis.freeze()

        async def noticed() -> bool:
            return (await quick(two, "requests")).status == 503

        await eventually(noticed, "the end of its lease", LEASE_TIME + 1)
        for _ in range(5):
            answer = await quick(two, "requests")
            assert (503, "limits_unavailable") == (answer.status, answer.json["error"]["code"])
            assert "1" == answer.header("retry-after")
        assert 200 == (await quick(two, "free")).status, "who is not limited is not concerned"
        moved = await two.one.metrics() - before
        assert moved.get("sluicegate_limit_unavailable_total", decision="deny") >= 6
        reason = "error" if how == "killed" else "timeout"
        assert 1 <= moved.get("sluicegate_limit_authority_failures_total", reason=reason) <= 10
        assert "limits: whoever keeps them does not answer" in two.one.log

        if how == "frozen":
            two.redis.thaw()
        else:
            await two.redis.start()

        async def back() -> bool:
            return (await quick(two, "many")).status == 200

        await eventually(back, "Redis to be back", 5)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_126_without_redis_allow_lets_each_gateway_count_for_itself(tmp_path: Path, how: str) -> None:
    async with pair(tmp_path, limits_unavailable="allow") as two:
        await within_a_minute(20)
        assert 200 == (await quick(two, "requests")).status
        two.redis.kill() if how == "killed" else two.redis.freeze()
        await asyncio.sleep(LEASE_TIME)

        answers = [await quick(two, "requests") for _ in range(6)]
        assert [200, 200, 200, 200, 429, 429] == [answer.status for answer in answers], "five, with the one before"
        assert [200] * 20 == [(await quick(two, "many")).status for _ in range(20)]
        moved = await two.one.metrics()
        assert moved.get("sluicegate_limit_unavailable_total", decision="allow") >= 2

        if how == "frozen":
            two.redis.thaw()
        else:
            await two.redis.start()

        async def back() -> bool:
            return "whoever keeps them answers again" in two.one.log

        await eventually(back, "Redis to be back", 5)
        assert 429 == (await quick(two, "requests")).status


async def test_a_gateway_starts_without_its_redis_and_finds_it_later(tmp_path: Path) -> None:
    async with redis_server() as gone:
        url = gone.url.replace("unix://", "unix://:geheim@")
    async with Upstream() as upstream:
        upstream.script("whole", json_answer(ANSWER))
        written = configuration(
            {"up": {"dialect": "openai", "base_url": upstream.base_url}},
            {"up/*": {"targets": [{"upstream": "up", "model": "*"}]}},
            keys=[{"name": "one", "key": key_of("one"), "requests_per_minute": 5}],
            shared=url,
        )
        gateway = Gateway(written, tmp_path)
        try:
            await gateway.start()
            assert 200 == (await gateway.ask(chat("up/whole"), key=key_of("one"))).status
            await gateway.stop()
            assert "limits: whoever keeps them does not answer" in gateway.log
            assert "geheim" not in gateway.log
        finally:
            gateway.kill()
