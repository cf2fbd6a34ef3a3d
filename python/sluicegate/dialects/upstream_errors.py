"""Reads an upstream's error answer and says what it means for the caller.

Every vendor has a shape of its own (wire.md 5.4), and content types cannot be trusted. :func:`read_error` finds the
words; :func:`fault` decides whose business they are:

=========================  ====================  ======================================================================
upstream's answer          the client's status   error
=========================  ====================  ======================================================================
401, 403, 407; a 400 that  502                   CredentialRefused ``upstream_auth``: the caller's key is fine;
refuses the key                                  the words are ours
402; a quota used up       503                   QuotaExhausted ``upstream_quota``, ``x-should-retry: false``
429                        429                   RateLimited ``upstream_rate_limited``; its Retry-After is kept
404, 410                   the same              Answered ``upstream_not_found``
other 4xx, 501             the same              Answered ``upstream_rejected``, ``upstream_context_length``, or
                                                 ``upstream_stream_options`` (it does not take them)
408, 504, 522, 524         504                   TimedOut ``upstream_timeout``
503, 529                   503                   UpstreamFailed ``upstream_overloaded``; its Retry-After is kept
other 5xx                  502                   UpstreamFailed ``upstream_error``; its Retry-After is kept
3xx                        502                   Unfit ``upstream_redirect``
anything else              502                   Lost ``upstream_protocol``
=========================  ====================  ======================================================================

501 is the caller's business because servers say it of what they were started without (llama.cpp: embeddings, audio).
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
import json
import re
from typing import TYPE_CHECKING

from sluicegate.dialects.redaction import redact
from sluicegate.errors import (
    Answered,
    CredentialRefused,
    Lost,
    QuotaExhausted,
    RateLimited,
    RequestFailed,
    TimedOut,
    Unfit,
    UpstreamFailed,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Headers = Sequence[tuple[str, str]]

_IDENTIFIER = re.compile(r"[A-Za-z0-9_.:\[\]-]{1,128}")
_RETRY_AFTER = re.compile(r"\d{1,9}(?:\.\d{1,6})?|[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT")
_RETRY_HEADERS: dict[str, re.Pattern[str]] = {
    "retry-after": _RETRY_AFTER,
    "retry-after-ms": re.compile(r"\d{1,12}(?:\.\d{1,6})?"),
    "x-should-retry": re.compile(r"true|false"),
}
_KEY_REFUSED = re.compile(r"api[ _]key not valid|(?:incorrect|invalid) api[ _]key|API_KEY_INVALID", re.IGNORECASE)
_QUOTA = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_error", "exceeded_quota"})
_CONTEXT_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error", "model_context_window_exceeded"})
_CONTEXT = re.compile(
    r"maximum context length|max context length|available context size|context window|prompt is too long"
    r"|input token count .{0,40}exceeds|too many (?:input )?tokens",
    re.IGNORECASE,
)
_STREAM_OPTIONS = re.compile(r"stream_options|include_usage")
_REFUSALS = frozenset({401, 403, 407})
_TOO_LONG = frozenset({400, 413, 422})
_TIMEOUTS = frozenset({408, 504, 522, 524})
_BUSY = frozenset({503, 529})


@dataclass(frozen=True, slots=True)
class UpstreamSaid:
    """An upstream's error in words fit for the caller; ``message`` is empty if it said none we can read."""

    message: str
    type: str | None = None
    code: str | None = None
    param: str | None = None


def read_error(body: bytes, status: int, secrets: Sequence[str] = ()) -> UpstreamSaid:
    """Find message, type, code and param in an error body of any recorded shape, redacted.

    A code that only repeats ``status`` is none. ``secrets`` are removed literally.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        text = body[:512].decode("utf-8", "replace").strip()
        return UpstreamSaid("" if text.startswith("<") else redact(text, secrets))
    while isinstance(answer, list) and answer:
        answer = answer[0]
    if not isinstance(answer, dict):
        return UpstreamSaid(redact(answer, secrets) if isinstance(answer, str) else "")
    inner = answer.get("error")
    places = [inner, answer] if isinstance(inner, dict) else [answer]
    message = next((text for text in _messages(answer, inner) if text), "")
    return UpstreamSaid(
        message=redact(message, secrets),
        type=_first(places, ("type", "error_type"), status, beside=frozenset({"error"})),
        code=_first(places, ("code", "status"), status),
        param=_first(places, ("param",), status) or _location(answer),
    )


def fault(status: int, headers: Headers, body: bytes, secrets: Sequence[str] = ()) -> RequestFailed:
    """Say what an upstream's error answer means for the client: the table at this module's head.

    ``headers`` are the answer's, ``body`` at most ``limits.error_body`` bytes of it, ``secrets`` the credential used.
    """
    said = read_error(body, status, secrets)
    if status in _REFUSALS or (status == HTTPStatus.BAD_REQUEST and _refuses_key(said, body)):
        # Callers' SDKs try a 502 again; this one is the operator's to mend.
        message = "The upstream refused the gateway's credential."
        return CredentialRefused("upstream_auth", message, headers={"x-should-retry": "false"})
    if status in _TIMEOUTS:
        return TimedOut("upstream_timeout", "The upstream says that it ran out of time.")
    if status == HTTPStatus.NOT_IMPLEMENTED or status // 100 == 4:  # noqa: PLR2004  # the class of a status (RFC 9110 15)
        return _about_the_request(status, headers, said)
    return _about_the_upstream(status, headers, said)


def _about_the_request(status: int, headers: Headers, said: UpstreamSaid) -> RequestFailed:
    words = {said.code, said.type}
    if status == HTTPStatus.PAYMENT_REQUIRED or words & _QUOTA:
        message = "The gateway's quota at the upstream is used up."
        return QuotaExhausted("upstream_quota", message, headers={"x-should-retry": "false"})
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        message = said.message or "The upstream's rate limit is reached; please try again later."
        return RateLimited("upstream_rate_limited", message, headers=_retry(headers))
    code, wire_code = "upstream_rejected", said.code
    if words & _CONTEXT_CODES or (status in _TOO_LONG and _CONTEXT.search(said.message)):
        code, wire_code = "upstream_context_length", said.code or "context_length_exceeded"
    elif status in _TOO_LONG and _STREAM_OPTIONS.search(f"{said.param} {said.message}"):
        code = "upstream_stream_options"
    elif status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        code = "upstream_not_found"
    return Answered(
        code,
        said.message or "The upstream refused the request and gave no reason.",
        status=status,
        param=said.param,
        wire_code=wire_code,
        wire_type=said.type,
    )


def _about_the_upstream(status: int, headers: Headers, said: UpstreamSaid) -> RequestFailed:
    if status in _BUSY:
        message = said.message or "The upstream is overloaded; please try again."
        return UpstreamFailed("upstream_overloaded", message, status=503, headers=_retry(headers))
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return UpstreamFailed("upstream_error", said.message or "The upstream failed.", headers=_retry(headers))
    if status // 100 == 3:  # noqa: PLR2004  # the class of a status (RFC 9110 15)
        return Unfit("upstream_redirect", "The upstream answered with a redirect, which the gateway does not follow.")
    return Lost("upstream_protocol", "The upstream answered with a status that makes no sense.")


def _refuses_key(said: UpstreamSaid, body: bytes) -> bool:
    return _KEY_REFUSED.search(said.message) is not None or b"API_KEY_INVALID" in body


def _retry(headers: Headers) -> dict[str, str]:
    kept: dict[str, str] = {}
    for name, value in headers:
        pattern = _RETRY_HEADERS.get(name.lower())
        if pattern is not None and pattern.fullmatch(value):
            kept[name.lower()] = value
    return kept


def _messages(answer: dict[str, object], inner: object) -> Iterator[str]:
    if isinstance(inner, dict) and isinstance(inner.get("message"), str):
        yield inner["message"]
    for key in ("error", "message", "detail", "error_description"):
        value = answer.get(key)
        if isinstance(value, str):
            yield value
    for key in ("detail", "errors"):
        value = answer.get(key)
        if isinstance(value, list):
            yield "; ".join(filter(None, map(_one_of_many, value[:8])))


def _one_of_many(entry: object) -> str:
    """One entry of FastAPI's ``detail`` or JSON:API's ``errors``."""
    if not isinstance(entry, dict):
        return entry if isinstance(entry, str) else ""
    words = next((entry[key] for key in ("msg", "detail", "message", "title") if isinstance(entry.get(key), str)), "")
    where = entry.get("loc")
    return f"{_path(where)}: {words}" if isinstance(where, list) else str(words)


def _location(answer: dict[str, object]) -> str | None:
    detail = answer.get("detail")
    if isinstance(detail, list) and detail and isinstance(detail[0], dict) and isinstance(detail[0].get("loc"), list):
        return _path(detail[0]["loc"]) or None
    return None


def _path(where: list[object]) -> str:
    return ".".join(str(step) for step in where[:8] if step != "body")[:128]


def _first(
    places: Sequence[dict[str, object]],
    keys: Sequence[str],
    status: int,
    beside: frozenset[str] = frozenset(),
) -> str | None:
    """Find the first identifier under one of ``keys`` that is neither the status again nor one of ``beside``."""
    for place in places:
        for key in keys:
            value = place.get(key)
            if isinstance(value, int) and not isinstance(value, bool):
                value = str(value)
            if not isinstance(value, str) or value == str(status) or value in beside:
                continue
            if _IDENTIFIER.fullmatch(value):
                return value
    return None
