"""The authorities elsewhere do what the one in the process does: Redis's script, and the supervisor's line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
import math
import random
import socket
import time

import pytest
from tests.kit.redis_server import RedisServer, redis_server

from sluicegate.limits.authority import LEASE_TIME, Authority
from sluicegate.limits.lease import LARGEST, Ask, Grant
from sluicegate.limits.line import LineAuthority, Service
from sluicegate.limits.redis import RedisAuthority
from sluicegate.limits.rounds import AuthorityError, Remote
from sluicegate.limits.windows import Clock, Period, window

HOLDERS = 3


@pytest.fixture
async def redis() -> AsyncIterator[RedisServer]:
    async with redis_server() as server:
        yield server


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    one = Service()
    yield one
    await one.close()


def figures(grant: Grant) -> tuple[int, int, int, int]:
    return grant.window, grant.granted, grant.left, grant.drawn


async def same_answers(remotes: Sequence[Remote], seed: int) -> None:
    """Ask both the same, at random, and compare; within a second, so that no lease ends meanwhile."""
    chance, here = random.Random(seed), Authority()
    names = [f"key/{seed}-{i}" for i in range(4)]
    for _ in range(60):
        index = chance.randrange(HOLDERS)
        asks = []
        for name in chance.sample(names, chance.randint(1, 3)):
            period: Period = chance.choice(("minute", "day", "month")) if name != names[0] else "level"
            wall = time.time()
            if 60 - wall % 60 < 2:
                await asyncio.sleep(2.1)
                wall = time.time()
            start = window(period, wall).start
            asks.append(
                Ask(
                    name=f"{name}/{period}",
                    period=period,
                    capacity=chance.choice((5, 100, LARGEST)),
                    window=chance.choice((start, start, start, 0, start - 86400)),
                    drawn=0 if period == "level" else chance.choice((0, 3, 50, 2**52, LARGEST)),
                    kept=chance.choice((0, 2, 40, 2**50)),
                    wanted=chance.choice((0, 1, 7, 60, 2**50)),
                )
            )
        expected = [here.answer(str(index), ask, Clock(time.monotonic(), time.time())) for ask in asks]
        found = await remotes[index].answer(asks)
        assert [figures(grant) for grant in expected] == [figures(grant) for grant in found]
        for one, other in zip(expected, found, strict=True):
            assert (one.lasts, math.isclose(one.ends, other.ends, abs_tol=0.5)) == (other.lasts, True)
    for remote in remotes:
        await remote.close()


@pytest.mark.parametrize("seed", range(3))
async def test_redis_answers_as_the_algorithm_says(redis: RedisServer, seed: int) -> None:
    await same_answers([RedisAuthority(redis.url) for _ in range(HOLDERS)], seed)


@pytest.mark.parametrize("seed", range(3))
async def test_the_supervisor_answers_as_the_algorithm_says(service: Service, seed: int) -> None:
    remotes = []
    for _ in range(HOLDERS):
        ours, theirs = socket.socketpair()
        service.serve(theirs)
        remotes.append(LineAuthority(ours))
    await same_answers(remotes, seed)


def ask(kept: int, wanted: int, period: Period = "day", drawn: int = 0) -> Ask:
    return Ask("key/dev", period, 100, window(period, time.time()).start, drawn, kept, wanted)


async def test_a_dead_holders_lease_returns_in_redis_and_its_keys_go(redis: RedisServer) -> None:
    dead, heir = RedisAuthority(redis.url), RedisAuthority(redis.url)
    await dead.answer([ask(0, 60, drawn=40), ask(0, 100, "level")])
    refused, none = await heir.answer([ask(0, 60), ask(0, 100, "level")])
    assert (0, 0) == (refused.granted, none.granted)

    await asyncio.sleep(LEASE_TIME + 0.1)
    granted, all_of_it = await heir.answer([ask(0, 100), ask(0, 100, "level")])
    assert (60, 100) == (granted.granted, all_of_it.granted)

    lives = {key: await heir._redis.pttl(key) for key in await heir._redis.keys("*")}
    assert 3 == len(lives)
    assert all(0 < life <= 2 * 86400_000 for life in lives.values()), lives
    await dead.close()
    await heir.close()


async def test_a_question_that_was_given_up_does_not_disturb_the_next(redis: RedisServer) -> None:
    one = RedisAuthority(redis.url)
    await one.answer([ask(0, 10)])
    redis.freeze()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await one.answer([ask(0, 20)])
    redis.thaw()

    (grant,) = await one.answer([ask(10, 30)])
    assert (30, 60) == (grant.granted, grant.left)
    await one.close()


async def test_an_answer_of_the_supervisor_that_came_too_late_is_skipped() -> None:
    ours, theirs = socket.socketpair()
    line = LineAuthority(ours)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await line.answer([ask(0, 20)])
    late = Service()
    late.serve(theirs)

    (grant,) = await line.answer([ask(0, 30)])
    assert (30, 70) == (grant.granted, grant.left)
    await late.close()
    with pytest.raises(AuthorityError, match="the supervisor's limits"):
        await line.answer([ask(0, 30)])
    await line.close()


async def test_a_worker_that_talks_nonsense_is_not_answered(service: Service) -> None:
    for nonsense in (b"\xff\xff\xff\xff", b"\x00\x00\x00\x03abc", b"\x00"):
        ours, theirs = socket.socketpair()
        service.serve(theirs)
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        writer.write(nonsense)
        writer.write_eof()
        assert b"" == await reader.read()
        writer.close()


async def test_what_is_no_redis_is_an_error(tmp_path_factory: pytest.TempPathFactory) -> None:
    async with redis_server() as server:
        gone = server.url
    with pytest.raises(AuthorityError, match="ConnectionError"):
        await RedisAuthority(gone).answer([ask(0, 1)])

    async def teapot(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 418 I'm a teapot\r\n\r\n")
        writer.close()

    listening = await asyncio.start_server(teapot, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        remote = RedisAuthority(f"redis://127.0.0.1:{port}")
        with pytest.raises(AuthorityError):
            await remote.answer([ask(0, 1)])
        await remote.close()
