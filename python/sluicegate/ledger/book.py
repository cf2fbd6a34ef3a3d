"""The ledger as a request meets it: admitted, then finished.

Rules: synchronous, and never waiting for a store. Only admission can refuse.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sluicegate import errors
from sluicegate.ledger.spool import Spool, SpoolFull

if TYPE_CHECKING:
    from collections.abc import Callable

    from sluicegate.config import Ledger as LedgerSettings
    from sluicegate.exchange import Exchange, Rows


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
        #: Where rows append what they can by themselves.
        self.tail = self.spool.direct
        #: Writes down how an admitted exchange ended, by the record that they could not append. Never raises.
        self.finish = self.spool.finish

    def admit(self, exchange: Exchange, rows: Rows) -> None:
        """Write down that an exchange may be served. Raises Overloaded: there is no room for its row."""
        exchange.sequence = rows.admit(exchange) or self._admit(exchange, rows)

    def _admit(self, exchange: Exchange, rows: Rows) -> int:
        sequence = self.spool.tail.next_sequence()
        try:
            self.spool.admit(rows.admitted(exchange, sequence))
        except SpoolFull:
            if self._drops:
                self._lost(1)
                return 0
            message = "The gateway cannot write down requests now; please try again."
            raise errors.Overloaded("ledger_unavailable", message, headers={"retry-after": "5"}) from None
        return sequence

    def close(self) -> None:
        """Write what waits, and let go of the spool. Blocks as long as the disk does."""
        self.spool.close()
