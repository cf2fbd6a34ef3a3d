"""Anthropic's error shapes and credential headers (wire.md 3.3, 3.8).

The SDK dispatches on the ``event:`` line: an error event without one is dropped silently. ``code`` is ours, beside the
two members Anthropic documents; its SDKs ignore it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sluicegate.errors import RequestFailed

DIALECT = "anthropic-messages"

_VERSION = ("anthropic-version", "2023-06-01")

_TYPES = frozenset(
    {
        "api_error",
        "authentication_error",
        "billing_error",
        "invalid_request_error",
        "not_found_error",
        "overloaded_error",
        "permission_error",
        "rate_limit_error",
        "request_too_large",
        "timeout_error",
    }
)

_BY_STATUS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def error_body(error: RequestFailed, request_id: str) -> bytes:
    """Write ``{"type": "error", "error": {"type", "message", "code"}, "request_id"}``."""
    kind = error.wire_type or error.kind
    if kind not in _TYPES:
        kind = _BY_STATUS.get(error.status, "invalid_request_error" if error.status // 100 == 4 else "api_error")  # noqa: PLR2004  # the class of a status (RFC 9110 15)
    what = {"type": kind, "message": error.message, "code": error.wire_code or error.code}
    return json.dumps({"type": "error", "error": what, "request_id": request_id}).encode()


def error_event(code: str, message: str) -> bytes:
    """Write ``event: error`` with its data line."""
    kind = "overloaded_error" if code == "gateway_draining" else "api_error"
    what = {"type": "error", "error": {"type": kind, "message": message, "code": code}}
    return b"event: error\ndata: " + json.dumps(what).encode() + b"\n\n"


def credential_headers(api_key: str) -> tuple[tuple[str, str], ...]:
    """Give ``anthropic-version`` and, with a key, ``x-api-key``."""
    return (_VERSION, ("x-api-key", api_key)) if api_key else (_VERSION,)
