"""Errors and credentials in each dialect, byte for byte, and what the official SDKs make of them."""

from __future__ import annotations

import json

import anthropic
import httpx2
import openai
import pytest

from sluicegate.dialects.speech import credential_headers, error_body, error_event, error_headers
from sluicegate.errors import (
    STREAM_ENDS,
    Answered,
    BadRequest,
    BodyTooLarge,
    Draining,
    Internal,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    RateLimited,
    RequestFailed,
    TimedOut,
    Unreachable,
    UpstreamFailed,
)

CHAT_SHAPED = ["openai-chat", "openai-completions", "gemini", "cohere", "unknown"]
ERRORS: dict[str, tuple[RequestFailed, str, str]] = {
    "400": (BadRequest("invalid_json", "m"), "invalid_request_error", "invalid_request_error"),
    "401": (NotAuthenticated("invalid_api_key", "m"), "invalid_request_error", "authentication_error"),
    "403": (NotAllowed("model_not_allowed", "m"), "invalid_request_error", "permission_error"),
    "404": (NotFound("model_not_found", "m"), "invalid_request_error", "not_found_error"),
    "413": (BodyTooLarge("request_too_large", "m"), "invalid_request_error", "request_too_large"),
    "429": (RateLimited("upstream_rate_limited", "m"), "rate_limit_error", "rate_limit_error"),
    "500": (Internal(), "server_error", "api_error"),
    "502": (Unreachable("upstream_refused", "m"), "upstream_error", "api_error"),
    "503": (Draining("gateway_draining", "m"), "server_error", "overloaded_error"),
    "503 of theirs": (UpstreamFailed("upstream_overloaded", "m", status=503), "upstream_error", "overloaded_error"),
    "504": (TimedOut("upstream_timeout", "m"), "timeout_error", "timeout_error"),
    "422 of theirs": (
        Answered("upstream_rejected", "m", status=422, wire_type="odd_type"),
        "odd_type",
        "invalid_request_error",
    ),
    "501 of theirs": (Answered("upstream_rejected", "m", status=501, wire_type="odd_type"), "odd_type", "api_error"),
}


@pytest.mark.parametrize("dialect", [*CHAT_SHAPED, "openai-responses"])
@pytest.mark.parametrize(("error", "kind", "_"), ERRORS.values(), ids=ERRORS)
def test_an_error_body_has_all_four_members(dialect: str, error: RequestFailed, kind: str, _: str) -> None:
    expected = {"error": {"message": error.message, "type": kind, "param": None, "code": error.code}}
    assert json.loads(error_body(dialect, error, "req_1")) == expected


@pytest.mark.parametrize(("error", "_", "kind"), ERRORS.values(), ids=ERRORS)
def test_an_error_body_on_messages_has_the_envelope(error: RequestFailed, _: str, kind: str) -> None:
    expected = {
        "type": "error",
        "error": {"type": kind, "message": error.message, "code": error.code},
        "request_id": "req_1",
    }
    assert json.loads(error_body("anthropic-messages", error, "req_1")) == expected


def test_an_upstreams_code_and_param_stand_where_ours_would() -> None:
    error = Answered("upstream_rejected", "m", status=400, param="n", wire_code="invalid_value", wire_type="t")
    expected = {"error": {"message": "m", "type": "t", "param": "n", "code": "invalid_value"}}
    assert json.loads(error_body("openai-chat", error, "req_1")) == expected


@pytest.mark.parametrize("dialect", CHAT_SHAPED)
def test_a_truncation_is_one_data_line(dialect: str) -> None:
    assert error_event(dialect, "upstream_truncated", "words") == (
        b'data: {"error": '
        b'{"message": "words", "type": "upstream_error", "param": null, "code": "upstream_truncated"}}\n\n'
    )


def test_a_truncation_on_messages_is_an_error_event() -> None:
    assert error_event("anthropic-messages", "upstream_truncated", "words") == (
        b'event: error\ndata: {"type": "error", "error": '
        b'{"type": "api_error", "message": "words", "code": "upstream_truncated"}}\n\n'
    )


def test_a_truncation_on_responses_is_nested_and_flat() -> None:
    assert error_event("openai-responses", "upstream_truncated", "words") == (
        b'event: error\ndata: {"type": "error", "code": "upstream_truncated", "message": "words", "param": null, '
        b'"error": {"message": "words", "type": "upstream_error", "param": null, "code": "upstream_truncated"}}\n\n'
    )


def test_words_from_outside_cannot_break_the_event() -> None:
    event = error_event("openai-chat", "upstream_truncated", 'a"\r\n\r\ndata: b\ud800\u2028')
    assert event.count(b"\n") == 2
    assert event.isascii()


@pytest.mark.parametrize("code", STREAM_ENDS)
def test_openais_sdk_raises_on_every_stream_end(code: str) -> None:
    client = openai.OpenAI(
        api_key="k", base_url="http://gw/v1", http_client=streaming(error_event("openai-chat", code, "w"))
    )
    with pytest.raises(openai.APIError, match="w"):
        list(client.chat.completions.create(model="m", messages=[], stream=True))


@pytest.mark.parametrize("code", STREAM_ENDS)
def test_openais_sdk_raises_on_every_stream_end_of_responses(code: str) -> None:
    events = streaming(error_event("openai-responses", code, "w"))
    client = openai.OpenAI(api_key="k", base_url="http://gw/v1", http_client=events)
    with pytest.raises(openai.APIError, match="w"):
        list(client.responses.create(model="m", input="i", stream=True))


@pytest.mark.parametrize("code", STREAM_ENDS)
def test_anthropics_sdk_raises_on_every_stream_end(code: str) -> None:
    events = streaming(error_event("anthropic-messages", code, "w"))
    client = anthropic.Anthropic(api_key="k", base_url="http://gw", http_client=events)
    with pytest.raises(anthropic.APIStatusError):
        list(client.messages.create(model="m", max_tokens=1, messages=[], stream=True))


def streaming(events: bytes) -> httpx2.Client:
    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=events)

    return httpx2.Client(transport=httpx2.MockTransport(answer))


CREDENTIALS = {
    ("openai", "k"): (("authorization", "Bearer k"),),
    ("cohere", "k"): (("authorization", "Bearer k"),),
    ("gemini", "k"): (("x-goog-api-key", "k"),),
    ("anthropic", "k"): (("anthropic-version", "2023-06-01"), ("x-api-key", "k")),
    ("openai", ""): (),
    ("gemini", ""): (),
    ("anthropic", ""): (("anthropic-version", "2023-06-01"),),
}


@pytest.mark.parametrize("asked", CREDENTIALS)
def test_each_family_gets_its_credential_in_its_own_header(asked: tuple[str, str]) -> None:
    assert credential_headers(*asked) == CREDENTIALS[asked]


def test_messages_clients_find_the_id_under_their_own_name() -> None:
    assert error_headers("anthropic-messages", "req_1") == (("request-id", "req_1"),)
    assert error_headers("openai-chat", "req_1") == ()
