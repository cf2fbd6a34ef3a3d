"""``on_disconnect: finish``: an answer is read to its end though its client has left, to learn its exact usage.

Rules: only a request that has been sent is finished, and no other attempt follows it; the limits of time hold as for
any. The row says what the client saw (status, outcome, bytes) and what the provider said of usage.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sluicegate.errors import ClientLeft
from sluicegate.exchange import Sink
from sluicegate.gateway import Gateway
from sluicegate.upstream.attempt import Attempt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sluicegate.exchange import Client, Exchange

#: Status, outcome, error code, bytes and heartbeats, as the client had them when it left.
_Seen = tuple[int, str, str, int, int]


class FinishingGateway(Gateway):
    """A gateway that outlives its clients. Each exchange is served in a task of its own."""

    #: Exchanges whose clients have left, and what those saw.
    _left: dict[Exchange, _Seen] | None = None

    async def answer(self, exchange: Exchange) -> None:
        """Serve one exchange. Raises CancelledError when the client left; the rest goes on without it."""
        serving = asyncio.ensure_future(super().answer(exchange))
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            if not serving.done() and not self._forsake(exchange):
                serving.cancel()
            raise

    async def _relay(self, exchange: Exchange, attempt: Attempt) -> None:
        try:
            await super()._relay(exchange, attempt)
        except ClientLeft:  # found out before its handler was cancelled
            if exchange.committed or not self._forsake(exchange):
                raise
            await super()._relay(exchange, attempt)

    def _forsake(self, exchange: Exchange) -> bool:
        """Go on without the client; False if there is nothing to be learnt."""
        attempt = self._live.get(exchange)
        if not isinstance(attempt, Attempt) or not attempt.bytes_out or exchange.recorded:
            return False
        if exchange.left:
            return True
        so_far = attempt.so_far
        if so_far is not None:
            if so_far.end == "completed":
                return False
            exchange.bytes_out = exchange.bytes_before + so_far.bytes_out
            exchange.heartbeats = exchange.heartbeats_before + so_far.heartbeats
        self._client_left(exchange)
        if self._left is None:
            self._left = {}
        self._left[exchange] = (
            exchange.status,
            exchange.outcome,
            exchange.error_code,
            exchange.bytes_out,
            exchange.heartbeats,
        )
        exchange.heartbeat = 0.0
        exchange.client = Gone(exchange.client)
        attempt.forsake()
        return True

    def _record(self, exchange: Exchange) -> None:
        seen = self._left.pop(exchange, None) if self._left else None
        if seen is not None:
            status, outcome, code, sent, heartbeats = seen
            exchange.status, exchange.outcome, exchange.error_code = status, outcome, code
            exchange.bytes_out, exchange.heartbeats = sent, heartbeats
        super()._record(exchange)


class Gone:
    """A client that has left, while its answer is read on: :class:`Client` for whoever still speaks to it."""

    credentials: tuple[Sequence[str], Sequence[str]] = ((), ())
    headers = ""

    def __init__(self, client: Client) -> None:
        self.bytes_in = client.bytes_in

    async def body(self) -> bytes:
        """Nothing was asked that is not known."""
        return b""

    def reply(self, status: int, headers: Sequence[tuple[str, str]], body: bytes, lines: str = "") -> None:
        """Nobody reads it."""

    def open(self, lines: str) -> Sink:
        """Give a sink in which all is lost."""
        return Sink(b"", _lose, _nothing, framed=False)

    def say(self, event: bytes) -> None:
        """Nobody hears it."""

    async def drain(self) -> None:
        """Nobody is waited for."""

    async def end(self, *, reusable: bool) -> None:
        """It has ended."""

    def abort(self) -> None:
        """It is gone."""


def _lose(_: bytes) -> None:
    """Write to nobody."""


def _nothing() -> int:
    """Say what waits for nobody."""
    return 0
