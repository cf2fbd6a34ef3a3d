"""What callers hear of an upstream's error: every recorded body, and every status there is."""

from __future__ import annotations

from collections import Counter
import re
from typing import Any

import pytest
from tests.kit.corpus import CORPUS, errors, needs_corpus

from sluicegate.dialects.upstream_errors import UpstreamSaid, fault, read_error
from sluicegate.errors import RequestFailed

RECORDED = errors()
#: Provider and its status; the client's status and our code; how often that was recorded.
TOLD: Counter[tuple[str, int, int, str]] = Counter(
    {
        ("anthropic", 400, 400, "upstream_rejected"): 12,
        ("anthropic", 401, 502, "upstream_auth"): 3,
        ("anthropic", 404, 404, "upstream_not_found"): 12,
        ("api-staging.traceloop.com", 401, 502, "upstream_auth"): 1,
        ("api-staging.traceloop.com", 409, 409, "upstream_rejected"): 1,
        ("app.crewai.com", 404, 404, "upstream_not_found"): 2,
        ("azure-openai", 401, 502, "upstream_auth"): 1,
        ("bedrock", 400, 400, "upstream_rejected"): 3,
        ("bedrock", 403, 502, "upstream_auth"): 2,
        ("bedrock", 404, 404, "upstream_not_found"): 1,
        ("braintrust-proxy", 400, 400, "upstream_rejected"): 1,
        ("cohere", 404, 404, "upstream_not_found"): 3,
        ("deepseek", 400, 400, "upstream_context_length"): 1,
        ("deepseek", 400, 400, "upstream_rejected"): 5,
        ("deepseek", 401, 502, "upstream_auth"): 2,
        ("doubleword", 404, 404, "upstream_not_found"): 1,
        ("google", 400, 502, "upstream_auth"): 1,
        ("google", 403, 502, "upstream_auth"): 1,
        ("google", 404, 404, "upstream_not_found"): 4,
        ("groq", 400, 400, "upstream_rejected"): 1,
        ("groq", 401, 502, "upstream_auth"): 1,
        ("groq", 404, 404, "upstream_not_found"): 1,
        ("http-intake.logs.datadoghq.com", 403, 502, "upstream_auth"): 1,
        ("huggingface", 404, 404, "upstream_not_found"): 1,
        ("llamacpp", 400, 400, "upstream_context_length"): 1,
        ("llamacpp", 400, 400, "upstream_rejected"): 1,
        ("llamacpp", 500, 502, "upstream_error"): 3,
        ("llamacpp", 501, 501, "upstream_rejected"): 2,
        ("mistral", 400, 400, "upstream_rejected"): 4,
        ("mistral", 401, 502, "upstream_auth"): 1,
        ("ollama", 400, 400, "upstream_context_length"): 1,
        ("openai", 400, 400, "upstream_rejected"): 15,
        ("openai", 401, 502, "upstream_auth"): 7,
        ("openai", 403, 502, "upstream_auth"): 1,
        ("openai", 404, 404, "upstream_not_found"): 6,
        ("openrouter", 400, 400, "upstream_rejected"): 1,
        ("openrouter", 401, 502, "upstream_auth"): 1,
        ("openrouter", 429, 429, "upstream_rate_limited"): 1,
        ("venice", 404, 404, "upstream_not_found"): 1,
        ("vertex", 400, 400, "upstream_rejected"): 3,
    }
)

SHAPES: dict[str, tuple[int, str, UpstreamSaid]] = {
    "four members in error": (
        400,
        '{"error":{"message":"no such thing","type":"invalid_request_error","param":"model","code":"invalid_value"}}',
        UpstreamSaid("no such thing", "invalid_request_error", "invalid_value", "model"),
    ),
    "error is text": (400, '{"code":"invalid-argument","error":"no"}', UpstreamSaid("no", code="invalid-argument")),
    "error is text and nothing else": (404, '{"error":"not here"}', UpstreamSaid("not here")),
    "error is the object's kind": (
        400,
        '{"object":"error","message":"Invalid model: x","type":"invalid_model","param":null,"code":"1500"}',
        UpstreamSaid("Invalid model: x", "invalid_model", "1500"),
    ),
    "detail": (400, '{"detail":"Bad thing"}', UpstreamSaid("Bad thing")),
    "a list of details": (
        422,
        '{"detail":[{"loc":["body","messages",0,"role"],"msg":"Field required","type":"missing"},{"msg":"and more"}]}',
        UpstreamSaid("messages.0.role: Field required; and more", param="messages.0.role"),
    ),
    "message alone": (400, '{"message":"Malformed input"}', UpstreamSaid("Malformed input")),
    "id and message": (404, '{"id":"8bd5","message":"gone","error_type":"missing"}', UpstreamSaid("gone", "missing")),
    "code is the status": (400, '{"error":{"code":400,"message":"no","type":"x"}}', UpstreamSaid("no", "x")),
    "code is the status as text": (404, '{"error":{"code":"404","message":"no"}}', UpstreamSaid("no")),
    "a status in words": (
        400,
        '{"error":{"code":400,"message":"no","status":"INVALID_ARGUMENT"}}',
        UpstreamSaid("no", code="INVALID_ARGUMENT"),
    ),
    "in a list": (400, '[{"error":{"code":400,"message":"no"}}]', UpstreamSaid("no")),
    "errors": (400, '{"errors":[{"status":"400","title":"Bad","detail":"too bad"}]}', UpstreamSaid("too bad")),
    "text": (500, "upstream connect error", UpstreamSaid("upstream connect error")),
    "a page": (502, "<html><title>502 Bad Gateway</title></html>", UpstreamSaid("")),
    "nothing": (500, "", UpstreamSaid("")),
    "a number": (500, "17", UpstreamSaid("")),
    "a lonely surrogate": (400, '{"error":{"message":"a\\ud800b"}}', UpstreamSaid("a?b")),
    "too deep": (400, "[" * 100_000, UpstreamSaid("[" * 512)),
    "a code that is no word": (400, '{"error":{"message":"no","code":"<script>","type":"a b"}}', UpstreamSaid("no")),
    "control characters": (400, '{"error":{"message":"a\\r\\nSet-Cookie: b\\u0000"}}', UpstreamSaid("a Set-Cookie: b")),
}


@pytest.mark.parametrize(("status", "text", "said"), SHAPES.values(), ids=SHAPES)
def test_the_words_are_found_in_every_shape(status: int, text: str, said: UpstreamSaid) -> None:
    assert read_error(text.encode(), status) == said


ERROR = b'{"error":{"message":"words","type":"some_type","param":"p","code":"some_code"}}'
QUOTA = b'{"error":{"message":"words","type":"insufficient_quota","code":"insufficient_quota"}}'
STATUSES: dict[str, tuple[int, bytes, int, str, str | None]] = {
    "400": (400, ERROR, 400, "upstream_rejected", "some_code"),
    "401": (401, ERROR, 502, "upstream_auth", None),
    "402": (402, ERROR, 503, "upstream_quota", None),
    "403": (403, ERROR, 502, "upstream_auth", None),
    "404": (404, ERROR, 404, "upstream_not_found", "some_code"),
    "405": (405, ERROR, 405, "upstream_rejected", "some_code"),
    "407": (407, ERROR, 502, "upstream_auth", None),
    "408": (408, ERROR, 504, "upstream_timeout", None),
    "409": (409, ERROR, 409, "upstream_rejected", "some_code"),
    "410": (410, ERROR, 410, "upstream_not_found", "some_code"),
    "413": (413, ERROR, 413, "upstream_rejected", "some_code"),
    "422": (422, ERROR, 422, "upstream_rejected", "some_code"),
    "429": (429, ERROR, 429, "upstream_rate_limited", None),
    "429 for a quota": (429, QUOTA, 503, "upstream_quota", None),
    "500": (500, ERROR, 502, "upstream_error", None),
    "501": (501, ERROR, 501, "upstream_rejected", "some_code"),
    "502": (502, b"<html>", 502, "upstream_error", None),
    "503": (503, ERROR, 503, "upstream_overloaded", None),
    "504": (504, ERROR, 504, "upstream_timeout", None),
    "520": (520, b"<html>", 502, "upstream_error", None),
    "524": (524, b"<html>", 504, "upstream_timeout", None),
    "529": (529, ERROR, 503, "upstream_overloaded", None),
    "307": (307, b"", 502, "upstream_redirect", None),
    "600": (600, ERROR, 502, "upstream_error", None),
    "199": (199, ERROR, 502, "upstream_protocol", None),
    "400 for our key": (400, b'{"error":"Incorrect API key provided: xa***z."}', 502, "upstream_auth", None),
    "400 for our key, in capitals": (
        400,
        b'{"error":{"message":"no","details":[{"reason":"API_KEY_INVALID"}]}}',
        502,
        "upstream_auth",
        None,
    ),
    "too long, by code": (
        400,
        b'{"error":{"message":"words","code":"context_length_exceeded"}}',
        400,
        "upstream_context_length",
        "context_length_exceeded",
    ),
    "too long, by words": (
        400,
        b'{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 2 > 1"}}',
        400,
        "upstream_context_length",
        "context_length_exceeded",
    ),
}


@pytest.mark.parametrize(("status", "said", "ours", "code", "wire_code"), STATUSES.values(), ids=STATUSES)
def test_each_status_is_somebodys_business(
    status: int, said: bytes, ours: int, code: str, wire_code: str | None
) -> None:
    error = fault(status, [], said)
    assert (error.status, error.code, error.wire_code) == (ours, code, wire_code)
    assert error.message


def test_where_it_is_the_callers_business_the_upstreams_words_stay() -> None:
    error = fault(422, [], ERROR)
    assert (error.message, error.wire_type, error.param) == ("words", "some_type", "p")


RETRY: dict[str, tuple[list[tuple[str, str]], dict[str, str]]] = {
    "seconds": ([("Retry-After", "20")], {"retry-after": "20"}),
    "a date": (
        [("retry-after", "Sun, 22 Nov 2026 02:18:46 GMT")],
        {"retry-after": "Sun, 22 Nov 2026 02:18:46 GMT"},
    ),
    "milliseconds": ([("retry-after-ms", "1500.5")], {"retry-after-ms": "1500.5"}),
    "not at all": ([("x-should-retry", "false")], {"x-should-retry": "false"}),
    "junk": ([("retry-after", "soon"), ("retry-after-ms", "-1"), ("x-should-retry", "maybe")], {}),
    "others": ([("set-cookie", "a=b"), ("x-ratelimit-remaining-tokens", "0")], {}),
}


@pytest.mark.parametrize("status", [429, 503, 529])
@pytest.mark.parametrize(("headers", "kept"), RETRY.values(), ids=RETRY)
def test_when_to_come_back_is_passed_on(status: int, headers: list[tuple[str, str]], kept: dict[str, str]) -> None:
    assert fault(status, headers, b"{}").headers == kept


def test_when_to_come_back_is_not_passed_on_with_a_refusal() -> None:
    assert fault(400, [("retry-after", "20")], b"{}").headers == {}


def test_a_used_up_quota_is_not_worth_a_retry() -> None:
    assert fault(429, [("retry-after", "20")], QUOTA).headers == {"x-should-retry": "false"}


def told(record: dict[str, Any]) -> RequestFailed:
    return fault(int(record["status"]), list(record["headers"].items()), (CORPUS / record["file"]).read_bytes())


@needs_corpus
def test_every_recorded_error_reaches_its_caller_by_the_table() -> None:
    seen = Counter(
        (str(record["provider"]), int(record["status"]), told(record).status, told(record).code) for record in RECORDED
    )
    assert seen == TOLD


SECRETS = re.compile(
    r"https?:|www\.|\.com\b|\.org\b|\*\*|\bsk-|@|\breq_|\borg-|\buser_[0-9A-Z]|[0-9a-f]{8}-[0-9a-f]{4}|bad-key|invalid-key|iad1"
)


@needs_corpus
@pytest.mark.parametrize("record", RECORDED, ids=lambda record: str(record["file"]))
def test_no_recorded_error_tells_a_secret(record: dict[str, Any]) -> None:
    error = told(record)
    raw = read_error((CORPUS / record["file"]).read_bytes(), int(record["status"]))
    for words in (error.message, error.param or "", error.wire_code or "", error.wire_type or "", raw.message):
        assert SECRETS.findall(words) == []
        assert words.isprintable()
