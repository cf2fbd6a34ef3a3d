"""Faults 110, 112, 119, 120, 122, 124, 125, 133 and 134: rows, when clients, stores, disks and processes go."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
import random
import signal
import sqlite3
from typing import Any

import pytest
from tests.kit.books import PRICES, Load, ask, gateway, in_postgres, outcomes_of, rows_of, seen, stored, until_refused
from tests.kit.client import chat
from tests.kit.gateway import KEY, eventually
from tests.kit.ledger import column
from tests.kit.postgres import server
from tests.kit.scene import Scene
from tests.kit.scene import scene as a_scene
from tests.kit.three import within_a_minute
from tests.kit.words import ANSWER, DONE, FINISH, GOOD, HELLO, USAGE_EVENT, WORLD, event

from sluicegate.demo.scripts import JSON, Mark, Wait, json_answer, respond

KILLS = 50 if os.environ.get("SLUICEGATE_TEST_ALL") else 5


async def test_110_112_a_client_that_leaves_leaves_a_whole_row_with_an_estimate(tmp_path: Path) -> None:
    begun, go = asyncio.Event(), asyncio.Event()
    async with a_scene(tmp_path, prices=PRICES) as scene:
        script = respond(HELLO, WORLD, Mark(begun), Wait(go), DONE)
        async with scene.streaming(script) as (_, _, model):
            await asyncio.wait_for(begun.wait(), 5)
        row = await scene.gateway.row(requested_model=model)
        (kept,) = await rows_of(tmp_path, 1)
        go.set()

    assert row["id"] == column(kept, "id")
    assert (200, "client_disconnected", "estimated", "estimated") == seen(
        kept, "status", "outcome", "input_provenance", "output_provenance"
    )
    assert (-(-row["bytes_in"] // 4), True) == (column(kept, "input_tokens"), column(kept, "output_tokens") >= 1)
    assert column(kept, "cost") == column(kept, "input_tokens") * 1000 + column(kept, "output_tokens") * 2000


async def finish(scene: Scene, stream: bool) -> dict[str, Any]:
    """A request whose client leaves in the middle, while its upstream goes on."""
    begun, go = asyncio.Event(), asyncio.Event()
    if stream:
        script = respond(HELLO, Mark(begun), Wait(go), WORLD, FINISH, USAGE_EVENT, DONE)
    else:
        script = respond(Mark(begun), Wait(go), ANSWER, content_type=JSON, framing="length")
    model = scene.model(script)
    task = asyncio.create_task(scene.gateway.ask(chat(model, stream=stream)))
    await asyncio.wait_for(begun.wait(), 5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    rows = await scene.gateway.rows()
    assert [] == [row for row in rows if row["requested_model"] == model]
    go.set()
    return await scene.gateway.row(requested_model=model)


@pytest.mark.parametrize("stream", [True, False])
async def test_107_108_109_on_disconnect_finish_learns_the_exact_usage(tmp_path: Path, stream: bool) -> None:
    async with a_scene(tmp_path, on_disconnect="finish") as scene:
        row = await finish(scene, stream)

        assert ("client_disconnected", "client_disconnected") == (row["outcome"], row["error_code"])
        phases = {(499, "before_head", 0)} | ({(200, "streaming", len(HELLO))} if stream else set())
        assert (row["status"], row["left"], row["bytes_out"]) in phases
        assert ("provider", "provider") == (row["usage"]["input_provenance"], row["usage"]["output_provenance"])
        assert (11, 7) == (row["usage"]["tokens"]["input"], row["usage"]["tokens"]["output"])
        await scene.serves()


@pytest.mark.timeout(90)
@pytest.mark.parametrize("stream", [True, False])
async def test_109_what_was_finished_for_a_client_that_left_counts_for_its_limits(tmp_path: Path, stream: bool) -> None:
    await within_a_minute(10)
    limits = {"tokens_per_minute": 1000, "concurrent_streams": 1}
    keys = [{"name": "tests", "key": KEY, **limits}, {"name": "fresh", "key": "sk-test-fresh", **limits}]
    async with a_scene(tmp_path, on_disconnect="finish", keys=keys) as scene:
        await finish(scene, stream)
        model = scene.model(json_answer(ANSWER))
        answers = [await scene.gateway.ask(chat(model, max_tokens=9), key=key) for key in ("sk-test-fresh", KEY)]
        fresh, left = (int(answer.header("x-ratelimit-remaining-tokens") or 0) for answer in answers)

        assert 11 + 7 == fresh - left
        assert 200 == (await scene.gateway.ask(chat(scene.model(respond(*GOOD)), stream=True, max_tokens=9))).status


@pytest.mark.parametrize("count", ["-1", "NaN", "18446744073709551616", "1e400", '"7"', "9007199254740993"])
async def test_119_hostile_usage_moves_no_sum_the_wrong_way(tmp_path: Path, count: str) -> None:
    hostile = event(None, None, usage=f'{{"prompt_tokens":{count},"completion_tokens":{count},"total_tokens":{count}}}')
    async with a_scene(tmp_path, prices=PRICES) as scene:
        for _ in range(3):
            await scene.play(respond(HELLO, FINISH, hostile, DONE))
        rows = await rows_of(tmp_path, 6)

    assert all(0 <= column(row, name) <= 2**53 - 1 for row in rows for name in ("input_tokens", "output_tokens"))
    assert all(0 <= column(row, "cost") <= 2**63 - 1 for row in rows)


async def test_120_rows_are_carried_after_the_last_stream(tmp_path: Path) -> None:
    begun, go = asyncio.Event(), asyncio.Event()
    async with gateway(tmp_path) as (made, upstream):
        upstream.next(respond(HELLO, Mark(begun), Wait(go), WORLD, FINISH, USAGE_EVENT, DONE))
        running = asyncio.create_task(ask(made, stream=True))
        await asyncio.wait_for(begun.wait(), 5)
        made.process.send_signal(signal.SIGTERM)
        go.set()
        assert (await running).status == 200
        assert 0 == await asyncio.to_thread(made.process.wait, 10)

    assert [("completed", 11, 7)] == [seen(row, "outcome", "input_tokens", "output_tokens") for row in stored(tmp_path)]
    assert ["writer.lock"] == [path.name for path in (tmp_path / "sluicegate.spool").iterdir()]


# asyncio leaves a socket to the collector whose connection is reset in the moment of its making.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(300)
async def test_122_killed_at_random_moments_every_finished_request_is_there_once(tmp_path: Path) -> None:
    finished: list[str] = []
    chance = random.Random(122)
    async with gateway(tmp_path) as (made, _):
        for _ in range(KILLS):
            load, never = Load(made), asyncio.Event()
            running = asyncio.create_task(load.run(6, never))
            await asyncio.sleep(chance.uniform(0.05, 0.6))
            await asyncio.to_thread(made.kill)
            await running
            finished += load.finished
            await made.start()
        made.process.send_signal(signal.SIGTERM)
        assert 0 == await asyncio.to_thread(made.process.wait, 20)
    rows = stored(tmp_path)
    outcomes = outcomes_of(rows)

    assert len(finished) > KILLS * 5
    assert {"completed"} == {outcomes.get(ident) for ident in finished}
    assert set(outcomes.values()) <= {"completed", "client_disconnected", "unknown"}
    assert all(column(row, "output_tokens") > 0 for row in rows if column(row, "outcome") == "completed")
    daily = sqlite3.connect(tmp_path / "sluicegate.db")
    assert [(len(rows),)] == daily.execute("SELECT sum(requests) FROM daily").fetchall()
    daily.close()


@pytest.mark.timeout(120)
async def test_124_125_a_database_that_is_down_at_the_start_gets_its_rows_when_it_comes(tmp_path: Path) -> None:
    with server() as postgres:
        dsn = postgres.database("ledger")
        postgres.stop()
        async with gateway(tmp_path, store=dsn, ledger={"size": "1MiB"}) as (made, _):
            ids = [(await ask(made)).id for _ in range(5)]
            full = await until_refused(made, ids)
            assert (503, "ledger_unavailable") == (full.status, full.error["code"])
            assert full.header("retry-after") == "5"
            postgres.start()

            async def empty() -> bool:
                return (await ask(made)).status == 200

            await eventually(empty, "room in the spool", 20)
            await made.stop()
        rows = await asyncio.to_thread(in_postgres, dsn)

    assert set(ids) <= {column(row, "id") for row in rows}
    assert len(rows) == len({column(row, "id") for row in rows})
    assert {"completed"} == {column(row, "outcome") for row in rows}


async def test_124_with_drop_a_full_spool_serves_and_counts_what_is_lost(tmp_path: Path) -> None:
    dsn = "postgresql://nobody@127.0.0.1:1/none"
    async with gateway(tmp_path, store=dsn, ledger={"size": "1MiB", "when_full": "drop"}) as (made, _):

        async def losing() -> bool:
            answers = await asyncio.gather(*(ask(made) for _ in range(16)))
            assert {200} == {answer.status for answer in answers}
            return (await made.metrics()).get("sluicegate_ledger_rows_lost_total", reason="spool") > 0

        await eventually(losing, "rows to be lost", 40)


async def test_133_metrics_rows_and_upstreams_agree(tmp_path: Path) -> None:
    async with a_scene(tmp_path) as scene:
        scripts = [respond(*GOOD), respond(HELLO, FINISH, DONE), respond(HELLO, WORLD)]
        for script in scripts * 4:
            await scene.play(script)
        metrics = await scene.gateway.metrics()
        rows = await rows_of(tmp_path, 24)

    for name in ("input", "output"):
        for word in ("provider", "estimated", "partial"):
            told = sum(column(row, f"{name}_tokens") for row in rows if column(row, f"{name}_provenance") == word)
            assert told == metrics.get("sluicegate_tokens_total", direction=name, provenance=word), (name, word)
    assert 16 * 11 == metrics.get("sluicegate_tokens_total", direction="input", provenance="provider")


async def test_134_one_request_id_twice_is_two_rows(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (made, _):
        headers = [("x-request-id", "mine"), ("x-stainless-retry-count", "1")]
        for _ in range(2):
            assert (await made.ask(chat("m"), headers=headers)).id == "mine"
        rows = await rows_of(tmp_path, 2)
        await made.stop()

    assert [("mine", 1), ("mine", 2)] == [seen(row, "id", "sequence") for row in rows]
