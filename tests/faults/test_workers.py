"""Workers that die, are replaced, reloaded and upgraded while streams run through them."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
import signal
import socket
import time
from urllib.parse import urlsplit

import pytest
from tests.kit.client import Wire, chat
from tests.kit.crowd import complete, crowd
from tests.kit.gateway import KEY, eventually
from tests.kit.samples import Samples, Series
from tests.kit.scene import scene as a_scene
from tests.kit.words import DONE, GOOD, HELLO

from sluicegate.demo.scripts import Wait, respond

MANY = {"per_upstream": 3000}
#: How many streams: a few always, a thousand in the full run.
STREAMS = [60, pytest.param(1000, marks=[pytest.mark.full, pytest.mark.timeout(240)])]
#: Figures that only ever grow.
COUNTERS = ("_total", "_count", "_sum", "_bucket")


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def counters(samples: Samples) -> dict[Series, float]:
    return {
        (name, labels): value
        for (name, labels), value in samples.values.items()
        if name.endswith(COUNTERS) and name.startswith("sluicegate_")
    }


def requests(counted: dict[Series, float]) -> float:
    return Samples(counted).get("sluicegate_requests_total")


async def test_123_a_killed_worker_takes_its_own_streams_alone_and_is_replaced(tmp_path: Path) -> None:
    async with a_scene(tmp_path, workers=4, limits=MANY) as scene, crowd(scene, 80) as streams:
        workers = scene.gateway.workers
        assert len(workers) == 4
        busiest = max(workers, key=lambda pid: len(streams.of(pid)))
        lost = streams.of(busiest)
        assert 0 < len(lost) < 80

        os.kill(busiest, signal.SIGKILL)

        async def told() -> bool:
            return f"worker {busiest} was ended by SIGKILL; it is replaced" in scene.gateway.log

        await eventually(told, "word of it in the log", 10)
        await scene.serves()
        assert busiest not in await scene.gateway.has_workers(4)
        streams.finish()
        await streams.answers()
        assert [answer.whole or DONE in answer.body for answer in lost] == [False] * len(lost)
        assert complete(answer for _, answer in streams.streams) == 80 - len(lost)
        assert (await scene.gateway.metrics()).get("sluicegate_worker_deaths_total") == 1


async def test_no_counter_goes_back_when_workers_die_or_hand_over(tmp_path: Path) -> None:
    async with a_scene(tmp_path, workers=2) as scene:
        for _ in range(12):
            await scene.serves()
        before = counters(await scene.gateway.metrics())
        assert requests(before) == 12
        for pid in scene.gateway.workers:
            os.kill(pid, signal.SIGKILL)
        await scene.gateway.has_workers(2)
        killed = counters(await scene.gateway.metrics())
        assert [key for key, value in before.items() if killed.get(key, -1) < value] == []
        await scene.serves()
        await scene.gateway.upgrade(2)
        await scene.gateway.has_workers(2)
        upgraded = counters(await scene.gateway.metrics())
        assert [key for key, value in killed.items() if upgraded.get(key, -1) < value] == []
        assert requests(upgraded) == 13
        # The rows of those that were killed went with them; of the others they are there, also of those that are gone.
        assert len(await scene.gateway.rows()) == 1


@pytest.mark.parametrize("count", STREAMS)
@pytest.mark.parametrize("workers", [1, 2])
async def test_135_a_reload_leaves_every_stream_as_it_is(workers: int, count: int, tmp_path: Path) -> None:
    async with a_scene(tmp_path, workers=workers, limits=MANY) as scene, crowd(scene, count) as streams:
        scene.gateway.configure(keys=[{"name": "new", "key": "sk-another-key"}])
        answer = await scene.gateway.reload()
        assert (answer.status, answer.json["warnings"]) == (200, []), answer.body

        refused = await scene.gateway.ask(chat("plain/never"), key=KEY)
        assert (refused.status, refused.error["code"]) == (401, "invalid_api_key")
        served = await scene.gateway.ask(chat(scene.model(respond(*GOOD)), stream=True), key="sk-another-key")
        assert (served.status, served.whole) == (200, True)
        streams.finish()
        assert complete(await streams.answers()) == count
        rows = {row["configuration"] for row in await scene.gateway.rows()}
        assert len(rows) == 2 or count == 1000  # the ring has 1,000 rows


@pytest.mark.parametrize("workers", [1, 2])
async def test_135_a_file_that_cannot_be_used_changes_nothing(workers: int, tmp_path: Path) -> None:
    async with a_scene(tmp_path, workers=workers) as scene, crowd(scene, 4) as streams:
        pids = scene.gateway.workers
        scene.gateway.configure(keys="none", timeouts={"idle": -1})
        answer = await scene.gateway.reload()
        assert (answer.status, answer.error["code"]) == (400, "invalid_configuration")
        assert [problem["path"] for problem in answer.error["problems"]] == ["keys", "timeouts.idle"]
        scene.gateway.process.send_signal(signal.SIGHUP)

        async def told() -> bool:
            return scene.gateway.log.count("ERROR sluicegate.server.supervisor: reload: ") == 2

        await eventually(told, "two refusals in the log")
        scene.gateway.file.write_text("{", encoding="utf-8")
        assert (await scene.gateway.reload()).status == 400
        await scene.serves()
        streams.finish()
        assert complete(await streams.answers()) == 4
        assert scene.gateway.workers == pids


@pytest.mark.parametrize("count", STREAMS)
@pytest.mark.parametrize("workers", [1, 2])
async def test_an_upgrade_leaves_every_stream_as_it_is(workers: int, count: int, tmp_path: Path) -> None:
    async with a_scene(tmp_path, workers=workers, limits=MANY) as scene, crowd(scene, count) as streams:
        new = await scene.gateway.upgrade(workers)
        for _ in range(4):
            await scene.serves()
        streams.finish()
        assert complete(await streams.answers()) == count
        for wire, _ in streams.streams:
            assert await wire.closed_by_server() == b""
        assert sorted(new) == sorted(await scene.gateway.has_workers(workers))
        moved = await scene.gateway.metrics()
        assert moved.get("sluicegate_requests_total", status="200", error_type="") == count + 4


@pytest.mark.parametrize("count", STREAMS)
@pytest.mark.parametrize("how", ["an upgrade", "the end"])
async def test_streams_that_do_not_end_in_time_are_told_so(how: str, count: int, tmp_path: Path) -> None:
    async with (
        a_scene(tmp_path, workers=2, limits=MANY, timeouts={"drain": 1}) as scene,
        crowd(scene, count) as streams,
    ):
        if how == "the end":
            scene.gateway.process.send_signal(signal.SIGTERM)
        else:
            await scene.gateway.upgrade(2)
        answers = await streams.answers()
        assert {answer.last_error["code"] for answer in answers} == {"gateway_draining"}
        assert [answer.whole and DONE not in answer.body for answer in answers] == [True] * count
        if how == "the end":
            assert await asyncio.to_thread(scene.gateway.process.wait, 20) == 0


async def test_a_kept_connection_is_served_once_more_by_who_hands_over(tmp_path: Path) -> None:
    async with a_scene(tmp_path, workers=1) as scene, Wire(scene.gateway.url) as wire:
        models = f"GET /v1/models HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode()
        await wire.send(models)
        assert (await wire.answer("GET")).header("connection") is None
        await scene.gateway.upgrade(1)
        await wire.send(models)
        answer = await wire.answer("GET")
        assert (answer.status, answer.header("connection")) == (200, "close")
        assert await wire.closed_by_server() == b""


async def test_an_upgrade_takes_as_many_workers_as_the_file_says_now(tmp_path: Path) -> None:
    async with a_scene(tmp_path, workers=1) as scene:
        assert scene.gateway.workers == []
        scene.gateway.configure(workers=3)
        refused = await scene.gateway.reload()
        assert [problem["path"] for problem in refused.error["problems"]] == ["workers"]
        await scene.gateway.upgrade(3)
        await scene.gateway.has_workers(3)
        await scene.serves()
        scene.gateway.configure(workers=1)
        await scene.gateway.upgrade(1)
        await scene.gateway.has_workers(1)
        await scene.serves()


async def test_an_upgrade_that_cannot_start_leaves_the_former_workers(tmp_path: Path) -> None:
    async with a_scene(tmp_path, workers=2) as scene, crowd(scene, 8) as streams:
        pids = scene.gateway.workers
        for settings, words in (({"listen": "127.0.0.1:1"}, "listen: "), ({"workers": "two"}, "workers: ")):
            before = scene.gateway.file.read_text(encoding="utf-8")
            scene.gateway.configure(**settings)
            scene.gateway.process.send_signal(signal.SIGUSR2)

            async def told(words: str = words) -> bool:
                return f"upgrade: the former workers serve on: {words}" in scene.gateway.log

            await eventually(told, "the refusal in the log", 20)
            scene.gateway.file.write_text(before, encoding="utf-8")

        async def gone() -> bool:
            return scene.gateway.workers == pids

        await eventually(gone, "the end of those that could not start", 10)
        await scene.serves()
        streams.finish()
        assert complete(await streams.answers()) == 8


async def test_120_the_end_of_several_workers(tmp_path: Path) -> None:
    go_on = asyncio.Event()
    async with a_scene(tmp_path, workers=2) as scene:
        script = respond(HELLO, Wait(go_on), *GOOD[1:])
        async with scene.streaming(script, stream_options={"include_usage": True}) as (wire, answer, model):
            await wire.until(answer, b"Hello")
            scene.gateway.process.send_signal(signal.SIGTERM)

            async def refused() -> bool:
                with socket.socket() as attempt:
                    return attempt.connect_ex(("127.0.0.1", urlsplit(scene.gateway.url).port)) != 0

            await eventually(refused, "the listener's end")
            assert (await scene.gateway.admin_get("/readyz")).status == 503
            assert (await scene.gateway.admin_get("/livez")).status == 200
            go_on.set()
            await wire.rest(answer)
            assert answer.whole
            assert DONE in answer.body
            assert model
        assert await asyncio.to_thread(scene.gateway.process.wait, 20) == 0
        logged = [json.loads(line) for line in scene.gateway.log.splitlines() if line.startswith("{")]
        assert [row["outcome"] for row in logged if row["requested_model"] == model] == ["completed"]


async def test_121_a_second_signal_ends_several_workers_at_once(tmp_path: Path) -> None:
    async with a_scene(tmp_path, workers=2, timeouts={"drain": 600}) as scene, crowd(scene, 8) as streams:
        pids = scene.gateway.workers
        scene.gateway.process.send_signal(signal.SIGTERM)

        async def draining() -> bool:
            return (await scene.gateway.admin_get("/readyz")).status == 503

        await eventually(draining, "the drain")
        began = time.monotonic()
        scene.gateway.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(scene.gateway.process.wait, 20) == 128 + signal.SIGTERM
        assert time.monotonic() - began < 5
        assert [answer.whole and DONE in answer.body for answer in await streams.answers()] == [False] * 8
        assert [pid for pid in pids if is_alive(pid)] == []
        scene.gateway.process.returncode = 0  # it was forced; the scene would have it end well


@pytest.mark.parametrize("workers", [1, 2])
async def test_limits_hold_for_all_workers_together_and_over_a_reload(workers: int, tmp_path: Path) -> None:
    keys = [{"name": "few", "key": KEY, "requests_per_minute": 6}]
    async with a_scene(tmp_path, workers=workers, keys=keys) as scene:

        async def statuses(count: int) -> list[int]:
            model = scene.model(respond(*GOOD))
            return [(await scene.gateway.ask(chat(model, stream=True))).status for _ in range(count)]

        assert await statuses(4) == [200] * 4
        scene.gateway.configure(timeouts={"idle": 7})
        assert (await scene.gateway.reload()).status == 200
        assert (await statuses(6)).count(200) <= 2
