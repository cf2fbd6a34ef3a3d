"""Comments to clients that wait in silence for an answer to be their own; from the commit on Rust writes them.

Rules: the sweep asks all exchanges once a second, no request has a timer. A first comment opens the client's message
(its head, status 200) without committing it: the next target can still take it over, and the client does not notice.
That takes an upstream's 2xx, or ``heartbeat_early``; until then an error may still have a status of its own. A client
that does not read is spared.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from sluicegate.dialects.speech import HEARTBEAT
from sluicegate.errors import ClientLeft

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sluicegate.exchange import Exchange
    from sluicegate.policy.seats import Seat
    from sluicegate.upstream.attempt import Attempt
    from sluicegate.upstream.pause import Pause
    from sluicegate.upstream.waiting import Wait


class Heartbeats:
    """Writes them. ``headers`` gives an answer's, as lines; ``early``: before an upstream has answered, too."""

    def __init__(self, headers: Callable[[Exchange], str], *, early: bool) -> None:
        self._headers = headers
        self._early = early

    def beat(self, live: Mapping[Exchange, Attempt | Pause | Wait[Seat] | None], now: float) -> None:
        """Write a comment to each client that has heard nothing for its time; ``now`` in monotonic seconds."""
        for exchange, attempt in live.items():
            every = exchange.heartbeat
            if not every or now - (exchange.last_heartbeat or exchange.received) < every:
                continue
            if exchange.status or self._early or (attempt is not None and attempt.answering):
                exchange.last_heartbeat = now
                with suppress(ClientLeft):  # whoever serves it is told
                    self._write(exchange)

    def last_words(self, exchange: Exchange, event: bytes) -> None:
        """End what a comment has begun: with an error event, since no target's answer came."""
        exchange.heartbeat = 0.0
        with suppress(ClientLeft):
            exchange.client.say(event)
            exchange.bytes_out += len(event)

    def _write(self, exchange: Exchange) -> None:
        client = exchange.client
        sink = client.open("" if exchange.status else self._headers(exchange))
        if sink.buffered() == 0:
            client.say(HEARTBEAT)
            exchange.status = 200
            exchange.heartbeats_before += 1
            exchange.heartbeats = exchange.heartbeats_before
            exchange.bytes_before += len(HEARTBEAT)
            exchange.bytes_out = exchange.bytes_before
