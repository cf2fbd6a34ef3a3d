"""The ledger as a request meets it: admitted, then finished.

Rules: synchronous, and never waiting for a store. Only admission can refuse.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from sluicegate import errors
from sluicegate.ledger.records import Admitted, Finished, cut
from sluicegate.ledger.spool import Spool, SpoolFull

if TYPE_CHECKING:
    from collections.abc import Callable

    from sluicegate.config import Ledger as LedgerSettings
    from sluicegate.exchange import Attempt, Exchange, Row

#: What of an exchange's attempts is kept, in characters of JSON; more are told without their usage.
_ATTEMPTS = 16_000
_MICROS = 1_000_000
#: Counts and durations end here: what a column of every store holds.
_MOST = 2**53 - 1


class Ledger:
    """The two records of each request, in this process's spool. Raises OSError if the spool cannot be made.

    ``lost`` is told, from any thread, how many rows were given up.
    """

    def __init__(self, settings: LedgerSettings, lost: Callable[[int], None]) -> None:
        self._drops = settings.when_full == "drop"
        self._lost = lost
        self.spool = Spool(
            Path(settings.folder),
            size=settings.size,
            fsync=settings.fsync,
            interval=settings.fsync_interval,
            lost=lost,
        )

    def admit(self, exchange: Exchange, configuration: str) -> None:
        """Write down that an exchange may be served. Raises Overloaded: there is no room for its row."""
        sequence = self.spool.next_sequence()
        try:
            self.spool.admit(
                sequence,
                Admitted(
                    int(exchange.received_at * _MICROS),
                    exchange.id,
                    exchange.endpoint.name,
                    exchange.stream,
                    exchange.caller,
                    exchange.group,
                    cut(exchange.requested_model),
                    exchange.model,
                    configuration,
                ),
            )
        except SpoolFull:
            if self._drops:
                self._lost(1)
                return
            message = "The gateway cannot write down requests now; please try again."
            raise errors.Overloaded("ledger_unavailable", message, headers={"retry-after": "5"}) from None
        exchange.sequence = sequence

    def finish(self, sequence: int, row: Row) -> None:
        """Write down how an admitted exchange ended. Never raises."""
        usage, tokens, first = row.usage, row.usage.tokens, row.time_to_first_content
        self.spool.finish(
            sequence,
            Finished(
                int(row.received_at * _MICROS),
                row.id,
                cut(row.upstream_request_id),
                row.endpoint,
                row.stream,
                int(row.duration * _MICROS),
                row.caller,
                row.group,
                cut(row.requested_model),
                row.model,
                row.target,
                cut(row.upstream_model),
                row.credential,
                _attempts(row.attempts) if len(row.attempts) > 1 else "",
                row.status,
                row.error_code,
                row.outcome,
                min(tokens.input, _MOST),
                min(tokens.output, _MOST),
                min(tokens.cached_input, _MOST),
                min(tokens.cache_write, _MOST),
                min(tokens.reasoning, _MOST),
                usage.input_provenance,
                usage.output_provenance,
                row.cost,
                row.credits,
                row.price,
                row.configuration,
                None if first is None else int(first * _MICROS),
                row.bytes_in,
                row.bytes_out,
                row.upstream_bytes_in,
                row.upstream_bytes_out,
            ),
        )

    def close(self) -> None:
        """Write what waits, and let go of the spool. Blocks as long as the disk does."""
        self.spool.close()


def _attempts(attempts: tuple[Attempt, ...]) -> str:
    text = msgspec.json.encode(attempts).decode()
    if len(text) <= _ATTEMPTS:
        return text
    return msgspec.json.encode([(attempt.target, attempt.outcome) for attempt in attempts[:64]]).decode()
