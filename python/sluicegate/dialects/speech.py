"""Which family's words a dialect uses: error bodies and events for clients, credential headers for upstreams.

Errors have a *shape*: the dialect's own, or that of an API page whose errors are its own (:func:`shape`).

Gemini, Cohere and unknown clients get OpenAI's error shapes until they have endpoints of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluicegate.dialects import anthropic, bifrost, caicaini, openai

if TYPE_CHECKING:
    from sluicegate.errors import RequestFailed
    from sluicegate.exchange import Exchange

#: The comment that breaks a silence: every reader of event streams passes over it (WHATWG 9.2.6).
HEARTBEAT = b": keep-alive\n\n"


def shape(page: str, dialect: str) -> str:
    """Tell in which shape an endpoint of wire dialect ``dialect`` writes errors on a mount that speaks as ``page``.

    Bifrost's replaces OpenAI's shapes only: clients of other dialects read their own. caicaini's is for all.
    """
    if page == caicaini.NAME or (page == bifrost.NAME and dialect != anthropic.DIALECT):
        return page
    return dialect


def status(shape: str, error: RequestFailed) -> int:
    """Tell with which status an error is answered: its own, unless the shape has a list of its own."""
    return caicaini.status(error) if shape == caicaini.NAME else error.status


def error_body(shape: str, error: RequestFailed, request_id: str, exchange: Exchange | None = None) -> bytes:
    """Write the JSON body that tells a client why its request failed; ``exchange`` is what is known of it."""
    if shape == anthropic.DIALECT:
        return anthropic.error_body(error, request_id)
    if shape == bifrost.NAME:
        return bifrost.error_body(error, request_id, exchange)
    if shape == caicaini.NAME:
        return caicaini.error_body(error, request_id)
    return openai.error_body(error)


def error_event(dialect: str, code: str, message: str, page: str = "") -> bytes:
    """Write the event, blank line included, that ends a stream of ``dialect`` which had already begun.

    On chat and completions ``page`` may have its own.

    ``code`` is a key of :data:`sluicegate.errors.STREAM_ENDS` or an error's code, ``message`` its words.
    """
    if dialect == anthropic.DIALECT:
        return anthropic.error_event(code, message)
    if dialect == openai.RESPONSES:
        return openai.responses_error_event(code, message)
    if page == bifrost.NAME:
        return bifrost.error_event(code, message)
    if page == caicaini.NAME:
        return caicaini.error_event(code, message)
    return openai.error_event(code, message)


def error_headers(dialect: str, request_id: str) -> tuple[tuple[str, str], ...]:
    """Give the headers in which clients of a wire dialect look for the request's id, beside ``x-request-id``."""
    return (("request-id", request_id),) if dialect in (anthropic.DIALECT, caicaini.NAME) else ()


def credential_headers(family: str, api_key: str) -> tuple[tuple[str, str], ...]:
    """Give the headers, names in lower case, that authenticate us at an upstream of ``family``; none without a key.

    Anthropic's protocol version is a default: it comes first, so that a caller's or a configured one may replace it.
    """
    if family == "anthropic":
        return anthropic.credential_headers(api_key)
    if not api_key:
        return ()
    if family == "gemini":
        return (("x-goog-api-key", api_key),)
    return (("authorization", f"Bearer {api_key}"),)
