"""Slow and stalled upstreams: each ends in its named outcome, in its own time, and holds nobody up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
import time
from typing import Any

import pytest
import pytest_asyncio
from tests.kit.client import Answer, chat
from tests.kit.pairs import silent_port
from tests.kit.scene import Scene
from tests.kit.scene import scene as a_scene
from tests.kit.words import ANSWER, DONE, FINISH, HELLO

from sluicegate.demo import faults
from sluicegate.demo.scripts import Pause, PauseReading, Script, Send, Stall, head, json_answer, raw, respond

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: How late the sweep, which comes once a second, and a loaded machine may be.
LATE = 3.0
EVERYBODYS = {"connect": 60, "first_content": 60, "idle": 60, "total": 60, "done_grace": 60, "heartbeat": 0}
#: By configured name: the upstream, the target's own times, the model's own times.
TIMES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "hole": ("hole", {"connect": 1}, {}),
    "deep": ("hole", {"connect": 2}, {"connect": 40}),
    "mute": ("mute", {}, {"connect": 2}),
    "first": ("plain", {"first_content": 2}, {"first_content": 40}),
    "idle": ("plain", {"idle": 2}, {}),
    "total": ("plain", {}, {"total": 2}),
    "grace": ("plain", {"done_grace": 1}, {}),
    "graceless": ("plain", {}, {"done_grace": 0}),
}


async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """Everybody's times are long; some models and targets have short ones of their own."""
    models = {
        f"{name}/*": {"targets": [{"upstream": upstream, "model": "*", "timeouts": target}], "timeouts": model}
        for name, (upstream, target, model) in TIMES.items()
    }
    mute = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    with silent_port() as hole:
        async with mute:
            upstreams = {
                "hole": {"dialect": "openai", "base_url": f"http://127.0.0.1:{hole}/v1"},
                "mute": {"dialect": "openai", "base_url": f"https://localhost:{mute.sockets[0].getsockname()[1]}/v1"},
            }
            folder = tmp_path_factory.mktemp("time")
            async with a_scene(folder, upstreams=upstreams, models=models, timeouts=EVERYBODYS) as running:
                yield running


@dataclass(frozen=True)
class Slow:
    """What an upstream does to a model's request, and what comes of it after so many seconds."""

    model: str
    script: Script | None
    status: int
    code: str
    after: float = 2
    stream: bool = True
    body: int = 0
    """Characters of the request's message."""


DRIP = tuple(step for _ in range(400) for step in (Send(b"x"), Pause(0.2)))
DRIPPING_HEAD = raw(b"HTTP/1.1 200 OK\r\nx-slow: ", *DRIP)
DRIPPING_EVENT = respond(HELLO, b"data: ", *(piece for _ in range(99) for piece in (b"x", Pause(0.2))))
PINGS = respond(*(piece for _ in range(99) for piece in (b": ping\n\n", Pause(0.3))))
NOT_READ = replace(raw(PauseReading(), Stall()), early=True)
HALF = raw(head(200, [("content-type", "application/json"), ("content-length", "4096")]), ANSWER[:50])
PAGE = raw(head(200, [("content-type", "text/html"), ("content-length", "4096")]), b"<!doctype", Stall())
REFUSAL = b'{"error":{"message":"The pipes are frozen","type":"server_error"}}'
ERROR = raw(head(500, [("content-type", "application/json"), ("content-length", "4096")]), REFUSAL, Stall())
OPEN_END = faults.stalled_stream(HELLO, FINISH)

CASES = {
    "a connect without an answer": Slow("hole", None, 504, "upstream_connect_timeout", after=1),
    "a connect, the target's time before the model's": Slow("deep", None, 504, "upstream_connect_timeout"),
    "a handshake without an answer": Slow("mute", None, 504, "upstream_connect_timeout"),
    "a request that is not read": Slow("total", NOT_READ, 504, "total_timeout", stream=False, body=8 << 20),
    "a request that is not read, streamed": Slow("first", NOT_READ, 504, "upstream_timeout", body=8 << 20),
    "no head": Slow("total", faults.stalls_before_head(), 504, "total_timeout", stream=False),
    "no head, streamed": Slow("first", faults.stalls_before_head(), 504, "upstream_timeout"),
    "a head that drips": Slow("total", DRIPPING_HEAD, 504, "total_timeout", stream=False),
    "a head that drips, streamed": Slow("first", DRIPPING_HEAD, 504, "upstream_timeout"),
    "comments without content": Slow("first", PINGS, 504, "upstream_timeout"),
    "half an answer": Slow("total", HALF.then(Stall()), 504, "total_timeout", stream=False),
    "an answer that drips": Slow("total", HALF.then(*DRIP), 504, "total_timeout", stream=False),
    "half a page instead of a stream": Slow("first", PAGE, 504, "upstream_timeout"),
    "half an error": Slow("idle", ERROR, 502, "upstream_error", stream=False),
    "half an error, streamed": Slow("idle", ERROR, 502, "upstream_error"),
    "silence inside the stream": Slow("idle", faults.stalled_stream(HELLO), 200, "upstream_stalled"),
    "half an event": Slow("idle", faults.stalled_stream(HELLO, b"data: {"), 200, "upstream_stalled"),
    "an event that drips": Slow("total", DRIPPING_EVENT, 200, "total_timeout"),
    "a finish without an end": Slow("grace", OPEN_END, 200, "", after=1),
    "a finish without an end or a grace": Slow("graceless", OPEN_END, 200, "", after=0),
}


@dataclass(frozen=True)
class Told:
    """What came of a case."""

    answer: Answer
    row: dict[str, Any]
    after: float


async def told(scene: Scene, case: Slow) -> Told:
    model = scene.model(case.script, by=case.model)
    started = time.monotonic()
    message = [{"role": "user", "content": "x" * case.body}]
    answer = await scene.gateway.ask(chat(model, stream=case.stream, messages=message))
    return Told(answer, await scene.gateway.row(requested_model=model), time.monotonic() - started)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def all_told(scene: Scene) -> dict[str, Told]:
    """All cases at once, and forty handshakes more than may be under way; meanwhile others are served at once."""
    before = await scene.gateway.metrics()
    stuck = [asyncio.create_task(told(scene, CASES["a handshake without an answer"])) for _ in range(40)]
    cases = [asyncio.create_task(told(scene, case)) for case in CASES.values()]
    while not all(task.done() for task in (*cases, *stuck)):
        assert (await scene.gateway.ask(chat(scene.model(json_answer(ANSWER))))).status == 200
        await asyncio.sleep(0.05)
    served = [row["duration"] for row in await scene.gateway.rows() if row["model"] == "plain/*"]
    assert len(served) > 5
    assert max(served) < 1
    assert {(await task).answer.error["code"] for task in stuck} == {"upstream_connect_timeout"}
    moved = await scene.gateway.metrics() - before
    slow = moved.get("sluicegate_loop_lag_seconds_count") - moved.get("sluicegate_loop_lag_seconds_bucket", le="1.0")
    assert slow == 0
    return dict(zip(CASES, [await task for task in cases], strict=True))


@pytest.mark.parametrize("name", CASES)
async def test_52_55_56_90_92_what_is_slow_ends_in_its_own_time(
    scene: Scene, all_told: dict[str, Told], name: str
) -> None:
    case, came = CASES[name], all_told[name]
    assert (came.answer.status, came.row["status"], came.row["error_code"]) == (case.status, case.status, case.code)
    assert case.after <= came.after < case.after + LATE
    if case.status != 200:
        assert came.answer.error["code"] == case.code
    elif case.code:
        assert (came.answer.last_error["code"], came.answer.whole) == (case.code, True)
    else:
        assert came.answer.body == HELLO + FINISH + DONE
    for request in scene.requests(came.row["requested_model"]):
        if case.script is not NOT_READ:
            await request.closed_by_peer()


async def test_90_the_words_of_half_an_error_are_told(all_told: dict[str, Told]) -> None:
    assert all_told["half an error"].answer.error["message"] == "The pipes are frozen"
