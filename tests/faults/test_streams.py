"""Faults 70-82: what an upstream may send inside a stream, and how its usage is found."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from tests.kit.client import chat
from tests.kit.scene import Scene
from tests.kit.words import DELTA, DONE, EARLY, FIGURES, FINISH, GOOD, HELLO, USAGE, USAGE_EVENT, WORLD, event

from sluicegate.demo import faults
from sluicegate.demo.scripts import Mark, Pause, Script, Wait, bytewise, respond

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS: dict[str, Any] = {
    "timeouts": {"first_content": 2, "idle": 2, "total": 6, "done_grace": 1},
    "mounts": [
        {"prefix": "/v1", "profile": "openai"},
        {"prefix": "/raw/v1", "profile": "transparent"},
        {"prefix": "/prefixed/v1", "profile": "prefixed"},
    ],
    # For what is to take long by its size, on whatever machine.
    "models": {
        "slow/*": {
            "targets": [{"upstream": "plain", "model": "*"}],
            "timeouts": {"first_content": 60, "idle": 60, "total": 60},
        },
    },
}
ASKED = {"stream_options": {"include_usage": True}}
MIB = 1 << 20


CUTS = {
    "an umlaut": (event("\u00e9t\u00e9 \u8c46\u8150 \U0001f600"), FINISH, USAGE_EVENT, DONE),
    "CRLF": tuple(part.replace(b"\n", b"\r\n") for part in GOOD),
    "CR": tuple(part.replace(b"\n", b"\r") for part in GOOD),
    "no space": tuple(part.replace(b"data: ", b"data:") for part in GOOD),
    "two data lines": (
        b'data: {"choices":\ndata: [{"index":0,"delta":{"content":"x"}}]}\n\n',
        FINISH,
        USAGE_EVENT,
        DONE,
    ),
}


@pytest.mark.parametrize("name", CUTS)
async def test_70_signs_line_ends_and_the_end_itself_may_be_cut_anywhere(scene: Scene, name: str) -> None:
    events = CUTS[name]
    answer, seen = await scene.play(respond(*events).recut(bytewise), ASKED)
    assert answer.body == b"".join(events)
    seen.succeeded()


async def test_70_a_byte_order_mark_cut_in_three_is_taken_out_on_chat(scene: Scene) -> None:
    answer, seen = await scene.play(respond(b"\xef\xbb\xbf", *GOOD).recut(bytewise), ASKED)
    assert answer.body == b"".join(GOOD)
    seen.succeeded()


async def test_70_id_and_retry_lines_are_taken_out_on_chat_and_left_on_a_transparent_mount(scene: Scene) -> None:
    events = (b"retry: 3000\n\n", b"id: 1\n" + HELLO, b": note\nid: 2\n" + FINISH, USAGE_EVENT, b"id: 3\n" + DONE)
    answer, _ = await scene.play(respond(*events), ASKED)
    assert answer.body == HELLO + b": note\n" + FINISH + USAGE_EVENT + DONE
    answer, _ = await scene.play(respond(*events), ASKED, path="/raw/v1/chat/completions")
    assert answer.body == b"".join(events)


async def test_71_comments_pass_and_are_no_content(scene: Scene) -> None:
    first, commented, ping = asyncio.Event(), asyncio.Event(), b": OPENROUTER PROCESSING\n\n"
    script = respond(ping, ping, Mark(commented), Wait(first), *GOOD, ping)
    model = scene.model(script)
    asked = asyncio.create_task(scene.gateway.ask(chat(model, stream=True, **ASKED)))
    await commented.wait()
    since = time.monotonic()
    await scene.serves()
    waited = time.monotonic() - since
    first.set()
    answer = await asked
    row = await scene.gateway.row(id=answer.id)
    assert answer.body.startswith(ping + ping + b"".join(GOOD))
    assert row["time_to_first_content"] >= waited


async def test_71_comments_alone_never_satisfy_first_content(scene: Scene) -> None:
    script = respond(*(piece for _ in range(40) for piece in (b": ping\n\n", Pause(0.1))), *GOOD)
    answer, seen = await scene.play(script)
    assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")
    assert (seen.row["error_code"], len(seen.requests)) == ("upstream_timeout", 1)


async def test_71_comments_reset_the_idle_timer(scene: Scene) -> None:
    silence = tuple(piece for _ in range(8) for piece in (Pause(0.5), b": ping\n\n"))
    answer, seen = await scene.play(respond(HELLO, *silence, WORLD, FINISH, USAGE_EVENT, DONE), ASKED)
    assert answer.body.replace(b": ping\n\n", b"") == b"".join(GOOD)
    seen.succeeded()


@pytest.mark.parametrize("size", [2 * MIB, 8 * MIB])
@pytest.mark.parametrize("by", ["plain", "secure"])
async def test_72_an_event_of_many_megabytes_passes(scene: Scene, by: str, size: int) -> None:
    big = event("A" * size)
    answer, seen = await scene.play(respond(HELLO, big, FINISH, USAGE_EVENT, DONE), ASKED, by=by)
    assert len(answer.body) == len(HELLO + big + FINISH + USAGE_EVENT + DONE)
    assert answer.body == HELLO + big + FINISH + USAGE_EVENT + DONE
    seen.succeeded()


async def test_73_an_event_without_end_passes_in_bounded_memory_where_nothing_is_rewritten(scene: Scene) -> None:
    before = scene.gateway.rss
    path = "/raw/v1/chat/completions"
    async with scene.streaming(faults.endless_event(), path=path) as (wire, answer, model):
        got = 0
        while got < 128 * MIB:
            got += len(await wire.piece(answer))
            answer.gathered.clear()
            answer.pieces.clear()
        grown = scene.gateway.rss - before
        wire.reset()
    row = await scene.gateway.row(requested_model=model)
    assert grown < 64 * MIB
    assert (row["left"], row["malformed_events"]) == ("streaming", 1)
    await scene.serves()


async def test_73_but_ends_the_stream_where_it_might_have_to_be_rewritten(scene: Scene) -> None:
    before = scene.gateway.rss
    endless = faults.endless_event()
    script = Script((*respond(HELLO).steps[:-1], *endless.steps[1:]))
    answer, seen = await scene.play(script, path="/prefixed/v1/chat/completions")
    assert answer.last_error["code"] == "upstream_event_too_large"
    assert answer.body.startswith(HELLO)
    assert len(answer.body) < 4096
    seen.broken_off("upstream_event_too_large")
    assert scene.gateway.rss - before < 64 * MIB
    await seen.requests[0].closed_by_peer()


async def test_74_a_line_in_96000_pieces_takes_linear_time(scene: Scene) -> None:
    async def spent(pieces: int) -> float:
        big = event("A" * pieces)
        before = scene.gateway.cpu
        script = respond(HELLO, *(big[i : i + 1] for i in range(len(big))), *GOOD[2:])
        answer, _ = await scene.play(script, ASKED, by="slow")
        assert answer.body == HELLO + big + b"".join(GOOD[2:])
        return scene.gateway.cpu - before

    few, many = await spent(12_000), await spent(96_000)
    # Eight times the pieces: eight times the work, not sixty-four.
    assert many < 24 * max(few, 0.05)


@pytest.mark.parametrize(
    "odd",
    [event("a\x00b"), b'data: {"choices":[{"delta":{"content":"\xff\xfe\x80"}}]}\n\n', b"\x00\x01\x02: binary\n\n"],
    ids=["NUL", "invalid utf-8", "binary"],
)
async def test_75_odd_bytes_pass_unaltered_and_later_usage_counts(scene: Scene, odd: bytes) -> None:
    answer, seen = await scene.play(respond(HELLO, odd, FINISH, USAGE_EVENT, DONE), ASKED)
    assert answer.body == HELLO + odd + FINISH + USAGE_EVENT + DONE
    seen.succeeded()


@pytest.mark.parametrize(
    "odd", [b"data: {not json}\n\n", b'data: {"choices":[\n\n', b"data: hello\n\n", b'data: {"a":1}}\n\n']
)
async def test_76_a_malformed_event_passes_and_is_counted(scene: Scene, odd: bytes) -> None:
    answer, seen = await scene.play(respond(HELLO, odd, FINISH, USAGE_EVENT, DONE), ASKED)
    assert answer.body == HELLO + odd + FINISH + USAGE_EVENT + DONE
    seen.succeeded()
    assert seen.row["malformed_events"] == 1
    assert seen.moved.get("sluicegate_malformed_events_total") == 1


PLACES = {
    "with the finish": (HELLO, event(finish="stop", usage=USAGE), DONE),
    "in an event of its own": (HELLO, FINISH, USAGE_EVENT, DONE),
    "in the middle": (HELLO, event("x", usage=USAGE), FINISH, DONE),
    "in x_groq": (HELLO, event(finish="stop", x_groq=f'{{"id":"req_1","usage":{USAGE}}}'), DONE),
    "in every event, changing": (
        event("a", usage=EARLY),
        event("b", usage=EARLY),
        event(finish="stop", usage=USAGE),
        DONE,
    ),
    "and null later (78)": (
        HELLO,
        event("x", usage=USAGE),
        event("y", usage="null"),
        event(finish="stop", usage="null"),
        DONE,
    ),
    "and all zero later": (
        HELLO,
        event(finish="stop", usage=USAGE),
        event("", usage='{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}'),
        DONE,
    ),
}


@pytest.mark.parametrize("place", PLACES)
async def test_77_78_usage_is_found_wherever_it_stands(scene: Scene, place: str) -> None:
    answer, seen = await scene.play(respond(*PLACES[place]), ASKED)
    assert answer.body == b"".join(PLACES[place])
    seen.succeeded()


LOOKALIKES = {
    "in the text": event('\\"usage\\":{\\"prompt_tokens\\":999,\\"completion_tokens\\":999}'),
    "in a tool's arguments": (
        b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":'
        b'"{\\"usage\\":{\\"prompt_tokens\\":999}}"}}]}}]}\n\n'
    ),
    "in the delta": b'data: {"choices":[{"index":0,"delta":{"content":"x","usage":{"prompt_tokens":999}}}]}\n\n',
    "under another name": event("x", last_usage='{"prompt_tokens":999,"completion_tokens":999}'),
}


@pytest.mark.parametrize("where", LOOKALIKES)
async def test_79_what_only_looks_like_usage_is_not(scene: Scene, where: str) -> None:
    answer, seen = await scene.play(respond(HELLO, FINISH, USAGE_EVENT, LOOKALIKES[where], DONE), ASKED)
    assert LOOKALIKES[where] in answer.body
    seen.succeeded()


async def test_80_110_usage_nowhere_is_estimated_and_says_so(scene: Scene) -> None:
    answer, seen = await scene.play(respond(HELLO, FINISH, DONE))
    assert answer.body == HELLO + FINISH + DONE
    assert (seen.row["outcome"], seen.row["error_code"]) == ("completed", "")
    assert (seen.reported, seen.provenance) == ({}, ("estimated", "estimated"))
    assert (seen.tokens["input"], seen.tokens["output"]) == (-(-seen.row["bytes_in"] // 4), 1)
    assert seen.moved.get("sluicegate_tokens_total", direction="output", provenance="estimated") == 1
    assert seen.moved.get("sluicegate_tokens_total", provenance="provider") == 0


def response(kind: str, usage: str) -> bytes:
    """A terminal event of the Responses API."""
    inner = f'{{"id":"resp_1","object":"response","status":"{kind}","output":[],"usage":{usage}}}'
    return f'event: response.{kind}\ndata: {{"type":"response.{kind}","response":{inner}}}\n\n'.encode()


@pytest.mark.parametrize("kind", ["completed", "incomplete", "failed"])
async def test_81_every_terminal_response_counts(scene: Scene, kind: str) -> None:
    last = response(kind, '{"input_tokens":11,"output_tokens":7,"total_tokens":18}')
    answer, seen = await scene.play(respond(DELTA, last), {"input": "Hello"}, path="/v1/responses")
    assert answer.body == DELTA + last
    assert (seen.reported, seen.provenance) == (FIGURES, ("provider", "provider"))
    assert "stream_options" not in seen.requests[0].json


def message(name: str, members: str) -> bytes:
    """An event of the Messages API."""
    return f'event: {name}\ndata: {{"type":"{name}"{"," if members else ""}{members}}}\n\n'.encode()


MESSAGE = (
    message(
        "message_start",
        '"message":{"id":"msg_1","role":"assistant","content":[],"usage":{"input_tokens":2479,"output_tokens":1}}',
    ),
    message("content_block_start", '"index":0,"content_block":{"type":"text","text":""}'),
    message("content_block_delta", '"index":0,"delta":{"type":"text_delta","text":"Hi"}'),
    message("content_block_stop", '"index":0'),
    message("message_delta", '"delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":404500,"output_tokens":12}'),
    message("message_stop", ""),
)


async def test_82_a_messages_last_figures_win(scene: Scene) -> None:
    answer, seen = await scene.play(respond(*MESSAGE), {"max_tokens": 9}, path="/v1/messages", by="claude")
    assert answer.body == b"".join(MESSAGE)
    assert (seen.reported["input"], seen.reported["output"]) == (404500, 12)
    assert seen.tokens["input"] == 404500


async def test_a_stream_marked_by_the_upstream_arrives_event_by_event(scene: Scene) -> None:
    sent, read = asyncio.Event(), asyncio.Event()
    async with scene.streaming(respond(HELLO, Mark(sent), Wait(read), FINISH, DONE)) as (wire, answer, _):
        await sent.wait()
        assert await wire.piece(answer) == HELLO
        read.set()
        assert (await wire.rest(answer)).body == HELLO + FINISH + DONE
