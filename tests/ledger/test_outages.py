"""The store away under load: no request notices, no row is lost. `make test-all` keeps it away for a minute.

What is asserted of time: a gateway that asked the store for a request, or waited for the thread that does, would hold
every request up for as long as the store is away. So over a minute (2,400 requests; the 24th slowest counts) the 99th
percentile is at most twice that of the minute before plus 20 ms; over 3 s a single pause of a busy machine is more than
1 % of the requests, so there the median has this bound, and the slowest is below a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import quantiles
import subprocess
import sys
import time

import pytest
from tests.kit.books import Load, gateway, in_postgres, outcomes_of, rows_of
from tests.kit.gateway import Gateway, eventually
from tests.kit.postgres import server

CLIENTS, PACE = 8, 0.2
WARM_UP = 1.0
SHORT, MINUTE = 3.0, 60.0
LENGTHS = [SHORT, pytest.param(MINUTE, marks=[pytest.mark.full, pytest.mark.timeout(300)])]
HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA locking_mode = NORMAL")
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
connection.execute("ROLLBACK")
"""


@asynccontextmanager
async def locked(store: Path) -> AsyncIterator[None]:
    """Another process has the store for itself."""
    holder = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOLD, str(store)), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert b"held\n" == await asyncio.wait_for(holder.stdout.readline(), 20)
        yield
        holder.stdin.close()
        assert 0 == await asyncio.wait_for(holder.wait(), 20)
    finally:
        if holder.returncode is None:
            holder.kill()
            await holder.wait()


async def under_load(made: Gateway, seconds: float, away: Callable[[], Awaitable[None]]) -> list[str]:
    """Clients that ask before, during and after the outage; gives the ids of what was served, which is all of it."""
    load, enough = Load(made, PACE), asyncio.Event()
    running = asyncio.create_task(load.run(CLIENTS, enough))
    await asyncio.sleep(WARM_UP)
    began = time.monotonic()
    await asyncio.sleep(seconds)
    left = time.monotonic()
    await away()
    back = time.monotonic()
    enough.set()
    await running

    before, during = load.took(began, left), load.took(left, back)
    middle, tail = [[quantiles(took, n=100)[place] for took in (before, during)] for place in (49, 98)]
    sys.stdout.write(
        f"{len(before)} requests before, {len(during)} while it was away for {back - left:.1f} s: median "
        f"{middle[0] * 1e3:.2f} and {middle[1] * 1e3:.2f} ms, p99 {tail[0] * 1e3:.2f} and {tail[1] * 1e3:.2f} ms, "
        f"slowest {before[-1] * 1e3:.1f} and {during[-1] * 1e3:.1f} ms\n"
    )
    assert [] == load.failed
    assert len(during) > seconds * CLIENTS / PACE / 2
    if seconds == MINUTE:
        assert tail[1] <= 2 * tail[0] + 0.02
    else:
        assert middle[1] <= 2 * middle[0] + 0.02
        assert during[-1] < 1
    return load.finished


async def store_is(made: Gateway, up: int) -> None:
    """The metrics say whether the store answers."""

    async def so() -> bool:
        return await made.gauges("sluicegate_ledger_store_up") == [up]

    await eventually(so, f"store_up {up}", 20)


@pytest.mark.parametrize("seconds", LENGTHS)
async def test_124_125_sqlite_locked_by_another_process_costs_no_request_and_no_row(
    tmp_path: Path, seconds: float
) -> None:
    async with gateway(tmp_path) as (made, _):

        async def away() -> None:
            async with locked(tmp_path / "sluicegate.db"):
                await asyncio.sleep(seconds)
                if seconds == MINUTE:
                    await store_is(made, 0)

        finished = await under_load(made, seconds, away)
        rows = outcomes_of(await rows_of(tmp_path, len(finished)))
        await made.stop()

    assert dict.fromkeys(finished, "completed") == rows


@pytest.mark.parametrize("seconds", LENGTHS)
async def test_124_125_postgresql_that_stands_still_and_then_stops_costs_no_request_and_no_row(
    tmp_path: Path, seconds: float
) -> None:
    with server() as postgres:
        dsn = postgres.database("ledger")
        async with gateway(tmp_path, store=dsn) as (made, _):
            await store_is(made, 1)

            async def away() -> None:
                postgres.freeze()
                await asyncio.sleep(seconds / 2)
                postgres.thaw()
                await asyncio.to_thread(postgres.stop)
                await asyncio.sleep(seconds / 2)
                await store_is(made, 0)

            finished = await under_load(made, seconds, away)
            await asyncio.to_thread(postgres.start)
            await store_is(made, 1)
            await made.stop()
        rows = outcomes_of(await asyncio.to_thread(in_postgres, dsn))

    assert dict.fromkeys(finished, "completed") == rows
