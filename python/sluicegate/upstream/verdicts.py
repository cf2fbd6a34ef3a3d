"""What an attempt's verdict means where no answer came of it: which error it is, in words for the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from sluicegate import errors
from sluicegate.dialects import upstream_errors

if TYPE_CHECKING:
    from sluicegate._native import Head

_WORDS = {
    "upstream_timeout": "The upstream did not answer in time.",
    "total_timeout": "The request took longer than the gateway allows.",
    "upstream_lost": "The upstream closed the connection before it answered.",
    "upstream_truncated": "The upstream's answer was cut off.",
    "upstream_protocol": "The upstream's answer is not valid HTTP.",
    "upstream_encoded": "The upstream sent a compressed answer although none was asked for.",
    "upstream_redirect": "The upstream answered with a redirect, which the gateway does not follow.",
    "upstream_not_stream": "A stream was asked for, but the upstream's answer is none.",
    "upstream_not_json": "The upstream's answer is not JSON.",
    "upstream_empty": "The upstream's answer is empty.",
    "upstream_too_large": "The upstream's answer is larger than the gateway may hold.",
    "upstream_ended_without_content": "The upstream's stream ended without any content.",
}


def failure(head: Head, secrets: tuple[str, ...]) -> errors.RequestFailed:
    """Say which error a head without an answer is. ``secrets`` are never repeated."""
    code = head.code
    words = _WORDS.get(code, "The upstream failed.")
    match head.verdict:
        case "error_status":
            return upstream_errors.fault(head.status, head.headers, head.body, secrets)
        case "in_band_error":
            return upstream_errors.fault(in_band_status(head.body), (), head.body, secrets)
        case "timed_out" if code == "gateway_draining":
            return errors.Draining.again()
        case "timed_out":
            return errors.TimedOut(code, words)
        case "unfit" | "ended_without_content" if code != "upstream_truncated":
            return errors.Unfit(code, words)
        case _ if code == "internal_error":
            return errors.Internal()
        case _:
            return errors.Lost(code, words)


class _Inner(msgspec.Struct):
    code: object = None
    status: object = None
    status_code: object = None
    type: object = None


class _InBand(msgspec.Struct):
    error: _Inner | str | None = None


_BY_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "overloaded_error": 529,
}


def in_band_status(data: bytes) -> int:
    """The HTTP status that an error told inside a stream would have had; 500 if it does not say."""
    try:
        inner = msgspec.json.decode(data, type=_InBand).error
    except msgspec.MsgspecError:
        return 500
    if not isinstance(inner, _Inner):
        return 500
    for said in (inner.status_code, inner.code, inner.status):
        if isinstance(said, int) and 400 <= said <= 599:  # noqa: PLR2004  # a status that is an error
            return said
    return _BY_TYPE.get(inner.type, 500) if isinstance(inner.type, str) else 500
