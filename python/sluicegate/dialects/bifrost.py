"""Bifrost's chat completions page: its field rules, its errors, and the ``extra_fields`` it says of answers.

A client sees the shapes of the page (of version 1.2 and 1.3); what is the page's own stands beside what OpenAI's SDKs
read, so that they notice nothing. Values are taken from the request as text and put in as text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import json
import re
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from sluicegate.dialects import openai
from sluicegate.errors import BadRequest, GatewayFault, Lost, RequestFailed, TimedOut, Unfit, Unreachable

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
_WHOLE = re.compile(rb"-?[0-9]{1,18}")
_NULL = msgspec.Raw(b"null")


class _Fields(msgspec.Struct):
    """A request's members that the page names, as they stand in the body; the last one of a name counts."""

    messages: msgspec.Raw = _NULL
    max_tokens: msgspec.Raw = _NULL
    max_completion_tokens: msgspec.Raw = _NULL
    temperature: msgspec.Raw = _NULL
    top_p: msgspec.Raw = _NULL
    top_k: msgspec.Raw = _NULL
    n: msgspec.Raw = _NULL
    stop: msgspec.Raw = _NULL
    presence_penalty: msgspec.Raw = _NULL
    frequency_penalty: msgspec.Raw = _NULL
    logit_bias: msgspec.Raw = _NULL
    logprobs: msgspec.Raw = _NULL
    top_logprobs: msgspec.Raw = _NULL
    metadata: msgspec.Raw = _NULL
    modalities: msgspec.Raw = _NULL
    parallel_tool_calls: msgspec.Raw = _NULL
    prompt_cache_key: msgspec.Raw = _NULL
    reasoning_effort: msgspec.Raw = _NULL
    response_format: msgspec.Raw = _NULL
    safety_identifier: msgspec.Raw = _NULL
    seed: msgspec.Raw = _NULL
    service_tier: msgspec.Raw = _NULL
    store: msgspec.Raw = _NULL
    tool_choice: msgspec.Raw = _NULL
    tools: msgspec.Raw = _NULL
    user: msgspec.Raw = _NULL
    verbosity: msgspec.Raw = _NULL
    fallbacks: msgspec.Raw = _NULL


_FIELDS = msgspec.json.Decoder(_Fields)
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_Check = Callable[[bytes], bool]


def _begins(*openings: bytes) -> _Check:
    return lambda text: text.startswith(openings)


def _whole(least: int | None = None, most: int | None = None) -> _Check:
    def fits(text: bytes) -> bool:
        if _WHOLE.fullmatch(text) is None:
            return False
        number = int(text)
        return (least is None or number >= least) and (most is None or number <= most)

    return fits


def _number(least: float, most: float) -> _Check:
    return lambda text: text[:1] in b"-0123456789" and least <= float(text) <= most


def _list_of(opening: bytes) -> _Check:
    return lambda text: text.startswith(b"[") and all(bytes(one).startswith(opening) for one in _LIST.decode(text))


def _strings(text: bytes) -> bool:
    return text.startswith(b'"') or _list_of(b'"')(text)


_STRING = ("a string", _begins(b'"'))
_BOOLEAN = ("true or false", _begins(b"t", b"f"))
_OBJECT = ("an object", _begins(b"{"))

#: What the page says a member must be. Its enumerations are narrower than what its providers take, so only their type
#: is looked at: a new one is the upstream's to judge.
RULES: Mapping[str, tuple[str, _Check]] = MappingProxyType(
    {
        "messages": ("a list of at least one message", lambda text: text[:1] == b"[" and bool(_LIST.decode(text))),
        "max_tokens": ("a whole number of at least 1", _whole(1)),
        "max_completion_tokens": ("a whole number", _whole()),
        "temperature": ("a number from 0 to 2", _number(0, 2)),
        "top_p": ("a number from 0 to 1", _number(0, 1)),
        "n": ("a whole number", _whole()),
        "stop": ("a string or a list of strings", _strings),
        "presence_penalty": ("a number from -2 to 2", _number(-2, 2)),
        "frequency_penalty": ("a number from -2 to 2", _number(-2, 2)),
        "logit_bias": _OBJECT,
        "logprobs": _BOOLEAN,
        "top_logprobs": ("a whole number from 0 to 20", _whole(0, 20)),
        "metadata": _OBJECT,
        "modalities": ("a list of strings", _list_of(b'"')),
        "parallel_tool_calls": _BOOLEAN,
        "prompt_cache_key": _STRING,
        "reasoning_effort": _STRING,
        "response_format": _OBJECT,
        "safety_identifier": _STRING,
        "seed": ("a whole number", _whole()),
        "service_tier": _STRING,
        "store": _BOOLEAN,
        "tool_choice": ("a string or an object", _begins(b'"', b"{")),
        "tools": ("a list of objects", _list_of(b"{")),
        "user": _STRING,
        "verbosity": _STRING,
        "fallbacks": ("a list of strings", _list_of(b'"')),
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
        _check(fields)
    members = [(name, getattr(fields, name)) for name in _PARAMS]
    members.append(("max_tokens", fields.max_tokens if fields.max_tokens != _NULL else fields.max_completion_tokens))
    stop = bytes(fields.stop)
    members.append(("stop_sequences", b"[" + stop + b"]" if stop.startswith(b'"') else stop))
    said = [b'"%b":%b' % (name.encode(), bytes(value)) for name, value in members if bytes(value) != b"null"]
    return b"{" + b",".join(said) + b"}"


def _check(fields: _Fields) -> None:
    for name, (what, fits) in RULES.items():
        text = bytes(getattr(fields, name))
        if text == b"null":
            if name == "messages":
                raise BadRequest("missing_parameter", "The parameter 'messages' is required.", param=name)
        elif not fits(text):
            raise BadRequest("invalid_value", f"The parameter '{name}' must be {what}.", param=name)


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
