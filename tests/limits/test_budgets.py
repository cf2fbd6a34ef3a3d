"""Budgets: money and credits that are spent until their window ends, also over a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai
import pytest
from tests.kit.client import Answer, chat
from tests.kit.gateway import Gateway, configuration, eventually
from tests.kit.keys import beside
from tests.kit.words import ANSWER

from sluicegate.demo.scripts import json_answer
from sluicegate.demo.upstream import Upstream

#: A cent each thousand tokens of input, two of output: the answer's 11 and 7 come to 0.00025 dollars.
PRICES = [{"model": "up/*", "input": 10, "output": 20}]
COST = 250_000
BUDGETS: dict[str, dict[str, Any]] = {
    "dollars": {"budgets": [{"dollars": "0.01", "per": "month"}]},
    "tight": {"budgets": [{"dollars": "0.0008", "per": "day"}]},
    "credits": {"budgets": [{"credits": 3, "per": "week"}]},
    "blue-1": {"group": "blue"},
    "blue-2": {"group": "blue"},
    "behind": {"budgets": [{"dollars": "0.0006"}]},
    "sdk": {"budgets": [{"dollars": "0.000000001"}]},
}


def key_of(name: str) -> str:
    return f"sk-test-{name}"


def written(upstream: Upstream) -> dict[str, Any]:
    upstream.script("cheap", json_answer(ANSWER))
    upstream.script("broken", json_answer(b"{}", status=500))
    return configuration(
        {name: {"dialect": "openai", "base_url": upstream.base_url} for name in ("up", "free")},
        {
            "up/*": {"targets": [{"upstream": "up", "model": "*"}]},
            "behind": {"targets": [{"upstream": "free", "model": "broken"}, {"upstream": "up", "model": "cheap"}]},
        },
        keys=[{"name": name, "key": key_of(name), **limits} for name, limits in BUDGETS.items()],
        groups={"blue": {"budgets": [{"dollars": "0.0012"}]}},
        prices=PRICES,
        credits={"per_dollar": 4000},
    )


async def ask(gateway: Gateway, key: str, most: int = 5) -> Answer:
    return await gateway.ask(chat("up/cheap", max_tokens=most), key=key_of(key))


async def test_money_is_reserved_by_the_price_and_settled_by_the_row(tmp_path: Path) -> None:
    async with Upstream() as upstream:
        gateway = Gateway(written(upstream), tmp_path)
        try:
            await gateway.start()
            assert 200 == (await ask(gateway, "dollars")).status
            row = await gateway.row(caller="dollars")
            assert COST == row["cost"]

            too_much = await ask(gateway, "dollars", 500)
            assert 402 == too_much.status, "500 tokens of output would be a cent, all there was"
            assert {
                "message": "This API key's budget for this month is spent.",
                "type": "insufficient_quota",
                "param": None,
                "code": "budget_exceeded",
            } == too_much.json["error"]
            assert None is too_much.header("retry-after")
            assert 200 == (await ask(gateway, "dollars", 400)).status
            moved = await gateway.metrics()
            assert 1 == moved.get("sluicegate_limit_refusals_total", scope="key", kind="dollars")
            assert 1 == moved.get("sluicegate_requests_total", status="402", error_type="budget_exceeded")
            await gateway.stop()
        finally:
            gateway.kill()


async def test_what_costs_behind_a_target_that_costs_nothing_is_spent_too(tmp_path: Path) -> None:
    async with Upstream() as upstream:
        gateway = Gateway(written(upstream), tmp_path)
        try:
            await gateway.start()
            asked = [await gateway.ask(chat("behind", max_tokens=5), key=key_of("behind")) for _ in range(4)]
            assert [200, 200, 402, 402] == [answer.status for answer in asked]
            assert [COST] * 2 == [row["cost"] for row in await gateway.rows() if row["status"] == 200]
            await gateway.stop()
        finally:
            gateway.kill()


async def test_credits_and_groups_have_budgets_too_and_a_restart_does_not_refill_them(tmp_path: Path) -> None:
    async with Upstream() as upstream:
        gateway = Gateway(written(upstream), tmp_path)
        try:
            await gateway.start()
            assert [200, 200, 200, 402] == [(await ask(gateway, "credits", 1)).status for _ in range(4)]
            assert [200, 200, 402] == [(await ask(gateway, "tight")).status for _ in range(3)]
            spent = [(await ask(gateway, key)).status for key in ("blue-1", "blue-2", "blue-1", "blue-2", "blue-1")]
            assert [200, 200, 200, 200, 402] == spent
            await gateway.stop()
            await gateway.start()
            again = [(await ask(gateway, key)).status for key in ("credits", "tight", "blue-1", "blue-2", "dollars")]
            assert [402, 402, 402, 402, 200] == again
            gateway.kill()
            await gateway.start()

            async def known() -> bool:
                return (await ask(gateway, "tight")).status == 402

            await eventually(known, "the budget that was spent", 1)
            await gateway.stop()
        finally:
            gateway.kill()


async def test_openais_sdk_does_not_try_a_spent_budget_again(tmp_path: Path) -> None:
    async with Upstream() as upstream:
        gateway = Gateway(written(upstream), tmp_path)
        try:
            await gateway.start()
            async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=key_of("sdk")) as client:
                asking: Any = {"model": "up/cheap", "messages": [{"role": "user", "content": "Hi"}]}
                await client.chat.completions.create(**asking)
                with pytest.raises(openai.APIStatusError) as caught:
                    await client.chat.completions.create(**asking)
            assert (402, "budget_exceeded") == (caught.value.status_code, caught.value.code)
            assert 1 == (await gateway.metrics()).get("sluicegate_requests_total", status="402")
            await gateway.stop()
        finally:
            gateway.kill()


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_key_of_the_store_has_a_budget_that_outlives_the_gateway(tmp_path: Path, workers: int) -> None:
    async with Upstream() as upstream:
        gateway = Gateway(written(upstream) | {"workers": workers}, tmp_path)
        try:
            await gateway.start()
            made = await beside(gateway.file, lambda keys: keys.create({"name": "app"} | BUDGETS["tight"]))

            async def asked() -> int:
                return (await gateway.ask(chat("up/cheap", max_tokens=5), key=made["key"])).status

            statuses: list[int] = []

            async def spent() -> bool:
                statuses.append(await asked())
                return statuses[-3:] == [402] * 3

            await eventually(spent, "the end of the budget", 15)
            assert 2 == statuses.count(200)
            await gateway.stop()
            await gateway.start()
            assert [402] * 3 == [await asked() for _ in range(3)]
            await gateway.stop()
        finally:
            gateway.kill()
