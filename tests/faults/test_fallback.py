"""Faults 51-65, 88, 90, 98 and 102-107 with two targets: who is asked next, what the caller sees, what is left."""

from __future__ import annotations

from pathlib import Path
import time
from typing import Any

import pytest
from tests.kit.client import Wire, chat, request_bytes
from tests.kit.gateway import eventually
from tests.kit.pairs import HASTE, PAIR, fall, refusal, silent_port, two
from tests.kit.scene import Scene
from tests.kit.words import ANSWER, DONE, EARLY, GOOD, HELLO, WORLD, event

from sluicegate.demo import faults
from sluicegate.demo.scripts import Close, Script, Stall, json_answer, raw, respond
from sluicegate.demo.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS: dict[str, Any] = {
    "models": PAIR,
    "timeouts": {"connect": 1, "first_content": 2, "idle": 2, "total": 30},
    "retries": HASTE,
}
OVERLOADED = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
IN_BAND = b'data: {"error":{"message":"Too fast.","type":"rate_limit_error","code":429}}\n\n'
EARLY_USAGE = event(usage=EARLY)
ROLE = b'data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}\n\n'

#: What the primary does before anything is the caller's; the code of its attempt, and the upstream's status.
BEFORE_COMMIT: dict[str, tuple[Script, str, int]] = {
    "500": (refusal(500), "upstream_error", 500),
    "503": (refusal(503), "upstream_overloaded", 503),
    "504": (refusal(504), "upstream_timeout", 504),
    "429": (refusal(429, "rate_limit_exceeded"), "upstream_rate_limited", 429),
    "402": (refusal(402, "insufficient_quota"), "upstream_quota", 402),
    "401": (refusal(401, "invalid_api_key"), "upstream_auth", 401),
    "403": (refusal(403, "forbidden"), "upstream_auth", 403),
    "58 FIN": (faults.closes_before_head(), "upstream_lost", 0),
    "58 RST": (faults.resets_before_head(), "upstream_lost", 0),
    "59 FIN after the head": (faults.closes_after_head(), "upstream_truncated", 200),
    "59 RST after a role": (faults.cut_stream(ROLE, reset=True), "upstream_truncated", 200),
    "59 the end after a role": (respond(ROLE), "upstream_ended_without_content", 200),
    "61 a redirect": (faults.redirect("http://x.test/"), "upstream_redirect", 307),
    "63 a head that never ends": (faults.endless_head(), "upstream_protocol", 0),
    "64 two framings": (faults.two_framings(), "upstream_protocol", 0),
    "88 overloaded first thing": (respond(OVERLOADED), "upstream_overloaded", 200),
    "88 an error first thing": (respond(IN_BAND), "upstream_rate_limited", 200),
    "90 a stall": (respond(Stall()), "upstream_timeout", 200),
    "90 a stall after a role": (faults.stalled_stream(ROLE), "upstream_timeout", 200),
    "98 JSON": (json_answer(ANSWER), "upstream_not_stream", 200),
    "98 nothing": (faults.empty_answer(), "upstream_empty", 200),
    "98 HTML": (faults.html_page(), "upstream_not_stream", 200),
}


@pytest.mark.parametrize("name", BEFORE_COMMIT)
async def test_58_59_61_63_64_88_90_98_102_103_the_next_target_answers(scene: Scene, name: str) -> None:
    script, code, status = BEFORE_COMMIT[name]
    seen = await fall(scene, script)
    seen.answered_by_second(code, status)
    assert len(seen.primary) == 1


@pytest.mark.parametrize("fault", [refusal(500), faults.short_body(ANSWER[:20], 200), faults.html_page()])
async def test_65_98_102_a_whole_answer_falls_back_too(scene: Scene, fault: Script) -> None:
    seen = await fall(scene, fault, json_answer(ANSWER), stream=False, stream_options=None)
    seen.answered_by_second(seen.attempts[0][1], seen.attempts[0][2], ANSWER)


#: The caller's own mistakes, and what its answer's status and code are.
MISTAKES: dict[str, tuple[Script, int, str]] = {
    "400": (refusal(400, "invalid_value"), 400, "upstream_rejected"),
    "404 below a star": (refusal(404, "model_not_found"), 404, "upstream_not_found"),
    "413": (refusal(413), 413, "upstream_rejected"),
    "422": (refusal(422), 422, "upstream_rejected"),
    "too long": (refusal(400, "context_length_exceeded"), 400, "upstream_context_length"),
    "moderation": (refusal(400, "content_policy_violation"), 400, "upstream_rejected"),
}


@pytest.mark.parametrize("name", MISTAKES)
async def test_102_the_callers_mistake_is_nobody_elses(scene: Scene, name: str) -> None:
    script, status, code = MISTAKES[name]
    seen = await fall(scene, script)
    seen.refused_by_first(code, status, status)


async def test_104_the_second_request_is_the_first_but_for_its_model(tmp_path: Path) -> None:
    body = b'{ "model" : "fast", "stream":true, "x": 1.0e2, "messages":[ {"role":"user","content":"\\u00e9"} ] }'
    async with Upstream() as first, Upstream() as second:
        async with two(tmp_path, first, second) as gateway:
            first.next(refusal(500))
            second.next(respond(*GOOD))
            answer = await gateway.ask(body)
        sent = [first.requests[0].body, second.requests[0].body]
    assert answer.status == 200
    usage = b'"stream_options":{"include_usage":true},'
    one, other = (body.replace(b'"fast"', name).replace(b"{ ", b"{" + usage + b" ", 1) for name in (b'"m-1"', b'"m-2"'))
    assert sent == [one, other]


async def test_104_what_an_attempt_that_was_left_had_reported_is_counted_under_its_target(scene: Scene) -> None:
    seen = await fall(scene, respond(EARLY_USAGE, IN_BAND))
    seen.answered_by_second("upstream_rate_limited", 200)
    left, answered = seen.row["attempts"]
    assert dict(left["usage"]["reported"]) == {"input": 11, "output": 1, "total": 12}
    assert left["usage"]["output_provenance"] == "partial"
    assert seen.moved.get("sluicegate_tokens_total", target="plain/*", direction="output", provenance="partial") == 1
    assert seen.moved.get("sluicegate_tokens_total", target="secure/*", direction="output", provenance="provider") == 7
    assert left["started"] + left["duration"] <= answered["started"]
    assert seen.row["upstream_bytes_out"] == left["bytes_out"] + answered["bytes_out"]
    assert (left["credential"], answered["credential"]) == ("default", "default")


@pytest.mark.parametrize("reset", [True, False])
async def test_105_after_the_first_byte_nothing_is_tried_again(scene: Scene, reset: bool) -> None:
    seen = await fall(scene, faults.cut_stream(HELLO, WORLD, reset=reset))
    assert (seen.answer.status, seen.answer.last_error["code"]) == (200, "upstream_truncated")
    assert seen.answer.body.startswith(HELLO + WORLD)
    assert DONE not in seen.answer.body
    assert seen.answer.header("x-sluicegate-attempts") == "1"
    assert (seen.attempts, seen.second) == ([("plain/*", "upstream_truncated", 200)], [])
    assert seen.moved.get("sluicegate_fallbacks_total") == 0
    assert seen.moved.get("sluicegate_requests_total", error_type="upstream_truncated", target="plain/*") == 1


async def test_all_failed_is_the_primarys_error_with_its_usage(scene: Scene) -> None:
    seen = await fall(scene, respond(EARLY_USAGE, OVERLOADED), refusal(500))
    assert (seen.answer.status, seen.answer.error["code"]) == (503, "upstream_overloaded")
    assert seen.answer.header("x-sluicegate-attempts") == "2"
    assert seen.attempts == [("plain/*", "upstream_overloaded", 200), ("secure/*", "upstream_error", 500)]
    assert [one["decisive"] for one in seen.row["attempts"]] == [True, False]
    assert (seen.row["target"], seen.row["error_code"]) == ("plain/*", "upstream_overloaded")
    assert seen.figures == {"input": 11, "output": 1, "total": 12}
    assert seen.moved.get("sluicegate_requests_total", target="plain/*", error_type="upstream_overloaded") == 1
    assert seen.moved.get("sluicegate_requests_total") == 1
    assert seen.moved.get("sluicegate_tokens_total", direction="input", target="plain/*") == 11
    assert seen.row["upstream_bytes_out"] == sum(one["bytes_out"] for one in seen.row["attempts"])


async def test_107_a_client_that_leaves_between_attempts_has_its_row(scene: Scene) -> None:
    name = scene.model(refusal(503)).partition("/")[2]
    scene.secure.script(name, faults.stalls_before_head())
    async with Wire(scene.gateway.url) as wire:
        await wire.send(request_bytes(chat(f"pair/{name}", stream=True), key=scene.gateway.key))

        async def second() -> bool:
            return any(request.model == name for request in scene.secure.requests)

        await eventually(second, "the second attempt")
        wire.close()
    row = await scene.gateway.row(requested_model=f"pair/{name}")
    assert [(one["target"], one["outcome"]) for one in row["attempts"]] == [
        ("plain/*", "upstream_overloaded"),
        ("secure/*", "client_disconnected"),
    ]
    assert (row["status"], row["left"], row["target"]) == (499, "before_head", "secure/*")
    await scene.serves()


async def test_102_a_name_that_we_mapped_moves_on_where_it_is_not_found(tmp_path: Path) -> None:
    async with Upstream() as first, Upstream() as second, two(tmp_path, first, second) as gateway:
        first.next(refusal(404, "model_not_found"))
        answer = await gateway.ask(chat("fast"))
        assert (answer.status, answer.header("x-sluicegate-attempts")) == (200, "2")
        assert ([request.model for request in first.requests], second.requests[0].model) == (["m-1"], "m-2")


async def test_51_54_56_no_connection_moves_on_at_once(tmp_path: Path) -> None:
    async with Upstream() as plain, Upstream() as second:
        port = plain.port
        cases = {
            "upstream_name_not_found": "http://no-such-host.invalid/v1",
            "upstream_refused": f"http://127.0.0.1:{port}/v1",
            "upstream_tls": f"https://localhost:{port}/v1",
        }
        for number, (code, url) in enumerate(cases.items(), 1):
            await (plain.listen() if code == "upstream_tls" else plain.refuse())
            plain.greet(raw(b"HTTP/1.1 400 Bad Request\r\n\r\n", Close()))
            folder = tmp_path / code
            folder.mkdir()
            async with two(folder, url, second) as gateway:
                answer = await gateway.ask(chat("fast", stream=True))
                row = await gateway.row(id=answer.id)
                assert (answer.status, [one["outcome"] for one in row["attempts"]]) == (200, [code, "completed"])
                assert row["attempts"][0]["bytes_out"] == 0
                assert (await gateway.metrics()).get("sluicegate_fallbacks_total", reason=code, to="b/m-2") == 1
                assert len(second.requests) == number


async def test_55_a_connect_without_an_answer_moves_on_at_the_connect_timeout(tmp_path: Path) -> None:
    with silent_port() as port:
        async with Upstream() as second, two(tmp_path, f"http://127.0.0.1:{port}/v1", second) as gateway:
            answer = await gateway.ask(chat("fast", stream=True))
            row = await gateway.row(id=answer.id)
            assert (answer.status, row["attempts"][0]["outcome"]) == (200, "upstream_connect_timeout")
            assert 0.9 < row["attempts"][0]["duration"] < 5


async def test_57_a_reused_connection_that_dies_is_replaced_before_another_target_is_asked(scene: Scene) -> None:
    name = scene.model(faults.closes_on_next_request(json_answer(ANSWER)), json_answer(ANSWER)).partition("/")[2]
    assert (await scene.gateway.ask(chat(f"pair/{name}"))).status == 200
    answer = await scene.gateway.ask(chat(f"pair/{name}"))
    row = await scene.gateway.row(id=answer.id)
    assert (answer.status, answer.header("x-sluicegate-attempts"), len(row["attempts"])) == (200, "1", 1)
    assert [request for request in scene.secure.requests if request.model == name] == []


async def test_90_the_total_covers_all_attempts_together(tmp_path: Path) -> None:
    timeouts = {"connect": 1, "first_content": 3, "total": 5}
    async with Upstream() as first, Upstream() as second, two(tmp_path, first, second, timeouts=timeouts) as gateway:
        first.next(faults.stalls_before_head())
        second.next(faults.stalls_before_head())
        began = time.monotonic()
        answer = await gateway.ask(chat("fast", stream=True))
        assert time.monotonic() - began < 9
        row = await gateway.row(id=answer.id)
        assert [one["outcome"] for one in row["attempts"]] == ["upstream_timeout", "total_timeout"]
        assert (answer.status, answer.error["code"], row["target"]) == (504, "upstream_timeout", "a/m-1")
        assert (await gateway.ask(chat("fast"))).status == 200
