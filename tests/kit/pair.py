"""A gateway before two scripted upstreams: the targets of one model, and how they are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any

from tests.kit.client import Answer, ask, chat, request_bytes
from tests.kit.gateway import Gateway, configuration, eventually
from tests.kit.words import ANSWER

from sluicegate.demo.scripts import json_answer
from sluicegate.demo.upstream import Upstream

#: Three failures, and a probe after half a second.
HEALTH: dict[str, Any] = {"failures": 3, "cooldown": 0.5, "cooldown_max": 2}
WORKS = json_answer(ANSWER)
FAILS = json_answer({"error": {"message": "out of order"}}, status=500)


@dataclass
class Pair:
    """A gateway whose model `m` has the targets `one/m` and `two/m`, or the first alone."""

    gateway: Gateway
    one: Upstream
    two: Upstream

    async def ask(self, *, stream: bool = False, model: str = "m") -> Answer:
        return await self.gateway.ask(chat(model, stream=stream))

    async def target(self, name: str = "one/m") -> dict[str, Any]:
        """What the admin address says of a target."""
        targets = (await self.gateway.admin_get("/admin/targets")).json["data"]
        return next(target for target in targets if target["target"] == name)

    async def is_(self, state: str, name: str = "one/m") -> None:
        """The target comes into this state, and the metrics say so too."""

        async def so() -> bool:
            return bool((await self.target(name))["state"] == state)

        await eventually(so, f"{name} to be {state}")
        samples = await self.gateway.metrics()
        assert 1 == samples.get("sluicegate_target_state", target=name, state=state)
        assert 1 == samples.get("sluicegate_target_state", target=name)

    async def goes_down(self) -> None:
        """The first target fails until it is left alone."""
        self.one.script("m", FAILS)
        for _ in range(HEALTH["failures"]):
            await self.ask()
        await self.is_("open")

    async def probe_is_due(self) -> None:
        """The cool-down of the first target is over."""

        async def due() -> bool:
            return bool((await self.target())["next_probe_seconds"] == 0)

        await eventually(due, "the end of the cool-down")

    async def waiting(self, count: int) -> None:
        """So many requests wait for a target."""

        async def so() -> bool:
            return (await self.gateway.metrics()).get("sluicegate_waiting_requests") == count

        await eventually(so, f"{count} waiting requests")

    async def reload(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Write another configuration and have it taken over."""
        tree = json.loads(self.gateway.file.read_text(encoding="utf-8"))
        change(tree)
        self.gateway.file.write_text(json.dumps(tree), encoding="utf-8")
        answer = await ask(self.gateway.admin, request_bytes(None, path="/admin/reload", method="POST"))
        assert 200 == answer.status, answer.body


@asynccontextmanager
async def pair(
    folder: Path,
    *,
    alone: bool = False,
    health: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    **model: Any,
) -> AsyncIterator[Pair]:
    async with Upstream() as one, Upstream() as two:
        two.script("m", WORKS)
        upstreams = {
            name: {"dialect": "openai", "api_key": f"sk-{name}", "base_url": upstream.base_url}
            for name, upstream in (("one", one), ("two", two))
        }
        weights: Sequence[int | None] = model.pop("weights", (None, None))
        targets = [
            {"upstream": name, "model": "m"} | ({} if weight is None else {"weight": weight})
            for name, weight in zip(("one", "two"), weights, strict=True)
        ]
        models = {"m": {"targets": targets[:1] if alone else targets, **model}}
        gateway = Gateway(configuration(upstreams, models, health=HEALTH | (health or {}), **(settings or {})), folder)
        try:
            await gateway.start()
            yield Pair(gateway, one, two)
            if gateway.process.returncode is None:
                await gateway.stop()
        finally:
            gateway.kill()
