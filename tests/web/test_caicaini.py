"""A mount that speaks as caicaini's page: its example, credits, virtual names, errors, rates; over real sockets."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from tests.kit.client import Answer, ask, chat, request_bytes
from tests.kit.gateway import KEY
from tests.kit.pages import CAICAINI_ANSWER, CAICAINI_REQUEST
from tests.kit.scene import Scene
from tests.kit.words import DONE, GOOD, HELLO, USAGE, event

from sluicegate.demo.scripts import Close, Script, bytewise, json_answer, respond

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = "/cai/v1/chat/completions"
MESSAGES = "/cai/v1/messages"
ANTHROPICS = {"targets": [{"upstream": "claude", "model": "*"}]}
SETTINGS: dict[str, Any] = {
    "models": {
        "caicaini/*": {"targets": [{"upstream": "plain", "model": "*"}]},
        "caicaini/auto": {"targets": [{"upstream": "plain", "model": "auto"}]},
        "caicaini/priceless": {"targets": [{"upstream": "secure", "model": "priceless"}]},
        "caicaini/messages/*": ANTHROPICS,
    },
    "mounts": [{"prefix": "/v1", "profile": "openai"}, {"prefix": "/cai/v1", "profile": "caicaini"}],
    "keys": [
        {"name": "tests", "key": KEY, "models": ["*"]},
        {"name": "tiered", "key": "cai_api_0123456789", "models": ["*"], "group": "payg", "requests_per_minute": 60},
    ],
    "groups": {"payg": {}},
    # Half a credit a token, rounded up.
    "credits": {"per_dollar": 1_000_000, "rounding": "up"},
    "prices": [
        {"model": "plain/*", "input": 0.5, "output": 0.5},
        {"model": "claude/*", "input": 0.5, "output": 0.5},
    ],
}


def virtual(scene: Scene, *scripts: Script) -> str:
    return scene.model(*scripts).replace("plain/", "caicaini/")


def virtually(answer: bytes, model: str) -> bytes:
    """What a caller reads of these bytes but for the credits."""
    return answer.replace(b'"m-1"', json.dumps(model).encode())


async def refused(scene: Scene, body: dict[str, Any], **how: Any) -> Answer:
    return await scene.gateway.ask(body, **({"path": PATH} | how))


async def test_the_pages_own_request_is_answered_as_the_page_answers_it(scene: Scene) -> None:
    upstreams = {**CAICAINI_ANSWER, "model": "real", "usage": {**CAICAINI_ANSWER["usage"]}}
    del upstreams["usage"]["credits_consumed"]
    scene.upstream.script("auto", json_answer(upstreams))
    answer = await refused(scene, CAICAINI_REQUEST)
    assert (answer.status, answer.json) == (200, CAICAINI_ANSWER)
    row = await scene.gateway.row(requested_model="caicaini/auto")
    assert row["credits"] == CAICAINI_ANSWER["usage"]["credits_consumed"] == 27


STREAMS: dict[str, tuple[tuple[bytes, ...], int]] = {
    "on the usage event": (GOOD, 3),
    "on the finish that brings the usage": ((HELLO, event(finish="stop", usage=USAGE), DONE), 1),
}


@pytest.mark.parametrize(("pieces", "carrier"), STREAMS.values(), ids=STREAMS)
@pytest.mark.parametrize("cut", ["events", "bytes"])
async def test_a_streams_usage_names_the_credits_of_its_row(
    scene: Scene, pieces: tuple[bytes, ...], carrier: int, cut: str
) -> None:
    model = virtual(scene, respond(*(bytewise(b"".join(pieces)) if cut == "bytes" else pieces)))
    answer = await refused(scene, chat(model, stream=True))
    expected = [virtually(piece, model) for piece in pieces]
    expected[carrier] = expected[carrier].replace(b'"total_tokens":18}', b'"total_tokens":18,"credits_consumed":9}')
    assert answer.body == b"".join(expected)
    row = await scene.gateway.row(requested_model=model)
    assert (row["credits"], row["outcome"]) == (9, "completed")


async def test_messages_name_the_same(scene: Scene) -> None:
    model = "caicaini/messages/" + scene.model(json_answer({
        "type": "message", "model": "m-1", "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn",
        "usage": {"input_tokens": 11, "output_tokens": 7},
    })).partition("/")[2]  # fmt: skip
    answer = await refused(scene, chat(model, max_tokens=5), path=MESSAGES)
    assert (answer.status, answer.json["model"]) == (200, model)
    assert answer.json["usage"] == {"input_tokens": 11, "output_tokens": 7, "credits_consumed": 9}
    assert answer.json["stop_reason"] == "end_turn"


async def test_messages_streams_name_them_where_usage_is_final(scene: Scene) -> None:
    start: dict[str, Any] = {
        "type": "message_start",
        "message": {"model": "m-1", "usage": {"input_tokens": 11, "output_tokens": 1}},
    }
    text: dict[str, Any] = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}
    delta: dict[str, Any] = {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn"},
        "usage": {"output_tokens": 7},
    }
    events: list[dict[str, Any]] = [start, text, delta, {"type": "message_stop"}]
    script = respond(*(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in events))
    model = "caicaini/messages/" + scene.model(script).partition("/")[2]
    answer = await refused(scene, chat(model, stream=True, max_tokens=5), path=MESSAGES)
    said = [json.loads(data) for data in answer.datas]
    assert said[0]["message"] == {"model": model, "usage": {"input_tokens": 11, "output_tokens": 1}}
    assert said[2]["usage"] == {"output_tokens": 7, "credits_consumed": 9}
    assert (await scene.gateway.row(requested_model=model))["credits"] == 9


@pytest.mark.parametrize(
    ("theirs", "ours"), [("end_turn", "stop"), ("max_tokens", "length"), ("tool_use", "tool_calls"), ("odd", "stop")]
)
async def test_finish_reasons_are_the_pages_four(scene: Scene, theirs: str, ours: str) -> None:
    model = virtual(scene, respond(HELLO, event(finish=theirs), *GOOD[3:]))
    answer = await refused(scene, chat(model, stream=True))
    assert answer.datas[1] == virtually(event(finish=ours), model)[6:-2]
    whole = {"model": "m-1", "choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": theirs}]}
    answer = await refused(scene, chat(virtual(scene, json_answer(whole))))
    assert answer.json["choices"][0]["finish_reason"] == ours


async def test_a_target_without_a_price_names_no_credits(scene: Scene) -> None:
    scene.secure.script("priceless", respond(*GOOD))
    answer = await refused(scene, chat("caicaini/priceless", stream=True))
    assert "credits_consumed" not in json.loads(answer.datas[-2])["usage"]
    assert (await scene.gateway.row(requested_model="caicaini/priceless"))["credits"] is None


async def test_only_virtual_names_are_models_here(scene: Scene) -> None:
    for path in (PATH, MESSAGES):
        answer = await refused(scene, chat(scene.model()), path=path)
        assert (answer.status, answer.json["type"], answer.error["type"]) == (400, "error", "invalid_request_error")
        assert answer.error["code"] == "model_not_found"
    listed = await ask(scene.gateway.url, request_bytes(None, path="/cai/v1/models", method="GET", key=KEY))
    assert [model["id"] for model in listed.json["data"]] == ["caicaini/auto", "caicaini/priceless"]
    one = await ask(scene.gateway.url, request_bytes(None, path="/cai/v1/models/plain/x", method="GET", key=KEY))
    assert (one.status, one.error["type"]) == (400, "invalid_request_error")


ERRORS: dict[str, tuple[dict[str, Any], str | None, int, str]] = {
    "a field": ({"temperature": 3}, KEY, 400, "invalid_request_error"),
    "no key": ({}, None, 401, "authentication_error"),
    "an unknown key": ({}, "cai_api_unknown", 401, "authentication_error"),
}


@pytest.mark.parametrize(("members", "key", "expected", "kind"), ERRORS.values(), ids=ERRORS)
async def test_errors_are_the_envelope(
    scene: Scene, members: dict[str, Any], key: str | None, expected: int, kind: str
) -> None:
    answer = await refused(scene, chat("caicaini/auto", **members), key=key)
    assert (answer.status, answer.json["type"], answer.error["type"]) == (expected, "error", kind)
    assert answer.header("request-id") == answer.id == answer.json["request_id"]


async def test_an_overloaded_upstream_is_a_529_in_answer_row_and_metrics(scene: Scene) -> None:
    overloaded = json_answer({"error": {"message": "busy"}}, status=503)
    model = virtual(scene, *[overloaded] * 4)
    before = await scene.gateway.metrics()
    answer = await refused(scene, chat(model))
    assert (answer.status, answer.error["type"]) == (529, "overloaded_error")
    assert (await scene.gateway.row(requested_model=model))["status"] == 529
    moved = await scene.gateway.metrics() - before
    assert moved.get("sluicegate_requests_total", status="529", error_type="upstream_overloaded") == 1


async def test_a_path_that_is_not_there_is_told_in_the_envelope(scene: Scene) -> None:
    answer = await ask(scene.gateway.url, request_bytes(None, path="/cai/v1/nothing", method="GET", key=KEY))
    assert (answer.status, answer.error["type"]) == (404, "not_found_error")


async def test_rate_headers_are_the_pages(scene: Scene) -> None:
    model = virtual(scene, respond(*GOOD))
    answer = await refused(scene, chat(model, stream=True), key="cai_api_0123456789")
    tier, limit, reset = (answer.header(f"x-ratelimit-{name}") for name in ("tier", "limit-requests", "reset-requests"))
    assert (answer.status, tier, limit) == (200, "payg", "60")
    assert reset is not None
    assert 0 <= int(reset) <= 60


async def test_a_cut_stream_says_so_in_the_envelope(scene: Scene) -> None:
    model = virtual(scene, respond(HELLO, Close()))
    answer = await refused(scene, chat(model, stream=True))
    said = json.loads(answer.datas[-1])
    assert (said["type"], said["error"]["type"], said["error"]["code"]) == ("error", "api_error", "upstream_truncated")


async def test_the_official_sdk_reads_answers_and_errors(scene: Scene) -> None:
    question: Any = [{"role": "user", "content": "Hello"}]
    async with openai.AsyncOpenAI(base_url=f"{scene.gateway.url}/cai/v1", api_key=KEY, max_retries=0) as client:
        model = virtual(scene, respond(*GOOD))
        stream = await client.chat.completions.create(model=model, messages=question, stream=True)
        chunks = [chunk async for chunk in stream]
        assert {chunk.model for chunk in chunks} == {model}
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.model_extra == {"credits_consumed": 9}

        with pytest.raises(openai.BadRequestError, match="must be a number from 0 to 2"):
            await client.chat.completions.create(model=model, messages=question, temperature=3)

        cut = await client.chat.completions.create(
            model=virtual(scene, respond(HELLO, Close())), messages=question, stream=True
        )
        with pytest.raises(openai.APIError, match="ended the stream before it was finished"):
            _ = [chunk async for chunk in cut]
