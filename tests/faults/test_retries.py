"""Faults 50, 102 and 103 at one upstream: credentials in turns, waits in place, budgets, and what is learnt."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
import json
from pathlib import Path
import signal
import time
from typing import Any

import pytest
from tests.kit.client import chat
from tests.kit.gateway import Gateway, eventually
from tests.kit.pairs import refusal, two
from tests.kit.words import GOOD

from sluicegate.demo.requests import Received
from sluicegate.demo.scripts import Script, respond
from sluicegate.demo.upstream import Decide, Upstream

KEYS = {"credentials": [{"name": "one", "api_key": "sk-one"}, {"name": "two", "api_key": "sk-two"}]}
#: `fast` has the first upstream only: the second target's dialect is another.
ALONE: dict[str, Any] = {"b": {"dialect": "anthropic"}}
LIMITED = refusal(429, "rate_limit_exceeded", retry_after="30")
STREAM_OPTIONS = refusal(400, "unknown_parameter", "Unrecognized request argument: stream_options", "stream_options")


@asynccontextmanager
async def before(
    folder: Path, *, decide: Decide | None = None, **settings: Any
) -> AsyncIterator[tuple[Gateway, Upstream, Upstream]]:
    """A gateway of its own before an upstream, which answers as `decide` says, and another one."""
    async with (
        Upstream(decide=decide) as upstream,
        Upstream() as other,
        two(folder, upstream, other, **settings) as gateway,
    ):
        yield gateway, upstream, other


def key(request: Received) -> str:
    """Whose credential a request carried."""
    return (request.header("authorization") or "").removeprefix("Bearer sk-")


async def tried(gateway: Gateway, ident: str) -> list[tuple[str, str, int]]:
    """Credential, outcome and the upstream's status of each attempt."""
    row = await gateway.row(id=ident)
    return [(one["credential"], one["outcome"], one["status"]) for one in row["attempts"]]


async def test_credentials_take_turns_and_the_row_names_them(tmp_path: Path) -> None:
    async with before(tmp_path, a=KEYS) as (gateway, upstream, _other):
        answers = [await gateway.ask(chat("fast")) for _ in range(4)]
        rows = [await gateway.row(id=answer.id) for answer in answers]
        assert [row["credential"] for row in rows] == [key(request) for request in upstream.requests]
        assert Counter(row["credential"] for row in rows) == {"one": 2, "two": 2}
        assert "sk-one" not in json.dumps(rows)


@pytest.mark.parametrize("name", ["401", "402", "429"])
async def test_102_103_a_credential_that_is_refused_rests_and_the_other_serves(tmp_path: Path, name: str) -> None:
    script, code = {
        "401": (refusal(401, "invalid_api_key"), "upstream_auth"),
        "402": (refusal(402, "insufficient_quota"), "upstream_quota"),
        "429": (LIMITED, "upstream_rate_limited"),
    }[name]
    async with before(tmp_path, a=KEYS) as (gateway, upstream, other):
        upstream.next(script)
        answer = await gateway.ask(chat("fast"))
        assert (answer.status, answer.header("x-sluicegate-attempts")) == (200, "2")
        assert await tried(gateway, answer.id) == [("one", code, int(name)), ("two", "completed", 200)]
        for _ in range(3):
            assert (await gateway.ask(chat("fast"))).status == 200
        assert [key(request) for request in upstream.requests] == ["one", "two", "two", "two", "two"]
        metrics = await gateway.metrics()
        assert metrics.get("sluicegate_retries_total", upstream="a", reason=code) == 1
        assert metrics.get("sluicegate_fallbacks_total") == 0
        assert other.requests == []


async def test_103_a_forbidden_request_leaves_the_credential_in_use(tmp_path: Path) -> None:
    async with before(tmp_path, a=KEYS) as (gateway, upstream, _other):
        upstream.next(refusal(403, "forbidden"))
        assert (await gateway.ask(chat("fast"))).status == 200
        for _ in range(4):
            await gateway.ask(chat("fast"))
        assert Counter(map(key, upstream.requests)) == {"one": 3, "two": 3}


async def test_103_a_retired_credential_is_back_after_a_probe(tmp_path: Path) -> None:
    rules = {"here": 0, "credential_rest": 0.2}
    async with before(tmp_path, a=KEYS, retries=rules) as (gateway, upstream, _other):
        upstream.next(refusal(401, "invalid_api_key"))
        assert (await gateway.ask(chat("fast"))).status == 200

        async def back() -> bool:
            await gateway.ask(chat("fast"))
            return key(upstream.requests[-1]) == "one"

        await eventually(back, "a probe with the first credential")
        so_far = len(upstream.requests)
        for _ in range(4):
            await gateway.ask(chat("fast"))
        assert Counter(map(key, upstream.requests[so_far:])) == {"one": 2, "two": 2}


async def test_102_retry_after_is_waited_for_if_it_is_short(tmp_path: Path) -> None:
    rules = {"here": 1, "backoff": 0.01, "wait": 2}
    async with before(tmp_path, retries=rules, **ALONE) as (gateway, upstream, _other):
        upstream.next(refusal(429, "rate_limit_exceeded", retry_after="1"))
        began = time.monotonic()
        answer = await gateway.ask(chat("fast", stream=True))
        assert (answer.status, time.monotonic() - began >= 1) == (200, True)
        assert await tried(gateway, answer.id) == [
            ("none", "upstream_rate_limited", 429),
            ("none", "completed", 200),
        ]
        upstream.next(LIMITED)
        refused = await gateway.ask(chat("fast", stream=True))
        assert (refused.status, refused.header("retry-after")) == (429, "30")
        assert (refused.header("x-sluicegate-attempts"), len(upstream.requests)) == ("1", 3)


async def test_102_waits_in_place_grow_and_end(tmp_path: Path) -> None:
    rules = {"here": 3, "backoff": 0.1}
    async with before(tmp_path, retries=rules, **ALONE) as (gateway, upstream, _other):
        upstream.next(*[refusal(503)] * 4)
        answer = await gateway.ask(chat("fast"))
        assert (answer.status, answer.error["code"]) == (503, "upstream_overloaded")
        assert answer.header("x-sluicegate-attempts") == "4"
        starts = [request.at for request in upstream.requests]
        waits = [later - earlier for earlier, later in pairwise(starts)]
        assert [wait >= least for wait, least in zip(waits, (0.05, 0.1, 0.2), strict=True)] == [True] * 3
        row = await gateway.row(id=answer.id)
        assert row["overhead"] >= sum(waits) - sum(one["duration"] for one in row["attempts"]) - 0.05
        assert (await gateway.metrics()).get("sluicegate_retries_total", reason="upstream_overloaded") == 3
        assert (await gateway.ask(chat("fast"))).status == 200


async def test_102_an_upstream_that_forbids_a_retry_gets_none(tmp_path: Path) -> None:
    async with before(tmp_path, retries={"here": 3, "backoff": 0.01}, **ALONE) as (gateway, upstream, _other):
        for asked, (status, ours) in enumerate(((503, 503), (500, 502)), 1):
            upstream.next(refusal(status, x_should_retry="false"))
            answer = await gateway.ask(chat("fast"))
            assert (answer.status, answer.header("x-should-retry")) == (ours, "false")
            assert len(upstream.requests) == asked


async def test_102_retries_never_become_the_load(tmp_path: Path) -> None:
    rules = {"here": 1, "backoff": 0.001, "budget": 0.1}
    async with before(tmp_path, retries=rules, **ALONE, decide=lambda _: refusal(503)) as (gateway, upstream, _other):
        answers = await asyncio.gather(*(gateway.ask(chat("fast")) for _ in range(100)))
        assert {answer.status for answer in answers} == {503}
        assert 110 <= len(upstream.requests) <= 120


async def test_a_drain_ends_the_wait_for_a_retry(tmp_path: Path) -> None:
    rules = {"here": 1, "wait": 60}
    async with before(tmp_path, retries=rules, timeouts={"drain": 0.2}, **ALONE) as (gateway, upstream, _other):
        upstream.next(LIMITED)
        waiting = asyncio.create_task(gateway.ask(chat("fast")))
        await upstream.received()
        await eventually(lambda: idle(gateway), "the first attempt's end")
        gateway.process.send_signal(signal.SIGTERM)
        answer = await waiting
        assert (answer.status, answer.error["code"]) == (503, "gateway_draining")
        await asyncio.to_thread(gateway.process.wait, 20)
        assert len(upstream.requests) == 1


async def idle(gateway: Gateway) -> bool:
    """Whether the connection to the first upstream is kept, unused."""
    return (await gateway.metrics()).get("sluicegate_upstream_connections", upstream="a", state="idle") == 1


def asks(request: Received) -> Any:
    """The `stream_options` of a request."""
    return request.json.get("stream_options")


def refuses_options(request: Received) -> Script:
    """An upstream that knows no `stream_options`."""
    return STREAM_OPTIONS if "stream_options" in request.json else respond(*GOOD)


async def test_50_a_target_that_refuses_stream_options_is_not_asked_again(tmp_path: Path) -> None:
    async with before(tmp_path, a={"usage_request": "learn"}, decide=refuses_options) as (gateway, upstream, other):
        answers = [await gateway.ask(chat("fast", stream=True)) for _ in range(3)]
        assert [answer.status for answer in answers] == [200] * 3
        assert [answer.header("x-sluicegate-attempts") for answer in answers] == ["2", "1", "1"]
        assert list(map(asks, upstream.requests)) == [{"include_usage": True}, None, None, None]
        metrics = await gateway.metrics()
        assert metrics.get("sluicegate_retries_total", reason="upstream_stream_options") == 1
        # What the caller itself asks for is its own mistake.
        refused = await gateway.ask(chat("fast", stream=True, stream_options={"include_usage": True}))
        assert (refused.status, refused.error["param"]) == (400, "stream_options")
        assert other.requests == []


async def test_50_without_learning_the_refusal_is_the_answer(tmp_path: Path) -> None:
    async with (
        Upstream(decide=refuses_options) as upstream,
        Upstream() as other,
        two(tmp_path, upstream, other) as gateway,
    ):
        answer = await gateway.ask(chat("fast", stream=True))
        row = await gateway.row(id=answer.id)
        assert (answer.status, row["error_code"]) == (400, "upstream_stream_options")
        assert (len(upstream.requests), other.requests) == (1, [])


@pytest.mark.parametrize("what", ["context_length", "stream_options"])
async def test_102_a_refusal_that_the_target_declares_recoverable_moves_on(tmp_path: Path, what: str) -> None:
    script = {"context_length": refusal(400, "context_length_exceeded"), "stream_options": STREAM_OPTIONS}[what]
    declared: tuple[dict[str, Any], ...] = ({"recoverable": [what]}, {})
    async with before(tmp_path, targets=declared) as (gateway, upstream, other):
        upstream.next(script)
        answer = await gateway.ask(chat("fast", stream=True))
        row = await gateway.row(id=answer.id)
        assert (answer.status, row["attempts"][0]["outcome"]) == (200, f"upstream_{what}")
        assert (len(upstream.requests), len(other.requests)) == (1, 1)
