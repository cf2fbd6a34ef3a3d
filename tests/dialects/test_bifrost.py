"""Bifrost's page: its field rules, what answers repeat of a request, and its errors, member by member."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from tests.kit.pages import EXAMPLE, page_fields

from sluicegate.dialects.bifrost import RULES, error_event, model_params
from sluicegate.dialects.speech import error_body, shape
from sluicegate.errors import (
    STREAM_ENDS,
    Answered,
    BadRequest,
    Draining,
    Internal,
    NotAuthenticated,
    RateLimited,
    RequestFailed,
    TimedOut,
    Unreachable,
    UpstreamFailed,
)

MESSAGES = '"messages":[{"role":"user","content":"Hello"}]'

#: A member's text and what the page says of it; None where it is fine.
FIELDS: dict[str, tuple[list[str], list[str], str]] = {
    "messages": (["[{}]", "[ 1 ]"], ["[]", "[ ]", "{}", '"hi"', "1"], "a list of at least one message"),
    "max_tokens": (["1", "1000", "null"], ["0", "-1", "1.0", "1e3", '"1"', "true"], "a whole number of at least 1"),
    "max_completion_tokens": (["1", "0"], ["1.5", '"1"'], "a whole number"),
    "temperature": (["0", "2", "2.0", "0.7", "1e0", "null"], ["-0.1", "2.1", "1e400", '"1"'], "a number from 0 to 2"),
    "top_p": (["0", "1", "0.5"], ["1.01", "-1", "[]"], "a number from 0 to 1"),
    "n": (["1", "4"], ["1.5", "[1]"], "a whole number"),
    "stop": (['"END"', '["a","b"]', "[]", "null"], ["1", '["a",1]', "{}"], "a string or a list of strings"),
    "presence_penalty": (["-2", "2", "0"], ["-2.5", "3"], "a number from -2 to 2"),
    "frequency_penalty": (["-2", "2"], ["-3", "2.01"], "a number from -2 to 2"),
    "logit_bias": (["{}", '{"5":-1}'], ["[]", "1"], "an object"),
    "logprobs": (["true", "false"], ["1", '"true"'], "true or false"),
    "top_logprobs": (["0", "20"], ["-1", "21", "1.0"], "a whole number from 0 to 20"),
    "metadata": (["{}"], ["[]"], "an object"),
    "modalities": (['["text"]', "[]"], ['"text"', "[1]"], "a list of strings"),
    "parallel_tool_calls": (["true"], ["0"], "true or false"),
    "prompt_cache_key": (['"k"'], ["1"], "a string"),
    "reasoning_effort": (['"xhigh"'], ["2"], "a string"),
    "response_format": (['{"type":"text"}'], ['"text"'], "an object"),
    "safety_identifier": (['"u"'], ["1"], "a string"),
    "seed": (["123", "-1"], ["1.5", '"1"'], "a whole number"),
    "service_tier": (['"auto"', '"flex"'], ["1"], "a string"),
    "store": (["true"], ['"yes"'], "true or false"),
    "tool_choice": (['"none"', '{"type":"function"}'], ["1", "[]"], "a string or an object"),
    "tools": (["[]", '[{"type":"function"}]'], ["{}", '["x"]'], "a list of objects"),
    "user": (['"u"'], ["1"], "a string"),
    "verbosity": (['"low"'], ["1"], "a string"),
    "fallbacks": (['["openai/gpt-4o"]', "[]"], ['"openai/gpt-4o"', "[1]"], "a list of strings"),
}


def body(name: str, text: str) -> bytes:
    messages = "" if name == "messages" else f",{MESSAGES}"
    return f'{{"model":"openai/gpt-4o" ,"{name}" : {text} {messages}}}'.encode()


def test_every_field_of_the_page_has_its_rule() -> None:
    elsewhere = {"model", "stream", "stream_options"}  # every mount looks at those
    assert set(RULES) == page_fields() - elsewhere == set(FIELDS)


def test_the_ranges_are_the_pages() -> None:
    ranges = {name: what for name, (what, _) in RULES.items() if "from" in what or "least" in what}
    assert {name: re.findall(r"-?\d+", what) for name, what in ranges.items()} == {
        "messages": [],
        "max_tokens": ["1"],
        "temperature": ["0", "2"],
        "top_p": ["0", "1"],
        "presence_penalty": ["-2", "2"],
        "frequency_penalty": ["-2", "2"],
        "top_logprobs": ["0", "20"],
    }


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, (good, _, _) in FIELDS.items() for text in good])
def test_what_the_page_allows_passes(name: str, text: str) -> None:
    model_params(body(name, text), "chat_completions")


@pytest.mark.parametrize(
    ("name", "text", "what"), [(name, text, what) for name, (_, bad, what) in FIELDS.items() for text in bad]
)
def test_what_the_page_does_not_allow_is_named(name: str, text: str, what: str) -> None:
    with pytest.raises(BadRequest) as refused:
        model_params(body(name, text), "chat_completions")
    error = refused.value
    expected = ("invalid_value", name, f"The parameter '{name}' must be {what}.")
    assert (error.code, error.param, error.message) == expected


@pytest.mark.parametrize("text", ['{"model":"m"}', '{"model":"m","messages":null}'])
def test_messages_must_be_there(text: str) -> None:
    with pytest.raises(BadRequest) as refused:
        model_params(text.encode(), "chat_completions")
    assert (refused.value.code, refused.value.param) == ("missing_parameter", "messages")


def test_the_pages_own_example_passes() -> None:
    assert json.loads(model_params(json.dumps(EXAMPLE).encode(), "chat_completions")) == {
        "temperature": 1,
        "top_p": 0.5,
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "tools": EXAMPLE["tools"],
        "tool_choice": "none",
        "parallel_tool_calls": True,
        "max_tokens": 1000,
        "stop_sequences": ["<string>"],
    }


PARAMS = {
    "nothing was said": ("", "{}"),
    "null says nothing": (',"temperature":null,"stop":null', "{}"),
    "numbers keep their spelling": (',"temperature":1.0,"top_p":5e-1', '{"temperature":1.0,"top_p":5e-1}'),
    "one stop sequence is a list of one": (',"stop":"\\n"', '{"stop_sequences":["\\n"]}'),
    "several are the list": (',"stop":[ "a", "b" ]', '{"stop_sequences":[ "a", "b" ]}'),
    "the newer limit stands for the older": (',"max_completion_tokens":5', '{"max_tokens":5}'),
    "the older limit comes first": (',"max_completion_tokens":5,"max_tokens":6', '{"max_tokens":6}'),
    "what the page does not list is left out": (',"user":"u","seed":1', "{}"),
    "invalid UTF-8 is repeated as it is": (',"tools":[{"name":"\udcff"}]', '{"tools":[{"name":"\udcff"}]}'),
}


@pytest.mark.parametrize(("members", "expected"), PARAMS.values(), ids=PARAMS)
def test_parameters_are_repeated_as_text(members: str, expected: str) -> None:
    text = f'{{"model":"m",{MESSAGES}{members}}}'.encode("utf-8", "surrogateescape")
    assert model_params(text, "chat_completions") == expected.encode("utf-8", "surrogateescape")


def test_the_older_completions_are_not_held_to_chats_rules() -> None:
    assert model_params(b'{"model":"m","prompt":"x","logprobs":3,"max_tokens":2}', "completions") == b'{"max_tokens":2}'


ERRORS: dict[str, tuple[RequestFailed, bool]] = {
    "about the request": (BadRequest("invalid_json", "m", param="p"), False),
    "about the key": (NotAuthenticated("invalid_api_key", "m"), False),
    "an upstream's verdict": (Answered("upstream_rejected", "m", status=422, wire_type="t", wire_code="c"), False),
    "an upstream's limit": (RateLimited("upstream_rate_limited", "m"), False),
    "an upstream's failure": (UpstreamFailed("upstream_error", "m"), False),
    "no upstream at all": (Unreachable("upstream_refused", "m"), True),
    "no answer in time": (TimedOut("upstream_timeout", "m"), True),
    "ours": (Internal(), True),
    "ours, for now": (Draining("gateway_draining", "m"), True),
}


@pytest.mark.parametrize(("error", "own"), ERRORS.values(), ids=ERRORS)
def test_an_error_has_openais_inside_the_pages(error: RequestFailed, own: bool) -> None:
    inside: Any = json.loads(error_body("openai-chat", error, "req_1"))["error"]
    assert json.loads(error_body("bifrost", error, "req_1")) == {
        "type": inside["type"],
        "is_bifrost_error": own,
        "status_code": error.status,
        "error": inside,
        "extra_fields": {},
        "event_id": "req_1",
    }


STATUSES = {"gateway_draining": 503, "internal_error": 500, "total_timeout": 504, "upstream_stalled": 504}


@pytest.mark.parametrize("code", STREAM_ENDS)
def test_an_error_inside_a_stream_is_one_event_without_a_name(code: str) -> None:
    event = error_event(code, "words")
    assert (event[:6], event[-2:], event.count(b"\n")) == (b"data: ", b"\n\n", 2)
    said = json.loads(event[6:])
    assert (said["error"]["code"], said["error"]["message"]) == (code, "words")
    assert (said["status_code"], said["extra_fields"]) == (
        STATUSES.get(code, 502),
        {"request_type": "chat_completion_stream"},
    )
    assert said["is_bifrost_error"] == (code != "upstream_error_in_band")


SHAPES = {
    ("", "openai-chat"): "openai-chat",
    ("bifrost", "openai-chat"): "bifrost",
    ("bifrost", "openai-completions"): "bifrost",
    ("bifrost", "openai-responses"): "bifrost",
    ("bifrost", "anthropic-messages"): "anthropic-messages",
    ("", "anthropic-messages"): "anthropic-messages",
}


@pytest.mark.parametrize(("asked", "expected"), SHAPES.items())
def test_a_pages_errors_replace_openais_only(asked: tuple[str, str], expected: str) -> None:
    assert shape(*asked) == expected
