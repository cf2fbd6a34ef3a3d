"""Faults 83-92 and 106: how a stream may end, and how the client is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
import json
import time
from typing import Any

import pytest
from tests.kit.scene import Scene
from tests.kit.words import DELTA, DONE, EARLY, FIGURES, FINISH, GOOD, HELLO, USAGE, USAGE_EVENT, WORLD, event

from sluicegate.demo import faults
from sluicegate.demo.scripts import Pause, Script, respond

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS: dict[str, Any] = {
    "timeouts": {"first_content": 2, "idle": 2, "total": 6, "done_grace": 1},
    "mounts": [{"prefix": "/v1", "profile": "openai"}, {"prefix": "/raw/v1", "profile": "transparent"}],
}
ASKED = {"stream_options": {"include_usage": True}}
MIB = 1 << 20


ENDS = {
    "the exact one": (b"data: [DONE]\n\n", b"data: [DONE]\n\n"),
    "without a space": (b"data:[DONE]\n\n", b"data:[DONE]\n\n"),
    "CRLF": (b"data: [DONE]\r\n\r\n", b"data: [DONE]\r\n\r\n"),
    "with a letter": (b"data: [DONE]x\n\n", b"data: [DONE]x\n\n" + DONE),
    "as the first of two lines": (b"data: [DONE]\ndata: x\n\n", b"data: [DONE]\ndata: x\n\n" + DONE),
    "without its blank line": (b"data: [DONE]", DONE),
    "with a space, without its blank line": (b"data: [DONE] \n", b"data: [DONE] \n\n"),
    "not at all (85)": (b"", DONE),
}


@pytest.mark.parametrize("name", ENDS)
async def test_83_85_a_finished_stream_ends_with_exactly_one_done(scene: Scene, name: str) -> None:
    sent, expected = ENDS[name]
    answer, seen = await scene.play(respond(HELLO, FINISH, USAGE_EVENT, sent), ASKED)
    assert answer.body == HELLO + FINISH + USAGE_EVENT + expected
    seen.succeeded()


async def test_85_a_transparent_mount_adds_nothing(scene: Scene) -> None:
    answer, seen = await scene.play(respond(HELLO, FINISH, USAGE_EVENT), path="/raw/v1/chat/completions")
    assert answer.body == HELLO + FINISH + USAGE_EVENT
    seen.succeeded()


async def test_85_an_upstream_that_neither_says_done_nor_ends_is_ended_after_the_grace(scene: Scene) -> None:
    answer, seen = await scene.play(faults.stalled_stream(HELLO, FINISH, USAGE_EVENT), ASKED)
    assert answer.body == HELLO + FINISH + USAGE_EVENT + DONE
    seen.succeeded()
    await seen.requests[0].closed_by_peer(within=3)


@pytest.mark.parametrize("tail", [b": bye\n\n", b"data: too late\n\n", WORLD, b"\n\n\n"])
async def test_84_bytes_after_done_are_nobodys_and_the_outcome_stays(scene: Scene, tail: bytes) -> None:
    answer, seen = await scene.play(respond(*GOOD, tail), ASKED)
    assert answer.body == b"".join(GOOD)
    assert answer.whole
    seen.succeeded()


CUT: dict[str, Callable[..., Script]] = {
    "FIN": faults.cut_stream,
    "RST": partial(faults.cut_stream, reset=True),
    "FIN without a framing": partial(faults.cut_stream, framing="close"),
}


@pytest.mark.parametrize("by", ["plain", "secure"])
@pytest.mark.parametrize("how", CUT)
async def test_86_a_cut_stream_is_told_as_cut(scene: Scene, how: str, by: str) -> None:
    read = asyncio.Event()
    script = CUT[how](HELLO, WORLD, when=read)
    model = scene.model(script, by=by)
    before = await scene.gateway.metrics()
    async with scene.streaming_model(model) as (wire, answer):
        await wire.until(answer, WORLD)
        read.set()
        await wire.rest(answer)
        assert answer.body.startswith(HELLO + WORLD)
        assert answer.datas[2:] == [answer.datas[-1]]
        assert answer.last_error == {
            "message": "The upstream ended the stream before it was finished.",
            "type": "upstream_error",
            "param": None,
            "code": "upstream_truncated",
        }
        assert (b"[DONE]" in answer.body, b'finish_reason":"stop' in answer.body, answer.whole) == (False, False, True)
        assert await wire.closed_by_server() == b""
    seen = await scene.aftermath(model, before)
    seen.broken_off("upstream_truncated")
    opened = (scene.secure if by == "secure" else scene.upstream).connections[seen.requests[0].connection - 1]
    assert (opened.requests, seen.provenance) == (seen.requests[0].ordinal, ("estimated", "estimated"))


async def test_86_an_event_cut_in_two_is_closed_before_the_error(scene: Scene) -> None:
    for half, close in (
        (b'data: {"choices":[{"ind', b"\n\n"),
        (b"data: 1\n", b"\n"),
        (b"data: 1\r\n", b"\r\n"),
        (b": x", b"\n\n"),
    ):
        answer, seen = await scene.play(faults.cut_stream(HELLO, half))
        assert answer.body.startswith(HELLO + half + close + b'data: {"error"'), answer.body
        assert answer.last_error["code"] == "upstream_truncated"
        seen.broken_off("upstream_truncated")


async def test_86_the_last_word_before_a_cut_counts_as_partial(scene: Scene) -> None:
    answer, seen = await scene.play(faults.cut_stream(event("a", usage=EARLY), event("b", usage=USAGE)))
    assert answer.last_error["code"] == "upstream_truncated"
    assert (seen.reported, seen.provenance) == (FIGURES, ("partial", "partial"))
    assert seen.moved.get("sluicegate_tokens_total", direction="output", provenance="partial") == 7
    assert seen.moved.get("sluicegate_tokens_total", provenance="provider") == 0


VISIBLE = b'data: {"error":{"message":"The server had an error","type":"server_error","param":null,"code":null}}\n\n'


async def test_87_an_error_inside_the_stream_is_relayed_as_it_is(scene: Scene) -> None:
    answer, seen = await scene.play(respond(HELLO, event("x", usage=USAGE), VISIBLE))
    assert answer.body == HELLO + event("x", usage=USAGE) + VISIBLE
    seen.broken_off("upstream_error_in_band")
    assert seen.reported == FIGURES


async def test_87_nothing_is_added_after_an_error_even_if_the_upstream_says_done(scene: Scene) -> None:
    answer, seen = await scene.play(respond(HELLO, VISIBLE, DONE))
    assert answer.body in (HELLO + VISIBLE, HELLO + VISIBLE + DONE)
    seen.broken_off("upstream_error_in_band")


@pytest.mark.parametrize(
    "hidden", [b'error: {"message":"boom"}\n\n', b'event: error\ndata: {"message":"boom","code":500}\n\n']
)
async def test_87_an_error_sdks_cannot_see_is_followed_by_one_they_can(scene: Scene, hidden: bytes) -> None:
    answer, seen = await scene.play(respond(HELLO, hidden))
    assert answer.body.startswith(HELLO + hidden)
    assert answer.last_error["code"] == "upstream_error_in_band"
    assert b"[DONE]" not in answer.body
    seen.broken_off("upstream_error_in_band")


async def test_87_an_error_before_anything_else_is_an_error_status(scene: Scene) -> None:
    answer, seen = await scene.play(respond(VISIBLE))
    assert answer.status >= 500
    assert answer.error["message"] == "The server had an error"
    assert seen.row["error_code"] == answer.error["code"] != ""
    assert seen.row["status"] == answer.status


async def test_89_an_error_on_the_responses_surface_reaches_the_client_as_one_it_knows(scene: Scene) -> None:
    error = (
        b'event: error\ndata: {"type":"error","sequence_number":2,"error":{"type":"insufficient_quota",'
        b'"code":"insufficient_quota","message":"You exceeded your current quota","param":null}}\n\n'
    )
    answer, seen = await scene.play(respond(DELTA, error), {"input": "Hi"}, path="/v1/responses")
    assert answer.body == DELTA + error
    seen.broken_off("upstream_error_in_band")
    answer, seen = await scene.play(faults.cut_stream(DELTA), {"input": "Hi"}, path="/v1/responses")
    assert answer.body.startswith(DELTA + b"event: error\n")
    told = json.loads(answer.datas[-1])
    assert (told["type"], told["code"], told["error"]["code"]) == ("error", "upstream_truncated", "upstream_truncated")


@pytest.mark.parametrize("stalled", [faults.stalls_before_head(), faults.stalled_stream()], ids=["head", "content"])
async def test_90_a_stall_before_the_first_content_is_a_504(scene: Scene, stalled: Script) -> None:
    answer, seen = await scene.play(stalled)
    assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")
    assert (seen.row["error_code"], len(seen.requests)) == ("upstream_timeout", 1)
    await seen.requests[0].closed_by_peer()


async def test_90_a_stall_inside_the_stream_is_told(scene: Scene) -> None:
    answer, seen = await scene.play(faults.stalled_stream(HELLO))
    assert answer.body.startswith(HELLO)
    assert (answer.last_error["code"], answer.whole) == ("upstream_stalled", True)
    seen.broken_off("upstream_stalled")
    await seen.requests[0].closed_by_peer()


async def test_92_a_trickle_inside_one_event_ends_at_the_total(scene: Scene) -> None:
    trickle = tuple(piece for _ in range(60) for piece in (b"x", Pause(0.25)))
    started = time.monotonic()
    answer, seen = await scene.play(respond(HELLO, b"data: ", *trickle))
    assert answer.last_error["code"] == "total_timeout"
    assert 5 < time.monotonic() - started < 10
    seen.broken_off("total_timeout")
    await seen.requests[0].closed_by_peer()


async def test_106_an_endless_stream_ends_at_the_total(scene: Scene) -> None:
    beat = tuple(piece for _ in range(400) for piece in (WORLD, Pause(0.05)))
    answer, seen = await scene.play(respond(HELLO, *beat))
    assert answer.last_error["code"] == "total_timeout"
    seen.broken_off("total_timeout")
    await seen.requests[0].closed_by_peer()
