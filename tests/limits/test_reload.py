"""Limits and a reload: what is drawn stays drawn, and other figures hold from then on."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
import signal
import time
from typing import Any

import pytest
from tests.kit.client import Wire, chat, request_bytes
from tests.kit.gateway import Gateway, configuration, eventually
from tests.kit.words import ANSWER, GOOD

from sluicegate.demo.scripts import Stall, json_answer, respond
from sluicegate.demo.upstream import Upstream


def written(upstream: Upstream, requests: int, streams: int) -> dict[str, Any]:
    return configuration(
        {"up": {"dialect": "openai", "base_url": upstream.base_url}},
        {"up/*": {"targets": [{"upstream": "up", "model": "*"}]}},
        keys=[
            {"name": "one", "key": "sk-test-one", "requests_per_minute": requests},
            {"name": "two", "key": "sk-test-two", "concurrent_streams": streams},
        ],
    )


async def reloaded(gateway: Gateway, settings: dict[str, Any]) -> None:
    version = (await gateway.rows())[0]["configuration"]
    gateway.file.write_text(json.dumps(settings), encoding="utf-8")
    gateway.process.send_signal(signal.SIGHUP)

    async def taken_over() -> bool:
        await gateway.ask(chat("up/whole"), key="sk-test-two")
        return bool((await gateway.rows())[0]["configuration"] != version)

    await eventually(taken_over, "the other configuration")


@pytest.mark.timeout(90)
async def test_a_reload_changes_limits_and_refills_none(tmp_path: Path) -> None:
    async with Upstream() as upstream:
        upstream.script("whole", json_answer(ANSWER))
        upstream.script("open", respond(GOOD[0], Stall()))
        gateway = Gateway(written(upstream, 3, 1), tmp_path)

        async def asked(count: int) -> list[int]:
            return [(await gateway.ask(chat("up/whole"), key="sk-test-one")).status for _ in range(count)]

        async def streams() -> int:
            return (await gateway.ask(chat("up/open", stream=True), key="sk-test-two")).status

        try:
            await gateway.start()
            if (left := 60 - time.time() % 60) < 20:
                await asyncio.sleep(left)
            assert [200, 200] == await asked(2)
            async with Wire(gateway.url) as wire:
                await wire.send(request_bytes(chat("up/open", stream=True), key="sk-test-two"))
                await wire.head()
                assert 429 == await streams()
                await reloaded(gateway, written(upstream, 5, 1))
                assert [200, 200, 200, 429] == await asked(4), "five a minute, two of them before"
                assert 429 == await streams(), "the stream of before still counts"
                await reloaded(gateway, written(upstream, 4, 1))
                assert [429] == await asked(1)
            await gateway.stop()
        finally:
            gateway.kill()
