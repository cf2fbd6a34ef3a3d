"""A hundred requests at once against a limit that has room for three: the round that every authority must stand."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
import time
from typing import Any

from tests.kit.client import Wire, chat, request_bytes
from tests.kit.gateway import Gateway, eventually

from sluicegate.demo.scripts import Script, Stall
from sluicegate.demo.upstream import Upstream

#: Rounds by default, and in `make test-all`; each has a key of its own.
ROUNDS, ALL_ROUNDS = 10, 200
#: The keys of the rounds; a request reserves a third of such a limit.
ROOM_FOR_THREE: dict[str, dict[str, Any]] = {f"round-{i}": {"tokens_per_minute": 300} for i in range(ALL_ROUNDS)}


def key_of(name: str) -> str:
    """The key of a name in these tests' configurations."""
    return f"sk-test-{name}"


async def within_a_minute(seconds: float) -> None:
    """Wait for the next minute if this one ends too soon for a test that counts inside one."""
    if (left := 60 - time.time() % 60) < seconds:
        await asyncio.sleep(left)


async def against_three(gateways: Sequence[Gateway], upstream: Upstream, number: int) -> None:
    """Ask a hundred times at once, for `up/...`; at most three of them may reach the upstream, which never answers."""
    await within_a_minute(5)
    model = f"silent-{number}"
    upstream.script(model, Script((Stall(),)))
    sent = request_bytes(chat(f"up/{model}", stream=True, max_tokens=70), key=key_of(f"round-{number}"))
    wires = [Wire(gateway.url) for gateway in gateways for _ in range(100 // len(gateways))]
    refused: list[int] = []

    async def one(wire: Wire) -> None:
        await wire.__aenter__()
        await wire.send(sent)
        refused.append((await wire.head()).status)

    def admitted() -> int:
        return sum(request.model == model for request in upstream.requests)

    async def decided() -> bool:
        return len(refused) + admitted() == len(wires)

    tasks = [asyncio.ensure_future(one(wire)) for wire in wires]
    try:
        await eventually(decided, "a hundred decisions", 20)
        assert admitted() <= 3, "each reserves a third of the limit"
        # On a machine that is too busy nobody may answer in time: then nobody is admitted, and told so.
        assert {429} == set(refused) or 503 in refused
        assert admitted() or 503 in refused
    finally:
        for task in tasks:
            task.cancel()
        for wire in wires:
            wire.close()
