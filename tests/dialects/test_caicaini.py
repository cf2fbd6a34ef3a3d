"""caicaini's page: its field rules, its finish reasons, its errors with their statuses, its rate headers."""

from __future__ import annotations

import json

import pytest

from sluicegate.dialects.caicaini import FINISHES, check_fields, error_event, rate_headers
from sluicegate.dialects.speech import error_body, error_headers, shape, status
from sluicegate.errors import (
    STREAM_ENDS,
    Answered,
    BadRequest,
    BodyTooLarge,
    BudgetSpent,
    ClientLeft,
    Draining,
    HeadersTooLarge,
    Internal,
    MethodNotAllowed,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    Overloaded,
    QuotaExhausted,
    RateLimited,
    RequestFailed,
    TimedOut,
    Unreachable,
    UpstreamFailed,
)

CHAT, MESSAGES = "chat_completions", "messages"
#: An endpoint, a member, what is fine, what is not, and what the caller is told.
FIELDS: list[tuple[str, str, list[str], list[str], str]] = [
    (CHAT, "messages", ["[{}]"], ["[]", '"hi"'], "a list of at least one message"),
    (CHAT, "max_tokens", ["1", "null"], ["0", "1.5", '"1"'], "a whole number of at least 1"),
    (CHAT, "temperature", ["0", "2", "1.5"], ["-1", "2.1", '"1"'], "a number from 0 to 2"),
    (MESSAGES, "temperature", ["0", "1"], ["1.5"], "a number from 0 to 1"),
    (CHAT, "top_p", ["0", "1"], ["1.1"], "a number from 0 to 1"),
    (CHAT, "stop", ['"a"', '["a","b","c","d"]', "[]"], ['["a","b","c","d","e"]', "[1]", "1"],
     "a string or a list of at most four strings"),
    (CHAT, "tools", ["[]", "[{}]"], ["{}", "[1]"], "a list of objects"),
    (CHAT, "tool_choice", ['"none"', '"auto"', "{}"], ['"required"', "1"], '"none", "auto" or an object'),
    (CHAT, "response_format", ['{"type":"json_object"}', '{"a":1,"type" : "json_object"}'],
     ['{"type":"text"}', "{}", '"json_object"'], '{"type": "json_object"}'),
    (CHAT, "user", ['"u"'], ["1"], "a string"),
]  # fmt: skip


def body(name: str, text: str) -> bytes:
    messages = "" if name == "messages" else ',"messages":[{}]'
    return f'{{"model":"caicaini/auto","{name}":{text}{messages}}}'.encode()


@pytest.mark.parametrize(
    ("endpoint", "name", "text"), [(where, name, text) for where, name, good, _, _ in FIELDS for text in good]
)
def test_what_the_page_allows_passes(endpoint: str, name: str, text: str) -> None:
    check_fields(body(name, text), endpoint)


@pytest.mark.parametrize(
    ("endpoint", "name", "text", "what"),
    [(where, name, text, what) for where, name, _, bad, what in FIELDS for text in bad],
)
def test_what_it_does_not_allow_is_named(endpoint: str, name: str, text: str, what: str) -> None:
    with pytest.raises(BadRequest) as refused:
        check_fields(body(name, text), endpoint)
    assert (refused.value.param, refused.value.message) == (name, f"The parameter '{name}' must be {what}.")


@pytest.mark.parametrize("endpoint", [CHAT, MESSAGES])
def test_messages_must_be_there(endpoint: str) -> None:
    with pytest.raises(BadRequest, match="'messages' is required"):
        check_fields(b'{"model":"m"}', endpoint)


def test_other_endpoints_and_members_are_the_upstreams_to_judge() -> None:
    check_fields(b'{"model":"m","temperature":9}', "completions")
    check_fields(b'{"model":"m","messages":[{}],"logprobs":"odd"}', CHAT)


def test_finish_reasons_are_four() -> None:
    known, other = FINISHES
    assert {*known.values(), other} == {"stop", "length", "tool_calls", "content_filter"}
    assert all(known[reason] == reason for reason in known.values())


ERRORS: dict[str, tuple[RequestFailed, int, str]] = {
    "400": (BadRequest("invalid_json", "m"), 400, "invalid_request_error"),
    "401": (NotAuthenticated("invalid_api_key", "m"), 401, "authentication_error"),
    "402": (BudgetSpent("budget_exceeded", "m"), 402, "insufficient_quota"),
    "403": (NotAllowed("model_not_allowed", "m"), 403, "permission_error"),
    "404": (NotFound("unknown_path", "m"), 404, "not_found_error"),
    "a name that is no model": (NotFound("model_not_found", "m"), 400, "invalid_request_error"),
    "413": (BodyTooLarge("request_too_large", "m"), 413, "request_too_large"),
    "429": (RateLimited("upstream_rate_limited", "m"), 429, "rate_limit_error"),
    "500": (Internal(), 500, "api_error"),
    "502": (Unreachable("upstream_refused", "m"), 502, "api_error"),
    "503": (Draining("gateway_draining", "m"), 503, "api_error"),
    "503 of theirs": (QuotaExhausted("upstream_quota", "m"), 503, "api_error"),
    "504": (TimedOut("upstream_timeout", "m"), 504, "api_error"),
    "529": (Overloaded("gateway_overloaded", "m"), 529, "overloaded_error"),
    "529 of theirs": (UpstreamFailed("upstream_overloaded", "m", status=503), 529, "overloaded_error"),
    "422 of theirs": (Answered("upstream_rejected", "m", status=422, wire_type="odd"), 400, "invalid_request_error"),
    "501 of theirs": (Answered("upstream_rejected", "m", status=501), 500, "api_error"),
    "405, of HTTP": (MethodNotAllowed("method_not_allowed", "m"), 405, "invalid_request_error"),
    "431, of HTTP": (HeadersTooLarge("headers_too_large", "m"), 431, "invalid_request_error"),
    "499, of nobody": (ClientLeft(), 499, "invalid_request_error"),
}


@pytest.mark.parametrize(("error", "expected", "kind"), ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize("dialect", ["openai-chat", "openai-completions", "openai-responses", "anthropic-messages"])
def test_errors_are_the_pages_on_every_endpoint(error: RequestFailed, expected: int, kind: str, dialect: str) -> None:
    its = shape("caicaini", dialect)
    error.status = status(its, error)
    assert error.status == expected
    assert json.loads(error_body(its, error, "req_1")) == {
        "type": "error",
        "error": {"type": kind, "message": error.message, "code": error.code},
        "request_id": "req_1",
    }
    assert error_headers(its, "req_1") == (("request-id", "req_1"),)


@pytest.mark.parametrize("code", STREAM_ENDS)
def test_an_error_inside_a_stream_is_one_event_without_a_name(code: str) -> None:
    event = error_event(code, "words")
    assert (event[:6], event[-2:], event.count(b"\n")) == (b"data: ", b"\n\n", 2)
    assert json.loads(event[6:]) == {"type": "error", "error": {"type": "api_error", "message": "words", "code": code}}


def test_rate_headers_are_whole_seconds_and_name_the_tier() -> None:
    ours = [
        ("x-ratelimit-limit-requests", "60"),
        ("x-ratelimit-remaining-requests", "59"),
        ("x-ratelimit-reset-requests", "12s"),
    ]
    assert rate_headers(ours, "payg") == [("x-ratelimit-tier", "payg"), *ours[:2], ("x-ratelimit-reset-requests", "12")]
    assert rate_headers((), "") == []
