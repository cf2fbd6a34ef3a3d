"""OpenAI's error shapes, on chat, completions and responses (wire.md 2.5, 2.8).

Both official SDKs raise on any event whose JSON has a truthy top-level ``error``; Node's also on any ``event: error``.
"""

from __future__ import annotations

import json

from sluicegate.errors import CallerFault, GatewayFault, RequestFailed

RESPONSES = "openai-responses"

# Codes of stream ends that are the gateway's own doing; all others are the upstream's.
_OURS = frozenset({"gateway_draining", "internal_error", "gateway_overloaded"})


def error_body(error: RequestFailed) -> bytes:
    """Write ``{"error": {"message", "type", "param", "code"}}``, all four always there."""
    return json.dumps({"error": error_of(error)}).encode()


def error_of(error: RequestFailed) -> dict[str, str | None]:
    """Give ``message``, ``type``, ``param`` and ``code`` of an error."""
    return _error(error.message, _type_of(error), error.param, error.wire_code or error.code)


def error_event(code: str, message: str) -> bytes:
    """Write ``data: {"error": ...}``: what both SDKs raise on, on chat and completions."""
    return b"data: " + json.dumps({"error": error_at_the_end(code, message)}).encode() + b"\n\n"


def error_at_the_end(code: str, message: str) -> dict[str, str | None]:
    """Give the same four members of what ended a stream."""
    return _error(message, _end_type(code), None, code)


def responses_error_event(code: str, message: str) -> bytes:
    """Write the Responses API's ``error`` event, nested as recorded and flat as documented (wire.md 2.8)."""
    error = error_at_the_end(code, message)
    event = {"type": "error", "code": code, "message": message, "param": None, "error": error}
    return b"event: error\ndata: " + json.dumps(event).encode() + b"\n\n"


def _error(message: str, kind: str, param: str | None, code: str) -> dict[str, str | None]:
    return {"message": message, "type": kind, "param": param, "code": code}


def _type_of(error: RequestFailed) -> str:
    if error.wire_type is not None:
        return error.wire_type
    if isinstance(error, CallerFault):  # OpenAI says so to unknown keys and models as well
        return "invalid_request_error"
    if isinstance(error, GatewayFault):
        return "server_error"
    return error.kind


def _end_type(code: str) -> str:
    return "server_error" if code in _OURS else "upstream_error"
