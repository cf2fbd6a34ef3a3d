"""All targets of a model are down: answered at once, or waited for, within bounds; and what a reload knows of them."""

from __future__ import annotations

import asyncio
from pathlib import Path
import time

from tests.kit.client import Wire, chat, request_bytes
from tests.kit.pair import WORKS, pair
from tests.kit.words import ANSWER

from sluicegate.demo.scripts import Wait, respond


async def test_all_down_is_answered_at_once_with_the_time_to_come_back(tmp_path: Path) -> None:
    async with pair(tmp_path, alone=True, health={"cooldown": 20, "cooldown_max": 20}) as there:
        await there.goes_down()
        before, began = await there.gateway.metrics(), time.monotonic()
        answers = await asyncio.gather(*(there.ask(stream=True) for _ in range(20)))
        assert time.monotonic() - began < 5

        assert {(503, "targets_down")} == {(answer.status, answer.error["code"]) for answer in answers}
        retry_after = {int(answer.header("retry-after") or 0) for answer in answers}
        assert retry_after <= set(range(15, 21))
        assert 3 == len(there.one.requests)
        row = await there.gateway.row(id=answers[0].id)
        assert (503, "targets_down", []) == (row["status"], row["error_code"], row["attempts"])
        moved = await there.gateway.metrics() - before
        assert 20 == moved.get("sluicegate_requests_total", model="m", status="503", error_type="targets_down")


async def test_requests_wait_for_a_probe_and_all_are_served(tmp_path: Path) -> None:
    async with pair(tmp_path, alone=True, health={"all_down": "wait"}) as there:
        await there.goes_down()
        answered = asyncio.Event()
        there.one.script("m", respond(Wait(answered), ANSWER, content_type="application/json"), WORKS)
        requests = [asyncio.create_task(there.ask()) for _ in range(20)]
        await there.one.received(3 + 1)
        await there.waiting(19)
        assert 3 + 1 == len(there.one.requests), "one probe"

        answered.set()

        assert {200} == {answer.status for answer in await asyncio.gather(*requests)}
        await there.waiting(0)
        assert 3 + 20 == len(there.one.requests)


async def test_the_waiting_room_is_bounded(tmp_path: Path) -> None:
    rules = {"all_down": "wait", "waiting": 5, "wait": 1, "cooldown": 20, "cooldown_max": 20}
    async with pair(tmp_path, alone=True, health=rules) as there:
        await there.goes_down()
        began = time.monotonic()
        answers = await asyncio.gather(*(there.ask() for _ in range(20)))
        assert 1 <= time.monotonic() - began < 10

        codes = sorted(answer.error["code"] for answer in answers)
        assert ["targets_down"] * 5 + ["targets_queue_full"] * 15 == codes
        assert {503} == {answer.status for answer in answers}
        assert {True} == {10 <= int(answer.header("retry-after") or 0) <= 20 for answer in answers}
        assert 3 == len(there.one.requests)
        await there.waiting(0)


async def test_a_client_that_leaves_while_it_waits_frees_its_place(tmp_path: Path) -> None:
    rules = {"all_down": "wait", "waiting": 1, "wait": 30, "cooldown": 20, "cooldown_max": 20}
    async with pair(tmp_path, alone=True, health=rules) as there:
        await there.goes_down()
        async with Wire(there.gateway.url) as wire:
            await wire.send(request_bytes(chat("m"), key=there.gateway.key))
            await there.waiting(1)
            assert "targets_queue_full" == (await there.ask()).error["code"]
        await there.waiting(0)
        row = await there.gateway.row(error_code="client_disconnected")
        assert (499, []) == (row["status"], row["attempts"])


async def test_a_request_that_waits_is_told_when_the_gateway_goes_down(tmp_path: Path) -> None:
    rules = {"all_down": "wait", "wait": 30, "cooldown": 20, "cooldown_max": 20}
    async with pair(tmp_path, alone=True, health=rules, settings={"timeouts": {"drain": 0.2}}) as there:
        await there.goes_down()
        request = asyncio.create_task(there.ask())
        await there.waiting(1)

        await there.gateway.stop()

        answer = await request
        assert (503, "gateway_draining") == (answer.status, answer.error["code"])


async def test_a_reload_forgets_a_target_only_if_its_upstream_is_another(tmp_path: Path) -> None:
    rules = {"cooldown": 20, "cooldown_max": 20, "all_down": "wait", "wait": 30}
    async with pair(tmp_path, alone=True, health=rules) as there:
        await there.goes_down()
        waiting = asyncio.create_task(there.ask())
        await there.waiting(1)

        await there.reload(lambda tree: tree["models"].update(new={"targets": [{"upstream": "two", "model": "m"}]}))
        assert 200 == (await there.ask(model="new")).status
        await there.is_("open")
        assert not waiting.done()
        assert 3 == len(there.one.requests)

        there.one.script("m", WORKS)
        await there.reload(lambda tree: tree["upstreams"]["one"].update(api_key="sk-another"))
        await there.is_("closed")
        assert 200 == (await there.ask()).status

        await there.reload(lambda tree: tree["models"].pop("m"))
        assert 0 == (await there.gateway.metrics()).get("sluicegate_target_state", target="one/m")
        waiting.cancel()


async def test_a_probe_that_began_before_a_reload_ends_after_it(tmp_path: Path) -> None:
    async with pair(tmp_path) as there:
        await there.goes_down()
        answered = asyncio.Event()
        there.one.script("m", respond(Wait(answered), ANSWER, content_type="application/json"))
        await there.probe_is_due()
        probe = asyncio.create_task(there.ask())
        await there.is_("half_open")

        await there.reload(lambda tree: tree["health"].update(cooldown=2))
        assert ("half_open", 1) == ((await there.target())["state"], (await there.target())["in_flight"])
        answered.set()

        assert 200 == (await probe).status
        await there.is_("closed")
        assert 0 == (await there.target())["in_flight"]
