"""Faults 93-103: answers that are not what was asked for, and errors in providers' words."""

from __future__ import annotations

import bz2
import gzip
from typing import Any
import zlib

import pytest
from tests.kit.corpus import CORPUS, errors, needs_corpus
from tests.kit.scene import UPSTREAM_KEY, Scene
from tests.kit.words import ANSWER, DONE, FIGURES, FINISH, GOOD, USAGE_EVENT

from sluicegate.demo import faults
from sluicegate.demo.scripts import Close, Headers, Script, Send, bytewise, head, json_answer, raw, respond

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS: dict[str, Any] = {"timeouts": {"first_content": 5, "idle": 5}}
STREAM = b"".join(GOOD)
MIB = 1 << 20


async def refused(scene: Scene, script: Script, status: int, code: str, *, stream: bool, attempts: int = 1) -> None:
    """The client gets an error of ours instead of the answer; row and metrics name it."""
    answer, seen = await scene.play(script, {"stream": stream})
    assert (answer.status, answer.error["code"]) == (status, code), answer.body
    assert answer.header("content-type") == "application/json"
    assert answer.header("content-encoding") is None
    assert (seen.row["status"], seen.row["error_code"]) == (status, code)
    assert len(seen.requests) == attempts
    assert seen.moved.get("sluicegate_requests_total", status=str(status), error_type=code) == 1


def encoded(encoding: str, body: bytes, content_type: str, status: int = 200) -> Script:
    """An answer that says it is encoded."""
    return json_answer(body, status=status, content_type=content_type, headers=[("content-encoding", encoding)])


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "deflate", "x-gzip", "gzip, identity"])
async def test_93_an_encoded_answer_nobody_asked_for_is_refused(scene: Scene, encoding: str) -> None:
    stream = encoded(encoding, gzip.compress(STREAM), "text/event-stream")
    await refused(scene, stream, 502, "upstream_encoded", stream=True)
    await refused(
        scene, encoded(encoding, gzip.compress(ANSWER), "application/json"), 502, "upstream_encoded", stream=False
    )
    assert scene.upstream.requests[-2].header("accept-encoding") == "identity"


async def test_93_identity_is_no_encoding(scene: Scene) -> None:
    answer, seen = await scene.play(
        respond(*GOOD, headers=[("content-encoding", "identity")]), {"stream_options": {"include_usage": True}}
    )
    assert answer.body == STREAM
    seen.succeeded()


async def test_94_an_encoded_answer_is_refused_however_it_is_cut(scene: Scene) -> None:
    script = encoded("gzip", gzip.compress(STREAM), "text/event-stream").recut(bytewise)
    await refused(scene, script, 502, "upstream_encoded", stream=True)


async def test_95_an_encoded_error_is_an_error_in_our_words(scene: Scene) -> None:
    body = gzip.compress(b'{"error":{"message":"secret words"}}')
    answer, seen = await scene.play(encoded("gzip", body, "application/json", status=400))
    assert (answer.status, answer.header("content-encoding")) == (400, None)
    assert isinstance(answer.error["message"], str)
    assert answer.error["message"].isprintable()
    assert seen.row["status"] == 400


BOMBS = {
    "gzip": lambda: gzip.compress(bytes(64 * MIB)),
    "deflate": lambda: zlib.compress(bytes(64 * MIB)),
    "bzip2": lambda: bz2.compress(bytes(64 * MIB)),
}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("kind", BOMBS)
async def test_96_a_bomb_is_never_lit(scene: Scene, kind: str, stream: bool) -> None:
    before = scene.gateway.rss
    content_type = "text/event-stream" if stream else "application/json"
    await refused(scene, encoded(kind, BOMBS[kind](), content_type), 502, "upstream_encoded", stream=stream)
    assert scene.gateway.rss - before < 16 * MIB


@pytest.mark.parametrize(
    "body", [gzip.compress(ANSWER)[:40], gzip.compress(ANSWER) + b"garbage"], ids=["cut", "garbage behind it"]
)
async def test_97_broken_gzip_is_an_error(scene: Scene, body: bytes) -> None:
    await refused(scene, encoded("gzip", body, "application/json"), 502, "upstream_encoded", stream=False)


@pytest.mark.parametrize(
    "script, stream, code",
    [
        (faults.html_page(), True, "upstream_not_stream"),
        (faults.html_page(), False, "upstream_not_json"),
        (faults.empty_answer(), False, "upstream_empty"),
        (faults.empty_answer("text/event-stream"), True, "upstream_empty"),
        (respond(), True, "upstream_ended_without_content"),
        (respond(b": ping\n\n"), True, "upstream_ended_without_content"),
        (raw(head(204)), False, "upstream_empty"),
        (json_answer(b"not json at all"), False, "upstream_not_json"),
    ],
    ids=["page, stream", "page", "empty", "empty, stream", "empty chunks", "only a comment", "204", "no json"],
)
async def test_98_what_was_not_asked_for_is_a_502(scene: Scene, script: Script, stream: bool, code: str) -> None:
    await refused(scene, script, 502, code, stream=stream)


async def test_98_a_whole_answer_to_a_stream_request_is_refused_and_still_counted(scene: Scene) -> None:
    answer, seen = await scene.play(json_answer(ANSWER))
    assert (answer.status, answer.error["code"]) == (502, "upstream_not_stream")
    assert (seen.reported, seen.provenance) == (FIGURES, ("provider", "provider"))
    assert seen.moved.get("sluicegate_tokens_total", direction="input", provenance="provider") == 11


async def test_98_an_empty_answer_that_ended_properly_is_an_answer(scene: Scene) -> None:
    answer, seen = await scene.play(respond(FINISH, USAGE_EVENT, DONE), {"stream_options": {"include_usage": True}})
    assert answer.body == FINISH + USAGE_EVENT + DONE
    seen.succeeded()


@pytest.mark.parametrize("content_type", ["text/event-stream; charset=windows-1252", "Text/Event-Stream;CHARSET=UTF-8"])
async def test_99_an_event_stream_is_utf_8_whatever_it_says(scene: Scene, content_type: str) -> None:
    answer, seen = await scene.play(
        respond(*GOOD, content_type=content_type), {"stream_options": {"include_usage": True}}
    )
    assert (answer.status, answer.body) == (200, STREAM)
    assert (answer.header("content-type") or "").startswith("text/event-stream")
    seen.succeeded()


@needs_corpus
@pytest.mark.parametrize(
    "error", errors(), ids=lambda error: f"{error['provider']}-{error['status']}-{error['sha256'][:8]}"
)
async def test_100_every_recorded_error_comes_in_one_shape(scene: Scene, error: dict[str, Any]) -> None:
    body = (CORPUS / error["file"]).read_bytes()
    headers = [
        (name, value)
        for name, value in error["headers"].items()
        if name.lower() not in ("content-encoding", "content-length")
    ]
    answer, seen = await scene.play(
        json_answer(body, status=error["status"], headers=headers, content_type=error["content_type"] or "text/plain")
    )
    status = error["status"]
    assert set(answer.error) == {"message", "type", "param", "code"}
    assert isinstance(answer.error["message"], str)
    assert answer.error["message"]
    expected = {401: {502}, 403: {502}, 402: {503}, 429: {429, 503}, 503: {503}, 529: {503}}.get(status)
    if expected is None:
        expected = {502} if status >= 500 and status != 501 else {504} if status == 408 else {status, 502, 503}
    assert answer.status in expected
    assert (seen.row["status"], bool(seen.row["error_code"])) == (answer.status, True)
    for name in ("retry-after", "retry-after-ms", "x-should-retry"):
        theirs = {key.lower(): value for key, value in headers}.get(name)
        if answer.status == 429 and theirs is not None:
            assert answer.header(name) == theirs
    said = repr(answer.headers) + answer.body.decode()
    for secret in ("org-", "proj_", "req_", "cf-ray", "set-cookie", UPSTREAM_KEY):
        assert secret not in said.lower().replace("x-request-id", "").replace(answer.id, "")


def failure(status: int, message: str, headers: Headers = (), **members: Any) -> Script:
    """An error as OpenAI spells it."""
    error = {"message": message, "type": "requests", "param": None, "code": None, **members}
    return json_answer({"error": error}, status=status, headers=headers)


async def test_100_a_rate_limit_keeps_its_times(scene: Scene) -> None:
    times = [
        ("retry-after", "7"),
        ("retry-after-ms", "6500"),
        ("x-should-retry", "true"),
        ("x-ratelimit-limit-requests", "1"),
    ]
    answer, seen = await scene.play(failure(429, "Slow down", times))
    assert (answer.status, answer.error["code"], answer.error["message"]) == (429, "upstream_rate_limited", "Slow down")
    assert [answer.header(name) for name, _ in times] == ["7", "6500", "true", None]
    assert len(seen.requests) == 1


async def test_100_a_used_up_quota_is_not_the_callers(scene: Scene) -> None:
    answer, _ = await scene.play(failure(429, "You exceeded your current quota", code="insufficient_quota"))
    assert (answer.status, answer.error["code"], answer.header("x-should-retry")) == (503, "upstream_quota", "false")


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize("framing", ["endless", "100 MB"])
async def test_101_of_an_error_body_only_the_beginning_is_read(scene: Scene, framing: str, status: int) -> None:
    script = faults.endless_body(status)
    if framing == "100 MB":
        size = 100 * MIB
        piece = b" " * 65536
        heading = head(status, [("content-type", "application/json"), ("content-length", str(size))])
        script = raw(heading, *(Send(piece) for _ in range(size // len(piece))))
    before = scene.gateway.rss
    answer, seen = await scene.play(script)
    assert answer.status == (400 if status == 400 else 502)
    assert seen.row["error_code"] == answer.error["code"] != ""
    assert seen.requests[0].written_count < 16 * MIB
    assert scene.gateway.rss - before < 16 * MIB
    await seen.requests[0].closed_by_peer()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_102_what_would_fail_again_is_asked_once(scene: Scene, status: int) -> None:
    _, seen = await scene.play(failure(status, "No."))
    assert len(seen.requests) == 1


@pytest.mark.parametrize("status", [401, 403])
async def test_103_our_own_credentials_refusal_is_not_the_callers(scene: Scene, status: int) -> None:
    masked = f"Incorrect API key provided: {UPSTREAM_KEY}. You can find your API key at https://platform.openai.com."
    answer, seen = await scene.play(failure(status, masked, code="invalid_api_key"))
    assert (answer.status, answer.error["code"]) == (502, "upstream_auth")
    assert UPSTREAM_KEY not in answer.body.decode() + scene.gateway.log
    assert "platform.openai.com" not in answer.body.decode()
    assert (seen.row["status"], seen.row["error_code"]) == (502, "upstream_auth")


async def test_an_answer_that_ends_with_its_connection_and_is_cut_in_json_is_no_answer(scene: Scene) -> None:
    script = raw(head(200, [("content-type", "application/json"), ("connection", "close")]), ANSWER[:60], Close())
    await refused(scene, script, 502, "upstream_truncated", stream=False)
