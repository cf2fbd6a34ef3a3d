"""The lease algorithm, as an authority plays it: who has drawn how much of each limit, and who holds which lease.

Rules: pure; the time is passed in. A report replaces what its holder said before, so it may come twice or be lost. A
dead holder's lease returns when its time is over; what it has drawn stays drawn. The Redis script in
:mod:`sluicegate.limits.redis` is this file in Lua, and one test runs both.
"""

from __future__ import annotations

from typing import Final

from sluicegate.limits.lease import LARGEST, Ask, Grant
from sluicegate.limits.windows import Clock, window

#: Seconds a lease lasts, unless its holder reports again: how long a dead holder's share is missing.
LEASE_TIME: Final = 3.0
#: The present window and the one before it, whose late reports still count there.
_KEPT_WINDOWS: Final = 2


class _Account:
    """One limit in one window."""

    __slots__ = ("drawn", "leases", "spent")

    def __init__(self, spent: int) -> None:
        #: What all holders have drawn together.
        self.spent = spent
        self.drawn: dict[str, int] = {}
        #: Each holder's units, and when they return.
        self.leases: dict[str, tuple[int, float]] = {}

    def report(self, holder: str, drawn: int, kept: int, until: float) -> None:
        drawn = min(max(0, drawn), LARGEST)
        self.spent = min(self.spent + drawn - self.drawn.get(holder, 0), LARGEST)
        if drawn:
            self.drawn[holder] = drawn
        else:
            self.drawn.pop(holder, None)
        if kept > 0:
            self.leases[holder] = (kept, until)
        else:
            self.leases.pop(holder, None)

    def leased(self, now: float) -> int:
        self.leases = {holder: lease for holder, lease in self.leases.items() if lease[1] > now}
        return sum(kept for kept, _ in self.leases.values())


class Authority:
    """Grants leases out of limits; the one of this process, or of the supervisor's workers.

    ``lease_time``: seconds, or infinity where a holder cannot die alone.
    """

    def __init__(self, lease_time: float = LEASE_TIME) -> None:
        self._lease_time = lease_time
        self._accounts: dict[str, dict[int, _Account]] = {}
        #: What windows have had before, by the limit's name and the window's start, until somebody asks about them.
        self._before: dict[tuple[str, int], int] = {}

    def answer(self, holder: str, ask: Ask, clock: Clock) -> Grant:
        """Take a holder's report, and grant of what it wants as much as there is."""
        now = clock.now
        start, end = window(ask.period, clock.wall)
        accounts = self._accounts.setdefault(ask.name, {})
        account = accounts.get(start)
        if account is None:
            account = self._open(ask.name, accounts, start)
        until = now + self._lease_time
        if ask.window == start:
            account.report(holder, ask.drawn, ask.kept, until)
        elif (before := accounts.get(ask.window)) is not None:
            before.report(holder, ask.drawn, 0, now)
        left = ask.capacity - account.spent - account.leased(now)
        granted = max(0, min(ask.wanted, left))
        if granted:
            account.leases[holder] = (account.leases.get(holder, (0, until))[0] + granted, until)
        return Grant(
            window=start,
            ends=end - clock.wall if end else float(1 << 31),
            granted=granted,
            left=max(0, left - granted),
            lasts=min(self._lease_time, float(1 << 31)),
            drawn=account.drawn.get(holder, 0),
        )

    def remember(self, name: str, start: int, spent: int) -> None:
        """Say what a limit's window has had before this authority began, as the ledger knows it."""
        account = self._accounts.get(name, {}).get(start)
        if account is None:
            self._before[name, start] = min(max(0, spent), LARGEST)
        else:
            account.spent = min(account.spent + max(0, spent), LARGEST)

    def _open(self, name: str, accounts: dict[int, _Account], start: int) -> _Account:
        account = accounts[start] = _Account(self._before.pop((name, start), 0))
        for old in sorted(accounts)[:-_KEPT_WINDOWS]:
            if old != start:
                del accounts[old]
        return account
