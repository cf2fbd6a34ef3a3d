"""What an API page asks of requests and says in answers beyond its dialect, by the page's name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluicegate.dialects import bifrost
from sluicegate.dialects.wire import wire

if TYPE_CHECKING:
    from sluicegate.exchange import Exchange


def check(exchange: Exchange, body: bytes) -> None:
    """Hold a request to the rules of its mount's page, and keep what answers repeat of it. Raises BadRequest."""
    if exchange.mount.profile.page == bifrost.NAME and wire(exchange.endpoint.dialect).done:
        exchange.model_params = bifrost.model_params(body, exchange.endpoint.name)


def note(exchange: Exchange) -> tuple[str, bytes] | None:
    """Give the member that the page says of a finished answer, if it says one: its name, its value but for the end."""
    if exchange.mount.profile.page == bifrost.NAME and wire(exchange.endpoint.dialect).done:
        return bifrost.EXTRA_FIELDS, bifrost.extra_fields(exchange)
    return None
