"""What an API page asks of requests and says in answers beyond its dialect, by the page's name."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sluicegate._native import answer_lines
from sluicegate.dialects import bifrost, caicaini
from sluicegate.dialects.wire import wire

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sluicegate.exchange import Exchange


def check(exchange: Exchange, body: bytes) -> None:
    """Hold a request to the rules of its mount's page, and keep what answers repeat of it. Raises BadRequest."""
    page = exchange.mount.profile.page
    if page == bifrost.NAME and wire(exchange.endpoint.dialect).done:
        exchange.model_params = bifrost.model_params(body, exchange.endpoint.name)
    elif page == caicaini.NAME:
        caicaini.check_fields(body, exchange.endpoint.name)


def note(exchange: Exchange) -> tuple[str, bytes] | None:
    """Give the member that the page says of a finished answer, if it says one: its name, its value but for the end."""
    if exchange.mount.profile.page == bifrost.NAME and wire(exchange.endpoint.dialect).done:
        return bifrost.EXTRA_FIELDS, bifrost.extra_fields(exchange)
    return None


def finishes(page: str) -> tuple[dict[str, str], str] | None:
    """Give what the page says for each finish reason of upstreams, and for all others; None where they are theirs."""
    return caicaini.FINISHES if page == caicaini.NAME else None


def own_lines(exchange: Exchange) -> str:
    """Give headers of ours as lines, each with its CRLF before it; numbers and words of ours, so none can break out."""
    now, dispatched = time.monotonic(), exchange.dispatched
    if dispatched is None:
        dispatched = now
    if exchange.mount.profile.page == caicaini.NAME:
        lines = answer_lines(dispatched - exchange.received, now - dispatched, exchange.attempts_made, None, now)
        return lines + "".join([f"\r\n{name}: {value}" for name, value in rate_headers(exchange, now)])
    return answer_lines(
        dispatched - exchange.received, now - dispatched, exchange.attempts_made, exchange.reservation, now
    )


def rate_headers(exchange: Exchange, now: float) -> Sequence[tuple[str, str]]:
    """Say how the limits of an exchange stand (``now``: monotonic seconds), as its mount's page says it."""
    headers = exchange.reservation.headers(now) if exchange.reservation is not None else ()
    if exchange.mount.profile.page == caicaini.NAME:
        return caicaini.rate_headers(headers, exchange.group)
    return headers
