"""caicaini's page: its field rules, its four finish reasons, its errors and their statuses, its rate headers.

Its errors are Anthropic's envelope with a list of types and statuses of its own, on the chat endpoint as well
(wire.md 1.3). ``code`` stands beside what the page documents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import json
from types import MappingProxyType

import msgspec

from sluicegate.dialects.rules import NULL, Rule, begins, check, filled_list, list_of, number, whole
from sluicegate.errors import ClientLeft, Overloaded, RequestFailed

#: Its name as an error shape and as a page.
NAME = "caicaini"

_TYPES: Mapping[int, str] = MappingProxyType(
    {
        400: "invalid_request_error",
        401: "authentication_error",
        402: "insufficient_quota",
        403: "permission_error",
        404: "not_found_error",
        413: "request_too_large",
        429: "rate_limit_error",
        500: "api_error",
        502: "api_error",
        503: "api_error",
        504: "api_error",
        529: "overloaded_error",
    }
)
#: Statuses that say how HTTP was spoken; the page's list is about what was asked.
_OF_HTTP = frozenset({405, 408, 417, 431, 505})
_OVERLOADED = 529
#: Ends of a stream that would have been another status than 502.
_ENDS = MappingProxyType({"gateway_draining": 503, "internal_error": 500})

#: What upstreams say when they finish, by what the page says of it.
_REASONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "stop": ("stop",),
        "length": (
            "length",
            "max_tokens",
            "MAX_TOKENS",
            "max_output_tokens",
            "max_completion_tokens",
            "model_length",
            "model_context_window_exceeded",
        ),
        "tool_calls": ("tool_calls", "tool_call", "tool_use", "function_call"),
        "content_filter": (
            "content_filter",
            "content_filtered",
            "content-filter",
            "refusal",
            "guardrail_intervened",
            "sensitive",
            "safety",
            "SAFETY",
            "RECITATION",
            "BLOCKLIST",
            "PROHIBITED_CONTENT",
            "SPII",
            "IMAGE_SAFETY",
        ),
    }
)
#: What the page says for each finish reason of upstreams, and for all others (ends of turn, stop sequences).
FINISHES: tuple[dict[str, str], str] = (
    {theirs: ours for ours, reasons in _REASONS.items() for theirs in reasons},
    "stop",
)


class _Fields(msgspec.Struct):
    """A request's members that the page names, as they stand in the body; the last one of a name counts."""

    messages: msgspec.Raw = NULL
    max_tokens: msgspec.Raw = NULL
    temperature: msgspec.Raw = NULL
    top_p: msgspec.Raw = NULL
    stop: msgspec.Raw = NULL
    tools: msgspec.Raw = NULL
    tool_choice: msgspec.Raw = NULL
    response_format: msgspec.Raw = NULL
    user: msgspec.Raw = NULL


class _Format(msgspec.Struct):
    type: msgspec.Raw = NULL


_FIELDS = msgspec.json.Decoder(_Fields)
_FORMAT = msgspec.json.Decoder(_Format)
_SEQUENCES = list_of(b'"', most=4)

#: What the page says of both endpoints' members.
_SHARED: Mapping[str, Rule] = MappingProxyType(
    {
        "messages": ("a list of at least one message", filled_list),
        "max_tokens": ("a whole number of at least 1", whole(1)),
        "temperature": ("a number from 0 to 2", number(0, 2)),
        "top_p": ("a number from 0 to 1", number(0, 1)),
        "tools": ("a list of objects", list_of(b"{")),
    }
)
#: What the page says a member must be, by the endpoint. All other members are the upstream's to judge.
RULES: Mapping[str, Mapping[str, Rule]] = MappingProxyType(
    {
        "chat_completions": MappingProxyType(
            {
                **_SHARED,
                "stop": (
                    "a string or a list of at most four strings",
                    lambda text: text.startswith(b'"') or _SEQUENCES(text),
                ),
                "tool_choice": ('"none", "auto" or an object', begins(b'"none"', b'"auto"', b"{")),
                "response_format": (
                    '{"type": "json_object"}',
                    lambda text: text.startswith(b"{") and bytes(_FORMAT.decode(text).type) == b'"json_object"',
                ),
                "user": ("a string", begins(b'"')),
            }
        ),
        "messages": MappingProxyType({**_SHARED, "temperature": ("a number from 0 to 1", number(0, 1))}),
    }
)


def check_fields(body: bytes, endpoint: str) -> None:
    """Hold a request to the page's rules; ``body`` is one JSON object. Raises BadRequest."""
    rules = RULES.get(endpoint)
    if rules is not None:
        check(_FIELDS.decode(body), rules, required=("messages",))


def status(error: RequestFailed) -> int:
    """Give the status of the page's list that an error has; a name that is no model is the request's mistake (400)."""
    if isinstance(error, ClientLeft) or error.status in _OF_HTTP:
        return error.status
    if error.code == "model_not_found":
        return 400
    if isinstance(error, Overloaded) or error.code == "upstream_overloaded":
        return _OVERLOADED
    if error.status in _TYPES:
        return error.status
    return 400 if error.status // 100 == 4 else 500  # noqa: PLR2004  # the class of a status (RFC 9110 15)


def error_body(error: RequestFailed, request_id: str) -> bytes:
    """Write the envelope; the type is its status's."""
    kind = _TYPES.get(error.status, "invalid_request_error" if error.status // 100 == 4 else "api_error")  # noqa: PLR2004  # the class of a status (RFC 9110 15)
    return json.dumps(_envelope(kind, error.message, error.code) | {"request_id": request_id}).encode()


def error_event(code: str, message: str) -> bytes:
    """Write the envelope inside a chat stream, as data without a name: what OpenAI's SDKs raise on."""
    kind = _TYPES[_ENDS.get(code, 502)]
    return b"data: " + json.dumps(_envelope(kind, message, code)).encode() + b"\n\n"


def rate_headers(headers: Sequence[tuple[str, str]], group: str) -> list[tuple[str, str]]:
    """Write rate headers as the page does: whole seconds without a unit, and the tier, which is the key's group."""
    written = [(name, value.removesuffix("s") if "-reset-" in name else value) for name, value in headers]
    return [("x-ratelimit-tier", group), *written] if group else written


def _envelope(kind: str, message: str, code: str) -> dict[str, object]:
    return {"type": "error", "error": {"type": kind, "message": message, "code": code}}
