"""Faults 51-59, 88, 98 and 102-105 with more than one target or credential: who is asked next, and what is left of it.

`pair/*` leads to the plain upstream and, where that fails, to the secure one; `keyed/*` to the plain one with two
credentials. The same model name reaches both, so that each has its own script for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from tests.kit.client import Answer, chat
from tests.kit.gateway import eventually
from tests.kit.samples import Samples
from tests.kit.scene import Scene
from tests.kit.scene import scene as a_scene
from tests.kit.words import ANSWER, FIGURES, GOOD

from sluicegate.demo import faults
from sluicegate.demo.requests import Received
from sluicegate.demo.scripts import Script, Stall, json_answer, respond

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASKED = {"include_usage": True}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """Two targets, or two credentials, for each model."""
    async with a_scene(
        tmp_path_factory.mktemp("fallback"),
        models={
            "pair/*": {"targets": [{"upstream": name, "model": "*"} for name in ("plain", "secure")]},
            "mapped": {"targets": [{"upstream": name, "model": "mapped"} for name in ("plain", "secure")]},
        },
        timeouts={"connect": 1, "first_content": 2, "idle": 2},
        retries={"here": 0, "credential_rest": 0.001, "backoff": 0.001, "backoff_max": 0.001},
    ) as running:
        yield running


def error_status(status: int, code: str = "oops", **headers: str) -> Script:
    """An upstream's error answer."""
    body = {"error": {"message": "Something is wrong.", "type": "server_error", "param": None, "code": code}}
    return json_answer(
        body, status=status, headers=[(name.replace("_", "-"), value) for name, value in headers.items()]
    )


@dataclass
class Fallen:
    """What everybody saw of one request to `pair/*`."""

    answer: Answer
    row: dict[str, Any]
    moved: Samples
    primary: list[Received]
    second: list[Received]

    @property
    def attempts(self) -> list[tuple[str, str, int]]:
        """Target, outcome and the upstream's status of each attempt."""
        return [(one["target"], one["outcome"], one["status"]) for one in self.row["attempts"]]


async def fall(scene: Scene, first: Script, *then: Script, name: str = "", **members: Any) -> Fallen:
    """Ask `pair/*` once: the plain upstream plays `first`, the secure one `then`."""
    model = scene.model(first)
    model = name or f"pair/{model.partition('/')[2]}"
    sent = model.rpartition("/")[2]
    scene.upstream.script(sent, first)
    scene.secure.script(sent, *(then or (respond(*GOOD),)))
    await nothing_kept(scene)
    before = await scene.gateway.metrics()
    body = {**chat(model, stream=True, stream_options=ASKED), **members}
    answer = await scene.gateway.ask(body)
    row = await scene.gateway.row(id=answer.id)
    moved = await scene.gateway.metrics() - before
    await scene.serves()
    primary = [request for request in scene.upstream.requests if request.model == sent]
    second = [request for request in scene.secure.requests if request.model == sent]
    return Fallen(answer, row, moved, primary, second)


async def nothing_kept(scene: Scene) -> None:
    """No connection to the plain upstream is kept: a reused one that dies would be replaced unseen (fault 57)."""
    scene.upstream.drop_connections()

    async def gone() -> bool:
        return not (await scene.gateway.metrics()).get("sluicegate_upstream_connections", upstream="plain")

    await eventually(gone, "no connection to the plain upstream")


def fell_back(seen: Fallen, code: str, status: int, target: str = "*") -> None:
    """The second target's answer is the caller's, whole, and everybody says so."""
    assert (seen.answer.status, seen.answer.body, seen.answer.whole) == (200, b"".join(GOOD), True)
    assert seen.answer.header("x-sluicegate-attempts") == "2"
    assert seen.attempts == [(f"plain/{target}", code, status), (f"secure/{target}", "completed", 200)]
    assert [one["decisive"] for one in seen.row["attempts"]] == [False, True]
    assert (seen.row["status"], seen.row["error_code"], seen.row["target"]) == (200, "", f"secure/{target}")
    assert dict(seen.row["usage"]["reported"]) == FIGURES
    labels = {"from": f"plain/{target}", "to": f"secure/{target}", "reason": code}
    assert seen.moved.get("sluicegate_fallbacks_total", **labels) == 1
    assert len(seen.second) == 1


#: What the primary does before anything is the caller's; the code of its attempt, and its status.
BEFORE_COMMIT: dict[str, tuple[Script, str, int]] = {
    "500": (error_status(500), "upstream_error", 500),
    "503": (error_status(503), "upstream_overloaded", 503),
    "429": (error_status(429, "rate_limit_exceeded"), "upstream_rate_limited", 429),
    "402": (error_status(402, "insufficient_quota"), "upstream_quota", 402),
    "401": (error_status(401, "invalid_api_key"), "upstream_auth", 401),
    "403": (error_status(403, "forbidden"), "upstream_auth", 403),
    "58 FIN": (faults.closes_before_head(), "upstream_lost", 0),
    "58 RST": (faults.resets_before_head(), "upstream_lost", 0),
    "59 FIN after the head": (faults.closes_after_head(), "upstream_truncated", 200),
    "61 a redirect": (respond(status=302, headers=[("location", "http://x.test/")]), "upstream_redirect", 302),
    "90 a stall": (respond(Stall()), "upstream_timeout", 200),
    "98 JSON": (json_answer(ANSWER), "upstream_not_stream", 200),
    "98 nothing": (respond(content_type="", framing="length"), "upstream_empty", 200),
    "98 HTML": (json_answer(b"<html>", content_type="text/html"), "upstream_not_stream", 200),
}


@pytest.mark.parametrize("name", BEFORE_COMMIT)
async def test_58_59_61_90_98_102_103_the_next_target_answers_before_the_first_content(scene: Scene, name: str) -> None:
    script, code, status = BEFORE_COMMIT[name]
    seen = await fall(scene, script)
    fell_back(seen, code, status)
    assert len(seen.primary) == 1
