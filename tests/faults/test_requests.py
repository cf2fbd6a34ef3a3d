"""Faults 35-50: what a request's body says. What the client sees, and what reaches the upstream."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.kit.client import Wire, ask, chat, request_bytes
from tests.kit.scene import UPSTREAM_KEY, Scene
from tests.kit.words import ANSWER, DONE, FINISH, GOOD, HELLO, USAGE_EVENT, WORLD, event

from sluicegate.demo.scripts import json_answer, respond

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {
    "models": {
        "renamed": {"targets": [{"upstream": "plain", "model": "the-real-name"}]},
    },
}
MESSAGES = b'"messages":[{"role":"user","content":"Hello"}]'
DEEP = 100_000


async def refused(scene: Scene, sent: bytes, status: int, code: str, param: str | None = None) -> None:
    """The client is refused in OpenAI's shape, nothing reaches an upstream, the next request works."""
    before, asked = await scene.gateway.metrics(), len(scene.upstream.requests)
    answer = await scene.gateway.ask(sent)
    assert (answer.status, answer.error["code"], answer.error["param"]) == (status, code, param), answer.body
    assert set(answer.error) == {"message", "type", "param", "code"}
    assert answer.error["type"] == "invalid_request_error"
    assert answer.header("content-type") == "application/json"
    row = await scene.gateway.row(id=answer.id)
    assert (row["status"], row["error_code"], row["attempts"]) == (status, code, [])
    moved = await scene.gateway.metrics() - before
    assert moved.get("sluicegate_requests_total", status=str(status), error_type=code) == 1
    assert len(scene.upstream.requests) == asked
    await scene.serves()


async def forwarded(scene: Scene, members: bytes) -> bytes:
    """Send a body with these members beside model and messages; gives what reached the upstream, model put back."""
    model = scene.model()
    # The upstream cannot tell the model of a body that is no clean JSON, so its script is the next one's.
    scene.upstream.next(json_answer(ANSWER))
    answer = await scene.gateway.ask(b'{"model":"%s",%s}' % (model.encode(), members))
    assert (answer.status, answer.body) == (200, ANSWER)
    body = scene.upstream.requests[-1].body
    name = model.partition("/")[2].encode()
    assert body.count(b'"model":"%s"' % name) == 1, body
    return (
        body.replace(b'"model":"%s"' % name, b'"model":"%s"' % model.encode())
        .removeprefix(b'{"model":"%s",' % model.encode())
        .removesuffix(b"}")
    )


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"model":"plain/x"',
        b'{"model":"plain/x",}',
        b'{"model":"plain/x"} trailing',
        b'{"model":"plain/x"}{"model":"plain/y"}',
        b'{"model":"plain/x","messages":[}',
        b"{'model':'plain/x'}",
        b'{"model":"plain/x","n":NaN}',
        b'{"model":"plain/x","n":01}',
        b'{"model":"plain/x","a":"\n"}',
    ],
)
async def test_35_invalid_json_is_a_400(scene: Scene, sent: bytes) -> None:
    await refused(scene, sent, 400, "invalid_json")


@pytest.mark.parametrize("sent", [b"[]", b"null", b'"plain/x"', b"17", b"true"])
async def test_35_a_body_that_is_no_object_is_a_400(scene: Scene, sent: bytes) -> None:
    await refused(scene, sent, 400, "invalid_json")


@pytest.mark.parametrize(
    "content",
    [
        b'"a\xff\xfeb"',
        b'"\xed\xa0\x80"',
        b'"\\u0000"',
        b'"\\ud83d"',
        b'"\\ud83d\\ude00"',
        '"\u00e9t\u00e9 \u8c46\u8150"'.encode(),
    ],
    ids=["invalid utf-8", "encoded surrogate", "NUL escape", "lone surrogate", "surrogate pair", "non-ascii"],
)
async def test_36_odd_text_reaches_the_upstream_unaltered(scene: Scene, content: bytes) -> None:
    members = b'"messages":[{"role":"user","content":%s}]' % content
    assert await forwarded(scene, members) == members


async def test_36_a_byte_order_mark_is_no_json(scene: Scene) -> None:
    await refused(scene, b'\xef\xbb\xbf{"model":"plain/x",%s}' % MESSAGES, 400, "invalid_json")


async def test_37_brackets_that_never_close_are_a_400(scene: Scene) -> None:
    await refused(scene, b'{"model":"plain/x","messages":' + b"[" * DEEP, 400, "invalid_json")


async def test_37_nesting_too_deep_is_a_400(scene: Scene) -> None:
    deep = b"[" * DEEP + b"]" * DEEP
    await refused(scene, b'{"model":"plain/x","messages":%s}' % deep, 400, "invalid_json")


@pytest.mark.parametrize(
    "members, param",
    [
        (b'"model":"plain/a","model":"plain/b"', "model"),
        (b'"model":"plain/a","mod\\u0065l":"plain/b"', "model"),
        (b'"model":"plain/a","stream":true,"stream":false', "stream"),
        (
            b'"model":"plain/a","stream":true,"stream_options":{},"stream_options":{"include_usage":true}',
            "stream_options",
        ),
    ],
)
async def test_38_duplicate_keys_are_refused(scene: Scene, members: bytes, param: str) -> None:
    await refused(scene, b"{%s,%s}" % (members, MESSAGES), 400, "duplicate_parameter", param)


@pytest.mark.parametrize(
    "members, code, param",
    [
        (b'"model":"plain/a","stream":"true"', "invalid_type", "stream"),
        (b'"model":"plain/a","stream":1', "invalid_type", "stream"),
        (b'"model":1', "invalid_type", "model"),
        (b'"model":null', "missing_parameter", "model"),
        (b'"model":{"name":"plain/a"}', "invalid_type", "model"),
        (b'"model":""', "invalid_value", "model"),
        (b'"n":1', "missing_parameter", "model"),
        (b'"model":"plain/a","stream":true,"stream_options":"usage"', "invalid_type", "stream_options"),
        (b'"model":"plain/a","stream":true,"stream_options":[]', "invalid_type", "stream_options"),
    ],
)
async def test_39_wrong_types_name_the_parameter(scene: Scene, members: bytes, code: str, param: str) -> None:
    await refused(scene, b"{%s,%s}" % (members, MESSAGES), 400, code, param)


@pytest.mark.parametrize("members", [b'"messages":{}', b'"messages":[],"n":0', b'"messages":[],"stream":null'])
async def test_39_what_is_not_ours_to_judge_is_the_upstreams(scene: Scene, members: bytes) -> None:
    assert await forwarded(scene, members) == members


@pytest.mark.parametrize(
    "members",
    [
        b'"zebra":1,"messages":[],"apple":{"deep":[1,2,{"x":null}]}',
        b'"seed":123456789012345678901234567890,"messages":[]',
        b'"temperature":1.0,"top_p":-0,"presence_penalty":1E+2,"messages":[]',
        b' "messages" :\t[ ] ,\r\n "user" : "a\\/b\\u00e9" ',
        b'"messages":[],"model_kwargs":{"model":"inner","stream":true}',
    ],
)
async def test_40_unknown_fields_numbers_and_order_reach_the_upstream(scene: Scene, members: bytes) -> None:
    assert await forwarded(scene, members) == members


async def test_41_stream_options_without_stream_is_the_upstreams_verdict(scene: Scene) -> None:
    before = await scene.gateway.metrics()
    model = scene.model()
    answer = await scene.gateway.ask(chat(model, stream_options={"include_usage": True}))
    seen = await scene.aftermath(model, before)
    assert (answer.status, answer.error["param"]) == (400, "stream_options")
    assert (len(seen.requests), seen.row["status"], seen.row["error_code"]) == (1, 400, "upstream_stream_options")


@pytest.mark.parametrize(
    "model",
    [
        "no-such-model",
        "m" * 1_000_000,
        "a\r\nx-evil: 1",
        "../../etc/passwd",
        "\U0001f600",
        "plain",
        "a\x00b",
        '"',
        "{}",
    ],
    ids=lambda model: ascii(model)[:20],
)
async def test_42_unknown_models_are_a_404_wherever_their_name_leads(scene: Scene, model: str) -> None:
    answer = await scene.gateway.ask(chat(model))
    assert (answer.status, answer.error["code"], answer.error["param"]) == (404, "model_not_found", "model")
    assert answer.header("x-evil") is None
    assert len(answer.body) < 4096
    row = await scene.gateway.row(id=answer.id)
    assert (row["status"], row["model"], len(row["requested_model"]) <= 1024) == (404, "_other", True)
    said = await scene.gateway.logged(answer.id)
    assert [line["id"] for line in map(json.loads, said)] == [answer.id]
    await scene.serves()


async def test_43_junk_models_make_no_new_series(scene: Scene) -> None:
    await scene.gateway.ask(chat("junk-0"))
    before = await scene.gateway.metrics()
    async with Wire(scene.gateway.url) as wire:
        for number in range(1, 1001):
            await wire.send(request_bytes(chat(f"junk-{number}"), key=scene.gateway.key))
            assert (await wire.answer()).status == 404
    after = await scene.gateway.metrics()
    assert after.values.keys() == before.values.keys()
    moved = (after - before).get("sluicegate_requests_total", model="_other", error_type="model_not_found")
    assert moved == 1000


async def test_44_where_to_go_is_not_the_callers_to_say(scene: Scene) -> None:
    decoy = scene.secure.base_url
    asked = len(scene.secure.connections)
    members = (
        f'"messages":[],"api_base":"{decoy}","base_url":"{decoy}","api_key":"sk-theirs","extra_headers":{{"x-evil":"1"}}'
    ).encode()
    assert await forwarded(scene, members) == members
    assert len(scene.secure.connections) == asked
    seen = scene.upstream.requests[-1]
    assert (seen.header("authorization"), seen.header("x-evil")) == (f"Bearer {UPSTREAM_KEY}", None)


async def test_45_credentials_stay_on_their_side(scene: Scene) -> None:
    model = scene.model(json_answer(ANSWER, headers=[("set-cookie", "session=provider"), ("x-key", UPSTREAM_KEY)]))
    secrets = [("x-api-key", scene.gateway.key), ("cookie", "session=client"), ("proxy-authorization", "Basic Zm9v")]
    answer = await scene.gateway.ask(chat(model), headers=secrets)
    seen = scene.upstream.requests[-1]
    assert answer.status == 200
    assert seen.header("authorization") == f"Bearer {UPSTREAM_KEY}"
    assert [seen.header(name) for name, _ in secrets] == [None, None, None]
    assert scene.gateway.key.encode() not in seen.head.raw + seen.body
    said = repr(answer.headers) + answer.body.decode()
    rows, metrics = await scene.gateway.admin_get("/admin/requests"), await scene.gateway.admin_get("/metrics")
    for words in (said, rows.body.decode(), metrics.body.decode(), scene.gateway.log):
        assert UPSTREAM_KEY not in words
    for words in (rows.body.decode(), metrics.body.decode(), scene.gateway.log):
        assert scene.gateway.key not in words


async def test_45_a_wrong_key_is_not_written_down(scene: Scene) -> None:
    answer = await scene.gateway.ask(chat("plain/x"), key="sk-wrong-but-secret")
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
    assert "sk-wrong-but-secret" not in answer.body.decode() + scene.gateway.log


async def test_46_hop_by_hop_headers_are_dropped_both_ways(scene: Scene) -> None:
    hops = [
        ("connection", "keep-alive, x-private"),
        ("keep-alive", "timeout=9"),
        ("x-private", "1"),
        ("te", "trailers"),
    ]
    model = scene.model(json_answer(ANSWER, headers=[*hops, ("proxy-authenticate", "Basic"), ("trailer", "x")]))
    answer = await scene.gateway.ask(chat(model), headers=hops[:3])
    seen = scene.upstream.requests[-1]
    assert (answer.status, answer.body) == (200, ANSWER)
    for name in ("keep-alive", "x-private", "te", "proxy-authenticate", "trailer"):
        assert (name, answer.header(name), seen.header(name)) == (name, None, None)


@pytest.mark.parametrize(
    "options, expected",
    [
        (None, {"include_usage": True}),
        ({}, {"include_usage": True}),
        ({"include_obfuscation": False}, {"include_obfuscation": False, "include_usage": True}),
        ({"include_usage": False, "x": 1}, {"include_usage": True, "x": 1}),
        ({"include_usage": None}, {"include_usage": True}),
        ({"include_usage": True}, {"include_usage": True}),
    ],
)
async def test_47_a_streams_usage_is_always_asked_for(scene: Scene, options: Any, expected: Any) -> None:
    body = {} if options is None else {"stream_options": options}
    answer, seen = await scene.play(respond(*GOOD), body)
    assert answer.status == 200
    assert seen.requests[0].json["stream_options"] == expected
    assert seen.requests[0].body.count(b'"stream_options"') == 1
    assert (seen.reported, seen.provenance) == ({"input": 11, "output": 7, "total": 18}, ("provider", "provider"))
    assert seen.moved.get("sluicegate_tokens_total", direction="input", provenance="provider") == 11
    assert seen.moved.get("sluicegate_tokens_total", direction="output", provenance="provider") == 7


async def test_47_null_stream_options_count_as_none(scene: Scene) -> None:
    _, seen = await scene.play(respond(*GOOD), {"stream_options": None})
    assert seen.requests[0].json["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("options", [None, {"include_usage": False}, {"include_usage": None}])
async def test_48_who_did_not_ask_for_usage_does_not_get_the_event(scene: Scene, options: Any) -> None:
    body = {} if options is None else {"stream_options": options}
    answer, seen = await scene.play(respond(*GOOD), body)
    assert answer.body == HELLO + WORLD + FINISH + DONE
    assert seen.reported == {"input": 11, "output": 7, "total": 18}


async def test_48_only_the_event_that_carries_nothing_else_is_taken_out(scene: Scene) -> None:
    usage = '{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}'
    events = (event("Hi", usage="null"), event(finish="stop", usage=usage), USAGE_EVENT, DONE)
    answer, seen = await scene.play(respond(*events))
    assert answer.body == b"".join((*events[:2], DONE))
    assert seen.reported == {"input": 11, "output": 7, "total": 18}


async def test_48_a_prompt_filter_event_stays(scene: Scene) -> None:
    first = b'data: {"choices":[],"created":0,"id":"","model":"","prompt_filter_results":[{"prompt_index":0}]}\n\n'
    answer, _ = await scene.play(respond(first, *GOOD))
    assert answer.body == first + HELLO + WORLD + FINISH + DONE


async def test_49_who_asked_gets_exactly_one_usage_event_before_the_end(scene: Scene) -> None:
    answer, _ = await scene.play(respond(*GOOD), {"stream_options": {"include_usage": True}})
    assert answer.body == b"".join(GOOD)
    told = [json.loads(data) for data in answer.datas[:-1]]
    assert [(chunk["choices"], chunk["usage"]["total_tokens"]) for chunk in told if chunk.get("usage")] == [([], 18)]
    assert answer.datas[-1] == b"[DONE]"


async def test_50_an_upstream_without_stream_options_is_left_alone(scene: Scene) -> None:
    model = scene.model(respond(HELLO, FINISH, DONE), by="quiet")
    answer = await scene.gateway.ask(chat(model, stream=True))
    assert answer.body == HELLO + FINISH + DONE
    assert "stream_options" not in scene.upstream.requests[-1].json
    row = await scene.gateway.row(requested_model=model)
    assert (row["usage"]["input_provenance"], row["usage"]["output_provenance"]) == ("estimated", "estimated")


async def test_50_an_upstreams_refusal_of_stream_options_reaches_the_caller(scene: Scene) -> None:
    said = {
        "error": {
            "message": "Unknown parameter: 'stream_options'.",
            "type": "invalid_request_error",
            "param": "stream_options",
            "code": None,
        }
    }
    answer, seen = await scene.play(json_answer(said, status=400))
    assert (answer.status, answer.error["param"], answer.error["message"]) == (
        400,
        "stream_options",
        said["error"]["message"],
    )
    assert len(seen.requests) == 1


async def test_a_configured_name_is_what_the_upstream_gets(scene: Scene) -> None:
    answer = await ask(scene.gateway.url, request_bytes(chat("renamed"), key=scene.gateway.key))
    assert (answer.status, scene.upstream.requests[-1].model) == (200, "the-real-name")
    assert answer.json["model"] == "the-real-name"
