"""Bifrost's chat completions page: its field rules, its errors, and the ``extra_fields`` it says of answers.

A client sees the shapes of the page (of version 1.2 and 1.3); what is the page's own stands beside what OpenAI's SDKs
read, so that they notice nothing. Values are taken from the request as text and put in as text.
"""

from __future__ import annotations

from collections.abc import Mapping
import json
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from sluicegate.dialects import openai
from sluicegate.dialects.rules import NULL, Rule, begins, check, filled_list, list_of, number, strings, whole
from sluicegate.errors import GatewayFault, Lost, RequestFailed, TimedOut, Unfit, Unreachable

if TYPE_CHECKING:
    from sluicegate.exchange import Exchange

#: Its name as an error shape and as a page.
NAME = "bifrost"
#: The member of answers that the page adds.
EXTRA_FIELDS = "extra_fields"

_REQUEST_TYPES = {"chat_completions": "chat_completion", "completions": "text_completion", "responses": "responses"}
_CHAT = "chat_completions"
#: Failures in which no upstream said anything that can be passed on: the gateway's own words.
_OWN = (GatewayFault, Unreachable, TimedOut, Lost, Unfit)
#: The statuses that ends of a stream would have had, where it is not 502.
_ENDS = MappingProxyType(
    {"gateway_draining": 503, "internal_error": 500, "total_timeout": 504, "upstream_stalled": 504}
)


class _Fields(msgspec.Struct):
    """A request's members that the page names, as they stand in the body; the last one of a name counts."""

    messages: msgspec.Raw = NULL
    max_tokens: msgspec.Raw = NULL
    max_completion_tokens: msgspec.Raw = NULL
    temperature: msgspec.Raw = NULL
    top_p: msgspec.Raw = NULL
    top_k: msgspec.Raw = NULL
    n: msgspec.Raw = NULL
    stop: msgspec.Raw = NULL
    presence_penalty: msgspec.Raw = NULL
    frequency_penalty: msgspec.Raw = NULL
    logit_bias: msgspec.Raw = NULL
    logprobs: msgspec.Raw = NULL
    top_logprobs: msgspec.Raw = NULL
    metadata: msgspec.Raw = NULL
    modalities: msgspec.Raw = NULL
    parallel_tool_calls: msgspec.Raw = NULL
    prompt_cache_key: msgspec.Raw = NULL
    reasoning_effort: msgspec.Raw = NULL
    response_format: msgspec.Raw = NULL
    safety_identifier: msgspec.Raw = NULL
    seed: msgspec.Raw = NULL
    service_tier: msgspec.Raw = NULL
    store: msgspec.Raw = NULL
    tool_choice: msgspec.Raw = NULL
    tools: msgspec.Raw = NULL
    user: msgspec.Raw = NULL
    verbosity: msgspec.Raw = NULL
    fallbacks: msgspec.Raw = NULL


_FIELDS = msgspec.json.Decoder(_Fields)

_STRING = ("a string", begins(b'"'))
_BOOLEAN = ("true or false", begins(b"t", b"f"))
_OBJECT = ("an object", begins(b"{"))

#: What the page says a member must be. Its enumerations are narrower than what its providers take, so only their type
#: is looked at: a new one is the upstream's to judge.
RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "messages": ("a list of at least one message", filled_list),
        "max_tokens": ("a whole number of at least 1", whole(1)),
        "max_completion_tokens": ("a whole number", whole()),
        "temperature": ("a number from 0 to 2", number(0, 2)),
        "top_p": ("a number from 0 to 1", number(0, 1)),
        "n": ("a whole number", whole()),
        "stop": ("a string or a list of strings", strings),
        "presence_penalty": ("a number from -2 to 2", number(-2, 2)),
        "frequency_penalty": ("a number from -2 to 2", number(-2, 2)),
        "logit_bias": _OBJECT,
        "logprobs": _BOOLEAN,
        "top_logprobs": ("a whole number from 0 to 20", whole(0, 20)),
        "metadata": _OBJECT,
        "modalities": ("a list of strings", list_of(b'"')),
        "parallel_tool_calls": _BOOLEAN,
        "prompt_cache_key": _STRING,
        "reasoning_effort": _STRING,
        "response_format": _OBJECT,
        "safety_identifier": _STRING,
        "seed": ("a whole number", whole()),
        "service_tier": _STRING,
        "store": _BOOLEAN,
        "tool_choice": ("a string or an object", begins(b'"', b"{")),
        "tools": ("a list of objects", list_of(b"{")),
        "user": _STRING,
        "verbosity": _STRING,
        "fallbacks": ("a list of strings", list_of(b'"')),
    }
)
#: Members of ``model_params`` by where they come from, but for those that change.
_PARAMS = (
    "temperature",
    "top_p",
    "top_k",
    "presence_penalty",
    "frequency_penalty",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
)


def model_params(body: bytes, endpoint: str) -> bytes:
    """Check a request's members by the page's rules and give its ``model_params``: JSON, each value as it was sent.

    ``body`` is one JSON object. Raises BadRequest, which names the member and what it must be.
    """
    fields = _FIELDS.decode(body)
    if endpoint == _CHAT:
        check(fields, RULES, required=("messages",))
    members = [(name, getattr(fields, name)) for name in _PARAMS]
    members.append(("max_tokens", fields.max_tokens if fields.max_tokens != NULL else fields.max_completion_tokens))
    stop = bytes(fields.stop)
    members.append(("stop_sequences", b"[" + stop + b"]" if stop.startswith(b'"') else stop))
    said = [b'"%b":%b' % (name.encode(), bytes(value)) for name, value in members if bytes(value) != b"null"]
    return b"{" + b",".join(said) + b"}"


def extra_fields(exchange: Exchange) -> bytes:
    """Begin the value of ``extra_fields``: all but what the end of the answer tells, and the closing brace.

    The core adds ``latency`` in milliseconds, ``billed_usage`` and, if asked, ``raw_response``.
    """
    said = json.dumps(_about(exchange)).encode()
    return said[:-1] + b',"model_params":' + (exchange.model_params or b"{}")


def error_body(error: RequestFailed, request_id: str, exchange: Exchange | None) -> bytes:
    """Write the page's error: OpenAI's ``error`` inside, and beside it whose fault it was.

    ``is_bifrost_error``: the gateway's own words, not an upstream's or about the request. ``event_id`` is the request's
    id.
    """
    about = _about(exchange) if exchange is not None else {}
    return json.dumps(
        _error(openai.error_of(error), error.status, own=isinstance(error, _OWN), about=about)
        | {"event_id": request_id}
    ).encode()


def error_event(code: str, message: str) -> bytes:
    """Write the same inside a stream, as data without a name: what OpenAI's SDKs raise on."""
    own, status = code != "upstream_error_in_band", _ENDS.get(code, 502)
    about = {"request_type": "chat_completion_stream"}
    event = _error(openai.error_at_the_end(code, message), status, own=own, about=about)
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def _error(error: dict[str, str | None], status: int, *, own: bool, about: dict[str, str]) -> dict[str, object]:
    return {
        "type": error["type"],
        "is_bifrost_error": own,
        "status_code": status,
        "error": error,
        EXTRA_FIELDS: about,
    }


def _about(exchange: Exchange) -> dict[str, str]:
    """Whom it is about: the upstream's configured name once one was chosen, and the model as it was asked for."""
    kind = _REQUEST_TYPES.get(exchange.endpoint.name, exchange.endpoint.name)
    about = {"request_type": f"{kind}_stream" if exchange.stream else kind}
    if exchange.upstream:
        about["provider"] = exchange.upstream
    if exchange.requested_model:
        about["model_requested"] = exchange.requested_model
    return about
