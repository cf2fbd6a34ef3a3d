"""Fault 91: a model that thinks for minutes. Comments keep the client's connection open, and change nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
import json
import time
from typing import Any

import pytest
from tests.kit.client import Answer, Wire, chat, request_bytes
from tests.kit.pairs import HASTE, PAIR, fall, refusal
from tests.kit.scene import Aftermath, Scene
from tests.kit.scene import scene as a_scene
from tests.kit.words import DELTA, FIGURES, FINISH, GOOD, HELLO, WORLD, event

from sluicegate.demo import faults
from sluicegate.demo.scripts import Close, Pause, Piece, Script, Wait, respond
from sluicegate.dialects.speech import HEARTBEAT

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLAIN = {"targets": [{"upstream": "plain", "model": "*"}]}
SETTINGS: dict[str, Any] = {
    "timeouts": {"heartbeat": 1, "first_content": 4, "idle": 5},
    "models": PAIR
    | {"silent/*": PLAIN | {"timeouts": {"heartbeat": 0}}, "rare/*": PLAIN | {"timeouts": {"heartbeat": 3}}},
    "retries": HASTE,
    "mounts": [{"prefix": "/v1", "profile": "openai"}, {"prefix": "/raw/v1", "profile": "transparent"}],
}
ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
PING = b": ping\n\n"
ASKED = {"stream_options": {"include_usage": True}}
#: A silence after which a heartbeat is due and the sweep, which may be a second late, has come.
SILENCE = Pause(2.2)


def beats(answer: Answer) -> int:
    """How many comments of ours are in it; none of them inside an event."""
    before = answer.body.split(HEARTBEAT)[:-1]
    assert all(piece == b"" or piece.endswith(b"\n\n") for piece in before), answer.body
    return len(before)


def agrees(answer: Answer, seen: Aftermath) -> None:
    """The row and the metrics count what the client got."""
    assert seen.row["heartbeats"] == beats(answer)
    assert seen.moved.get("sluicegate_heartbeats_total") == beats(answer)
    assert seen.row["bytes_out"] == len(answer.body)


@pytest.mark.parametrize("by", ["plain", "secure"])
async def test_91_a_stream_that_is_silent_for_a_while_has_comments_between_its_events(scene: Scene, by: str) -> None:
    answer, seen = await scene.play(respond(HELLO, SILENCE, WORLD[:20], SILENCE, WORLD[20:], *GOOD[2:]), ASKED, by=by)
    assert answer.body.replace(HEARTBEAT, b"") == b"".join(GOOD)
    # What has come of an event that has not ended is not the client's yet: a comment goes before it.
    assert answer.body.startswith(HELLO + HEARTBEAT)
    assert beats(answer) >= 2
    assert HEARTBEAT in answer.pieces, "a chunk of its own"
    seen.succeeded()
    agrees(answer, seen)


@pytest.mark.parametrize("by", ["plain", "secure"])
async def test_91_a_model_that_thinks_opens_the_clients_message_and_loses_nothing(scene: Scene, by: str) -> None:
    answer, seen = await scene.play(respond(PING, ROLE, SILENCE, *GOOD), ASKED, by=by)
    assert answer.body.startswith(HEARTBEAT)
    assert answer.body.replace(HEARTBEAT, b"") == PING + ROLE + b"".join(GOOD)
    assert (beats(answer) >= 1, answer.whole, answer.header("cache-control")) == (True, True, "no-cache, no-transform")
    seen.succeeded()
    agrees(answer, seen)


async def test_91_comments_of_the_upstreams_put_no_heartbeat_off_before_the_commit(scene: Scene) -> None:
    pings = tuple(piece for _ in range(6) for piece in (PING, Pause(0.5)))
    answer, seen = await scene.play(respond(*pings, *GOOD), ASKED)
    assert beats(answer) >= 1
    seen.succeeded()


async def test_91_nothing_is_sent_before_the_upstream_has_answered(scene: Scene) -> None:
    started = time.monotonic()
    answer, seen = await scene.play(faults.stalls_before_head())
    assert (answer.status, answer.error["code"], seen.row["heartbeats"]) == (504, "upstream_timeout", 0)
    assert time.monotonic() - started > 4


ENDS: dict[str, tuple[tuple[Piece, ...], str]] = {
    "cut": ((ROLE, SILENCE, Close()), "upstream_truncated"),
    "ended without content": ((ROLE, SILENCE), "upstream_ended_without_content"),
    "an error": ((ROLE, SILENCE, b'data: {"error":{"message":"The model is gone","code":502}}\n\n'), "upstream_error"),
    "silence": ((ROLE, Pause(8)), "upstream_timeout"),
}


@pytest.mark.parametrize("name", ENDS)
async def test_91_an_open_message_without_an_answer_is_told_the_error_inside(scene: Scene, name: str) -> None:
    pieces, code = ENDS[name]
    model = scene.model(respond(*pieces))
    before = await scene.gateway.metrics()
    async with scene.streaming_model(model) as (wire, answer):
        await wire.rest(answer)
        assert (answer.status, answer.whole, beats(answer) >= 1) == (200, True, True)
        assert (len(answer.datas), answer.last_error["code"]) == (1, code)
        assert b"[DONE]" not in answer.body
        assert await wire.closed_by_server() == b""
    seen = await scene.aftermath(model, before)
    seen.broken_off(code)
    agrees(answer, seen)


async def test_91_so_is_a_client_of_anthropics_and_of_responses(scene: Scene) -> None:
    opened = b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":3}}}\n\n'
    claude = scene.play(respond(opened, SILENCE, Close()), {"max_tokens": 9}, path="/v1/messages", by="claude")
    created = b'event: response.created\ndata: {"type":"response.created","response":{}}\n\n'
    responses = scene.play(respond(created, SILENCE, Close()), {"input": "Hi"}, path="/v1/responses")
    answers = [answer for answer, _ in await asyncio.gather(claude, responses)]
    for answer in answers:
        assert beats(answer) >= 1
        assert answer.body.replace(HEARTBEAT, b"").startswith(b"event: error\ndata: ")
    told = [json.loads(answer.datas[-1]) for answer in answers]
    assert told[0]["error"]["code"] == told[1]["code"] == "upstream_truncated"


async def test_91_responses_has_comments_too(scene: Scene) -> None:
    completed = b'event: response.completed\ndata: {"type":"response.completed","response":{"status":"completed"}}\n\n'
    answer, _ = await scene.play(respond(DELTA, SILENCE, completed), {"input": "Hi"}, path="/v1/responses")
    assert answer.body.startswith(DELTA + HEARTBEAT)
    assert answer.body.replace(HEARTBEAT, b"") == DELTA + completed


async def test_91_an_old_client_gets_them_without_chunks(scene: Scene) -> None:
    answer, seen = await scene.play(respond(ROLE, SILENCE, HELLO, SILENCE, *GOOD[1:]), ASKED, version="1.0")
    assert (answer.header("transfer-encoding"), answer.status) == (None, 200)
    assert answer.body.replace(HEARTBEAT, b"") == ROLE + b"".join(GOOD)
    assert (answer.body.startswith(HEARTBEAT), beats(answer) >= 2) == (True, True)
    agrees(answer, seen)


async def test_91_where_they_are_off_nothing_is_added(scene: Scene) -> None:
    script = respond(ROLE, SILENCE, HELLO, SILENCE, *GOOD[1:])
    silent = scene.play(script, ASKED, by="silent")
    transparent = scene.play(script, ASKED, path="/raw/v1/chat/completions")
    for answer, seen in await asyncio.gather(silent, transparent):
        assert answer.body == ROLE + b"".join(GOOD)
        assert seen.row["heartbeats"] == 0


async def test_91_a_model_may_have_its_own_time(scene: Scene) -> None:
    answer, _ = await scene.play(respond(HELLO, Pause(4.6), *GOOD[1:]), ASKED, by="rare")
    assert beats(answer) == 1


async def test_91_comments_do_not_keep_a_stalled_upstream_alive(scene: Scene) -> None:
    started = time.monotonic()
    answer, seen = await scene.play(faults.stalled_stream(HELLO))
    assert 5 < time.monotonic() - started < 9
    assert (answer.last_error["code"], beats(answer) >= 2) == ("upstream_stalled", True)
    seen.broken_off("upstream_stalled")
    agrees(answer, seen)


async def test_91_a_client_that_does_not_read_gets_no_pile_of_comments(scene: Scene) -> None:
    large = event("x" * 65536)
    model = scene.model(respond(HELLO, *([large] * 256), FINISH, *GOOD[3:]))
    async with Wire(scene.gateway.url, receive_buffer=16384) as wire:
        await wire.send(request_bytes(chat(model, stream=True, **ASKED), key=scene.gateway.key))
        answer = await wire.head()
        await asyncio.sleep(4)  # in which four would be due
        await wire.rest(answer)
    assert answer.body == HELLO + large * 256 + FINISH + b"".join(GOOD[3:])


LEAVES: dict[str, Callable[[Wire], None]] = {"FIN": Wire.close, "RST": Wire.reset}


@pytest.mark.parametrize("leave", LEAVES)
async def test_91_107_gone_after_a_comment_and_before_any_content(scene: Scene, leave: str) -> None:
    model = scene.model(respond(ROLE, Wait(asyncio.Event())))
    before = await scene.gateway.metrics()
    async with scene.streaming_model(model) as (wire, answer):
        await wire.until(answer, HEARTBEAT)
        LEAVES[leave](wire)
        await scene.requests(model)[0].closed_by_peer(within=1)
        seen = await scene.aftermath(model, before)
    assert (seen.row["status"], seen.row["error_code"]) == (200, "client_disconnected")
    assert seen.row["left"] == "before_commit"
    assert seen.moved.get("sluicegate_client_disconnects_total", phase="before_commit") == 1


EARLY: dict[str, tuple[Script, str]] = {
    "no head": (faults.stalls_before_head(), "upstream_timeout"),
    "an error status": (
        faults.failure(429, b'{"error":{"message":"slow down"}}').before(SILENCE),
        "upstream_rate_limited",
    ),
    "not a stream": (faults.html_page().before(SILENCE), "upstream_not_stream"),
}


async def test_91_102_the_next_target_takes_an_open_message_over_unseen(scene: Scene) -> None:
    seen = await fall(scene, respond(ROLE, SILENCE, Close()), respond(*GOOD).before(SILENCE))
    answer, row = seen.answer, seen.row
    # Once open it has heartbeats whatever is under way: here the second one's answer is waited for.
    assert (answer.status, answer.whole, beats(answer) >= 2) == (200, True, True)
    assert answer.body.startswith(HEARTBEAT)
    assert answer.body.replace(HEARTBEAT, b"") == b"".join(GOOD)
    assert seen.attempts == [("plain/*", "upstream_truncated", 200), ("secure/*", "completed", 200)]
    assert (row["status"], row["outcome"], row["heartbeats"]) == (200, "completed", beats(answer))
    assert (row["bytes_out"], seen.figures) == (len(answer.body), FIGURES)


async def test_91_104_of_targets_that_all_fail_the_first_ones_error_is_told_inside(scene: Scene) -> None:
    seen = await fall(scene, respond(ROLE, SILENCE, Close()), refusal(503))
    answer, row = seen.answer, seen.row
    assert (answer.status, answer.whole, answer.datas[1:]) == (200, True, [])
    assert (beats(answer) >= 1, answer.last_error["code"]) == (True, "upstream_truncated")
    assert [code for _, code, _ in seen.attempts] == ["upstream_truncated", "upstream_overloaded"]
    assert (row["status"], row["error_code"], row["bytes_out"]) == (200, "upstream_truncated", len(answer.body))
    assert seen.moved.get("sluicegate_requests_total", status="200", error_type="upstream_truncated") == 1


@pytest.mark.asyncio(loop_scope="function")
async def test_91_early_heartbeats_do_not_wait_for_the_upstreams_answer(tmp_path: Any) -> None:
    times = {"heartbeat": 1, "first_content": 5}
    async with a_scene(tmp_path, timeouts=times, heartbeat_early=True) as early:
        good, *failed = await asyncio.gather(
            early.play(respond(*GOOD).before(SILENCE), ASKED), *(early.play(script) for script, _ in EARLY.values())
        )
        answer, seen = good
        assert answer.body.startswith(HEARTBEAT)
        assert answer.body.replace(HEARTBEAT, b"") == b"".join(GOOD)
        assert (seen.row["status"], seen.row["outcome"]) == (200, "completed")
        for (answer, seen), (_, code) in zip(failed, EARLY.values(), strict=True):
            assert (answer.status, answer.last_error["code"], answer.whole) == (200, code, True)
            assert (seen.row["status"], seen.row["error_code"]) == (200, code)
            assert beats(answer) >= 1
        # An answer that comes in time is still an answer of its own, and so is one that is not streamed.
        refused, _ = await early.play(faults.failure(400, b'{"error":{"message":"no"}}'))
        assert refused.status == 400
