"""A mount that speaks as Bifrost's page: its example, `extra_fields`, field rules, errors, keys; over real sockets."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
import pytest
from tests.kit.client import Answer, Wire, ask, chat, request_bytes
from tests.kit.gateway import KEY
from tests.kit.pages import EXAMPLE, EXTRA_FIELDS
from tests.kit.scene import Scene
from tests.kit.words import ANSWER, DONE, FIGURES, FINISH, GOOD, HELLO, USAGE, USAGE_EVENT, WORLD, event

from sluicegate.demo.scripts import Close, Mark, Script, Stall, Wait, bytewise, json_answer, respond

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = "/bifrost/v1/chat/completions"
SETTINGS: dict[str, Any] = {
    "models": {
        "openai/*": {"targets": [{"upstream": "plain", "model": "*"}]},
        "masked/*": {"targets": [{"upstream": "plain", "model": "*"}], "model_in_response": "requested"},
    },
    "mounts": [{"prefix": "/v1", "profile": "openai"}, {"prefix": "/bifrost/v1", "profile": "bifrost"}],
    "timeouts": {"idle": 2, "done_grace": 1},
}
RAW = [("x-bf-send-back-raw-response", "true")]
BILLED = {"prompt_tokens": FIGURES["input"], "completion_tokens": FIGURES["output"]}


def noted(data: bytes, without: bytes) -> dict[str, Any]:
    """`extra_fields` of `data`, which is otherwise `without`, byte for byte, brace by brace."""
    said = json.loads(data)
    assert data.startswith(without[:-1] + b',"extra_fields":{')
    assert data.endswith(b"}}")
    assert list(said)[-1] == "extra_fields"
    return dict(said["extra_fields"])


def data_of(block: bytes) -> bytes:
    return block.removeprefix(b"data: ").rstrip(b"\n")


async def test_the_pages_own_request_is_answered_in_the_pages_shape(scene: Scene) -> None:
    model = scene.model(json_answer(ANSWER))
    body = EXAMPLE | {"model": model, "fallbacks": []}
    answer = await scene.gateway.ask(body, path=PATH)
    assert answer.status == 200, answer.body
    extra = noted(answer.body, ANSWER)
    assert set(extra) == EXTRA_FIELDS
    latency = extra.pop("latency")
    assert isinstance(latency, int)
    assert 0 <= latency < 5000
    assert extra == {
        "provider": "plain",
        "request_type": "chat_completion",
        "model_requested": model,
        "model_params": {
            "temperature": 1,
            "top_p": 0.5,
            "presence_penalty": 0,
            "frequency_penalty": 0,
            "tools": EXAMPLE["tools"],
            "tool_choice": "none",
            "parallel_tool_calls": True,
            "max_tokens": 1000,
            "stop_sequences": ["<string>"],
        },
        "billed_usage": BILLED,
    }
    arrived = (await scene.arrived(model)).json
    assert arrived == {name: value for name, value in body.items() if name != "fallbacks"} | {
        "model": model.partition("/")[2]
    }


STREAMS: dict[str, tuple[tuple[bytes, ...], int, bool]] = {
    "on the usage event": (GOOD, 3, True),
    "on the finish where no usage follows": ((HELLO, FINISH, DONE), 1, False),
    "on the finish that brings the usage": ((HELLO, event(finish="stop", usage=USAGE), DONE), 1, True),
    "in front of an added sentinel": (GOOD[:-1], 3, True),
}


@pytest.mark.parametrize(("pieces", "carrier", "billed"), STREAMS.values(), ids=STREAMS)
@pytest.mark.parametrize("cut", ["events", "bytes"])
async def test_the_last_event_of_a_stream_carries_it(
    scene: Scene,
    pieces: tuple[bytes, ...],
    carrier: int,
    billed: bool,
    cut: str,
) -> None:
    script = respond(*(bytewise(b"".join(pieces)) if cut == "bytes" else pieces))
    answer, after = await scene.play(script, {"temperature": 0.5}, path=PATH)
    assert (answer.status, answer.whole) == (200, True)
    expected = [data_of(piece) for piece in pieces if piece != DONE] + [b"[DONE]"]
    got = answer.datas
    extra = noted(got[carrier], expected[carrier])
    assert got[:carrier] + got[carrier + 1 :] == expected[:carrier] + expected[carrier + 1 :]
    assert extra.pop("latency") >= 0
    about = {
        "provider": "plain",
        "request_type": "chat_completion_stream",
        "model_requested": after.row["requested_model"],
        "model_params": {"temperature": 0.5},
    }
    assert extra == about | ({"billed_usage": BILLED} if billed else {})
    assert after.row["outcome"] == "completed"


async def test_usage_comes_whether_asked_for_or_not(scene: Scene) -> None:
    answer, after = await scene.play(respond(*GOOD), path=PATH)
    assert json.loads(answer.datas[-2])["usage"] == json.loads(USAGE)
    assert after.requests[0].json["stream_options"] == {"include_usage": True}
    after.succeeded()


async def test_content_leaves_at_once_and_the_finish_waits_for_what_follows(scene: Scene) -> None:
    go, told = asyncio.Event(), asyncio.Event()
    script = respond(HELLO, FINISH, Mark(told), Wait(go), USAGE_EVENT, DONE)
    async with scene.streaming(script, path=PATH) as (wire, answer, _):
        await told.wait()
        await wire.until(answer, HELLO)
        go.set()
        await wire.rest(answer)
    assert answer.datas[:2] == [data_of(HELLO), data_of(FINISH)]
    assert noted(answer.datas[2], data_of(USAGE_EVENT))["billed_usage"] == BILLED


async def test_the_upstreams_own_answer_is_repeated_on_request(scene: Scene) -> None:
    model = scene.model(json_answer(ANSWER))
    answer = await scene.gateway.ask(chat(model), path=PATH, headers=RAW)
    assert answer.body.endswith(b',"raw_response":' + ANSWER + b"}}")
    answer, _ = await scene.play(respond(*GOOD), path=PATH, headers=RAW)
    assert answer.datas[-2].endswith(b',"raw_response":' + data_of(USAGE_EVENT) + b"}}")


async def test_it_is_not_repeated_where_its_model_is_hidden(scene: Scene) -> None:
    model = scene.model(json_answer(ANSWER)).replace("plain", "masked")
    answer = await scene.gateway.ask(chat(model), path=PATH, headers=RAW)
    assert (answer.json["model"], set(answer.json["extra_fields"])) == (model, EXTRA_FIELDS)


async def test_the_name_before_the_slash_leads_to_its_upstream(scene: Scene) -> None:
    name = scene.model(json_answer(ANSWER)).partition("/")[2]
    answer = await scene.gateway.ask(chat(f"openai/{name}"), path=PATH)
    assert (answer.status, answer.json["extra_fields"]["model_requested"]) == (200, f"openai/{name}")
    assert scene.requests(f"plain/{name}")[0].json["model"] == name


async def test_a_cut_stream_says_so_in_the_pages_shape(scene: Scene) -> None:
    script = respond(HELLO, WORLD, Close())
    answer, after = await scene.play(script, path=PATH)
    after.broken_off("upstream_truncated")
    said = json.loads(answer.datas[-1])
    assert (said["error"]["code"], said["is_bifrost_error"], said["status_code"]) == ("upstream_truncated", True, 502)
    assert answer.datas[:-1] == [data_of(HELLO), data_of(WORLD)]


async def test_a_stream_that_stalls_behind_its_finish_is_whole(scene: Scene) -> None:
    answer, after = await scene.play(respond(HELLO, FINISH, Stall()), path=PATH)
    assert answer.datas[-1] == b"[DONE]"
    assert noted(answer.datas[-2], data_of(FINISH))["latency"] < 1000
    assert after.row["outcome"] == "completed"


async def refused(scene: Scene, body: dict[str, Any], **how: Any) -> Answer:
    return await scene.gateway.ask(body, **({"path": PATH} | how))


async def test_a_field_outside_its_range_is_a_400_in_the_pages_shape(scene: Scene) -> None:
    model = scene.model(json_answer(ANSWER))
    answer = await refused(scene, chat(model, temperature=2.5))
    assert (answer.status, answer.json) == (
        400,
        {
            "type": "invalid_request_error",
            "is_bifrost_error": False,
            "status_code": 400,
            "error": {
                "message": "The parameter 'temperature' must be a number from 0 to 2.",
                "type": "invalid_request_error",
                "param": "temperature",
                "code": "invalid_value",
            },
            "extra_fields": {"request_type": "chat_completion", "model_requested": model},
            "event_id": answer.id,
        },
    )
    assert scene.requests(model) == []


FAILURES: dict[str, tuple[Script, int, str, bool]] = {
    "their 400": (json_answer({"error": {"message": "no", "code": "bad"}}, status=400), 400, "bad", False),
    "their 500": (json_answer({"error": {"message": "no"}}, status=500), 502, "upstream_error", False),
    "not JSON": (respond(b"hello", content_type="text/plain"), 502, "upstream_not_json", True),
}


@pytest.mark.parametrize(("script", "status", "code", "own"), FAILURES.values(), ids=FAILURES)
async def test_an_error_names_whom_it_is_about(
    scene: Scene,
    script: Script,
    status: int,
    code: str,
    own: bool,
) -> None:
    answer, after = await scene.play(script, {"stream": False}, path=PATH)
    assert (answer.status, answer.error["code"], answer.json["is_bifrost_error"]) == (status, code, own)
    assert answer.json["extra_fields"] == {
        "request_type": "chat_completion",
        "provider": "plain",
        "model_requested": after.row["requested_model"],
    }


UNKNOWN = {
    "a path": ("/bifrost/v1/nothing", "POST", "unknown_path"),
    "a method": (PATH, "GET", "method_not_allowed"),
    "a model": ("/bifrost/v1/models/none", "GET", "model_not_found"),
}


@pytest.mark.parametrize(("path", "method", "code"), UNKNOWN.values(), ids=UNKNOWN)
async def test_what_is_unknown_below_the_mount_has_the_pages_shape(
    scene: Scene, path: str, method: str, code: str
) -> None:
    answer = await ask(scene.gateway.url, request_bytes(None, path=path, method=method, key=KEY))
    said = answer.json
    assert (said["error"]["code"], said["event_id"], said["status_code"]) == (code, answer.id, answer.status)


async def test_messages_keep_their_own_shape(scene: Scene) -> None:
    answer = await refused(scene, {"model": "none", "messages": []}, path="/bifrost/v1/messages")
    assert (answer.status, set(answer.json)) == (404, {"type", "error", "request_id"})


@pytest.mark.parametrize("path", [PATH, "/v1/chat/completions"])
async def test_a_key_may_come_as_a_virtual_key_below_this_mount_only(scene: Scene, path: str) -> None:
    model = scene.model(json_answer(ANSWER))
    answer = await refused(scene, chat(model), path=path, key=None, headers=[("x-bf-vk", KEY)])
    listed = await ask(
        scene.gateway.url,
        request_bytes(None, path=path.replace("chat/completions", "models"), method="GET", headers=[("x-bf-vk", KEY)]),
    )
    expected = 200 if path == PATH else 401
    assert (answer.status, listed.status) == (expected, expected)


async def test_other_mounts_say_nothing_of_it(scene: Scene) -> None:
    model = scene.model(json_answer(ANSWER), json_answer(ANSWER))
    answer = await scene.gateway.ask(chat(model, temperature=9), headers=RAW)
    assert (answer.status, answer.body) == (200, ANSWER)


async def test_requests_follow_on_one_connection(scene: Scene) -> None:
    model = scene.model(respond(*GOOD), json_answer(ANSWER))
    async with Wire(scene.gateway.url) as wire:
        for stream in (True, False):
            await wire.send(request_bytes(chat(model, stream=stream), path=PATH, key=KEY))
            answer = await wire.answer()
            assert (answer.status, answer.whole) == (200, True)


async def test_the_official_sdk_notices_nothing_and_can_read_it(scene: Scene) -> None:
    question: Any = [{"role": "user", "content": "Hello"}]
    url = f"{scene.gateway.url}/bifrost/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
        whole = await client.chat.completions.create(model=scene.model(json_answer(ANSWER)), messages=question)
        assert whole.choices[0].message.content == "Hello"
        assert whole.model_extra is not None
        assert whole.model_extra["extra_fields"]["provider"] == "plain"

        stream = await client.chat.completions.create(model=scene.model(respond(*GOOD)), messages=question, stream=True)
        chunks = [chunk async for chunk in stream]
        assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == "Hello world"
        assert chunks[-1].usage is not None
        assert chunks[-1].model_extra is not None
        assert chunks[-1].model_extra["extra_fields"]["billed_usage"] == BILLED

        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(model=scene.model(), messages=question, top_p=3)
        assert (refused.value.code, refused.value.param) == ("invalid_value", "top_p")

        cut = await client.chat.completions.create(
            model=scene.model(respond(HELLO, Close())), messages=question, stream=True
        )
        with pytest.raises(openai.APIError, match="ended the stream before it was finished"):
            _ = [chunk async for chunk in cut]


FAILS = json_answer({"error": {"message": "first", "code": "c1"}}, status=500)
FAILS_TOO = json_answer({"error": {"message": "second", "code": "c2"}}, status=503)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_fallback_answers_and_extra_fields_say_who_it_was(scene: Scene, stream: bool) -> None:
    first = scene.model(FAILS, FAILS, FAILS, FAILS)
    second = scene.model(respond(*GOOD) if stream else json_answer(ANSWER), by="secure")
    before = await scene.gateway.metrics()
    body = chat(first, stream=stream, fallbacks=["nobody/knows", second])
    answer = await scene.gateway.ask(body, path=PATH)
    assert answer.status == 200
    extra = json.loads(answer.datas[-2] if stream else answer.body)["extra_fields"]
    assert (extra["provider"], extra["model_requested"], extra["billed_usage"]) == ("secure", first, BILLED)
    assert [request.json.get("fallbacks") for request in scene.requests(first) + scene.requests(second)][-1] is None
    assert all("fallbacks" not in request.json for request in scene.requests(first))
    row = await scene.gateway.row(requested_model=first)
    assert [attempt["outcome"] for attempt in row["attempts"]][-2:] == ["upstream_error", "completed"]
    moved = await scene.gateway.metrics() - before
    assert moved.get("sluicegate_fallbacks_skipped_total", reason="unknown_model") == 1


async def test_when_all_fail_the_primarys_error_is_told(scene: Scene) -> None:
    first, second = scene.model(*[FAILS] * 4), scene.model(*[FAILS_TOO] * 4, by="secure")
    answer = await refused(scene, chat(first, fallbacks=[second]))
    assert (answer.status, answer.error["message"]) == (502, "first")
    assert answer.json["extra_fields"] == {
        "request_type": "chat_completion",
        "provider": "plain",
        "model_requested": first,
    }
    assert scene.requests(second)


async def test_the_callers_own_mistake_is_not_tried_elsewhere(scene: Scene) -> None:
    first = scene.model(json_answer({"error": {"message": "no"}}, status=400))
    second = scene.model(json_answer(ANSWER), by="secure")
    answer = await refused(scene, chat(first, fallbacks=[second]))
    assert (answer.status, scene.requests(second)) == (400, [])
