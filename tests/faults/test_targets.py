"""Targets that go down under traffic: left alone, probed by one request, used again; and which is tried first."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.kit.client import Wire, chat, request_bytes
from tests.kit.pair import FAILS, WORKS, pair
from tests.kit.words import ANSWER, FINISH, GOOD, HELLO

from sluicegate.demo.scripts import Close, Pause, Script, Stall, Wait, json_answer, raw, respond

BUSY = b'data: {"error":{"message":"overloaded","type":"server_error"}}\n\n'
CUT = Script((*respond(HELLO).steps[:-1], Close()))


async def test_a_target_that_goes_down_is_left_alone_then_probed_and_used_again(tmp_path: Path) -> None:
    async with pair(tmp_path) as there:
        there.one.script("m", FAILS)
        answers = [await there.ask() for _ in range(20)]
        assert [200] * 20 == [answer.status for answer in answers]
        assert (3, 20) == (len(there.one.requests), len(there.two.requests))
        await there.is_("open")

        await there.probe_is_due()
        answers = [await there.ask() for _ in range(5)]
        assert [200] * 5 == [answer.status for answer in answers]
        assert 4 == len(there.one.requests), "one probe, which failed"
        assert (await there.target())["next_probe_seconds"] > 0.5, "the next is later"

        there.one.script("m", WORKS)
        await there.probe_is_due()
        assert 200 == (await there.ask()).status
        await there.is_("closed")
        for _ in range(5):
            await there.ask()
        assert (10, 25) == (len(there.one.requests), len(there.two.requests))

        samples = await there.gateway.metrics()
        changes = {
            state: samples.get("sluicegate_target_transitions_total", target="one/m", state=state)
            for state in ("open", "half_open", "closed")
        }
        assert {"open": 2, "half_open": 2, "closed": 1} == changes


async def test_of_100_requests_at_the_half_open_moment_one_is_the_probe(tmp_path: Path) -> None:
    async with pair(tmp_path, health={"cooldown": 2}) as there:
        await there.goes_down()
        answered = asyncio.Event()
        there.one.script("m", respond(Wait(answered), ANSWER, content_type="application/json"))
        await there.probe_is_due()

        requests = [asyncio.create_task(there.ask()) for _ in range(100)]
        await there.two.received(3 + 99)
        assert ("half_open", 1) == ((await there.target())["state"], (await there.target())["in_flight"])
        answered.set()
        assert {200} == {answer.status for answer in await asyncio.gather(*requests)}

        assert (3 + 1, 3 + 99) == (len(there.one.requests), len(there.two.requests))
        await there.is_("closed")


OTHERS_FAULTS: dict[str, tuple[Script, int]] = {
    "a bad request": (json_answer({"error": {"message": "no"}}, status=400), 400),
    "what cannot be read": (json_answer({"error": {"message": "no"}}, status=422), 422),
    "moderated content": (json_answer({"error": {"message": "no", "code": "content_filter"}}, status=400), 400),
    "a refused credential": (json_answer({"error": {"message": "no"}}, status=401), 502),
    "a forbidden model": (json_answer({"error": {"message": "no"}}, status=403), 502),
    "a rate limit": (json_answer({"error": {"message": "no"}}, status=429), 429),
    "a used-up quota": (json_answer({"error": {"message": "no", "code": "insufficient_quota"}}, status=429), 503),
}


@pytest.mark.parametrize("script, status", OTHERS_FAULTS.values(), ids=OTHERS_FAULTS)
async def test_what_is_not_the_targets_fault_never_opens_it(script: Script, status: int, tmp_path: Path) -> None:
    async with pair(tmp_path, alone=True) as there:
        there.one.script("m", script)
        answers = [await there.ask() for _ in range(12)]

        assert {status} == {answer.status for answer in answers}
        target = await there.target()
        assert ("closed", 0, 0) == (target["state"], target["failures"], target["in_flight"])


TARGETS_FAULTS: dict[str, Script] = {
    "it says that it failed": FAILS,
    "it is overloaded": json_answer({"error": {"message": "busy"}}, status=503),
    "it answers with HTML": json_answer(b"<html>", content_type="text/html"),
    "it breaks streams off after their first content": CUT,
    "it tells of an error inside its streams (fault 87)": respond(HELLO, BUSY),
}


@pytest.mark.parametrize("script", TARGETS_FAULTS.values(), ids=TARGETS_FAULTS)
async def test_what_is_the_targets_fault_opens_it(script: Script, tmp_path: Path) -> None:
    async with pair(tmp_path, alone=True) as there:
        there.one.script("m", script)
        for _ in range(3):
            await there.ask(stream=True)

        await there.is_("open")
        assert "targets_down" == (await there.ask(stream=True)).error["code"]
        assert 3 == len(there.one.requests)


async def test_a_refused_connection_opens_it(tmp_path: Path) -> None:
    async with pair(tmp_path) as there:
        await there.one.refuse()
        for _ in range(3):
            assert 200 == (await there.ask()).status
        await there.is_("open")

        await there.one.listen()
        there.one.script("m", WORKS)
        await there.probe_is_due()
        assert 200 == (await there.ask()).status
        await there.is_("closed")


async def test_a_slow_first_content_counts_where_it_is_asked_for(tmp_path: Path) -> None:
    async with pair(tmp_path, alone=True, health={"slow": 0.05}) as there:
        there.one.script("m", respond(Pause(0.1), *GOOD))
        for _ in range(3):
            assert (await there.ask(stream=True)).whole

        await there.is_("open")


async def test_a_probes_stream_brings_it_back_with_its_first_content(tmp_path: Path) -> None:
    async with pair(tmp_path) as there:
        await there.goes_down()
        ended = asyncio.Event()
        there.one.script("m", respond(HELLO, Wait(ended), FINISH, *GOOD[3:]))
        await there.probe_is_due()
        async with Wire(there.gateway.url) as wire:
            await wire.send(request_bytes(chat("m", stream=True), key=there.gateway.key))
            answer = await wire.head()
            await wire.until(answer, b"Hello")
            await there.is_("closed")
            assert 1 == (await there.target())["in_flight"]
            ended.set()
            assert (await wire.rest(answer)).whole


async def test_a_probe_whose_client_leaves_makes_room_for_the_next(tmp_path: Path) -> None:
    async with pair(tmp_path, health={"cooldown": 1, "cooldown_max": 60}) as there:
        await there.goes_down()
        there.one.script("m", raw(Stall()), WORKS)
        await there.probe_is_due()
        async with Wire(there.gateway.url) as wire:
            await wire.send(request_bytes(chat("m"), key=there.gateway.key))
            await there.one.received(3 + 1)
            await there.is_("half_open")
        await there.is_("open")

        assert 200 == (await there.ask()).status
        assert 3 + 2 == len(there.one.requests), "the next request was the probe, and at once"
        await there.is_("closed")


async def test_the_slow_one_of_two_gets_less(tmp_path: Path) -> None:
    async with pair(tmp_path, routing="least_loaded") as there:
        there.one.script("m", respond(Pause(0.15), *GOOD))
        there.two.script("m", respond(Pause(0.01), *GOOD))

        async def ask_in_turn() -> None:
            for _ in range(20):
                assert 200 == (await there.ask(stream=True)).status

        await asyncio.gather(*(ask_in_turn() for _ in range(6)))

        slow, quick = len(there.one.requests), len(there.two.requests)
        assert 120 == slow + quick
        assert 1 <= slow < quick / 4, (slow, quick)
        target = await there.target()
        assert 0 < target["first_content_seconds"] < 5
        assert 0 == target["in_flight"]


async def test_weights_are_shares_and_0_is_a_spare(tmp_path: Path) -> None:
    async with pair(tmp_path, routing="weight", weights=(0, 3)) as there:
        there.one.script("m", WORKS)
        for _ in range(10):
            await there.ask()
        assert (0, 10) == (len(there.one.requests), len(there.two.requests))

        there.two.script("m", FAILS)
        assert 200 == (await there.ask()).status
        assert 1 == len(there.one.requests)


async def test_targets_are_listed_with_their_credentials_by_name_alone(tmp_path: Path) -> None:
    async with pair(tmp_path) as there:
        there.one.script("m", json_answer({"error": {"message": "no"}}, status=401))
        await there.ask()

        answer = await there.gateway.admin_get("/admin/targets")
        assert (200, "application/json", "list") == (
            answer.status,
            answer.header("content-type"),
            answer.json["object"],
        )
        assert b"sk-" not in answer.body
        one, two = answer.json["data"]
        assert ["one/m", "two/m"] == [one["target"], two["target"]]
        assert one["state_seconds"] > 0
        assert one["next_probe_seconds"] is None
        assert [("default", "retired"), ("default", "ready")] == [
            (credential["name"], credential["state"]) for target in (one, two) for credential in target["credentials"]
        ]
