"""Talking with an authority that is somewhere else: one question at a time, for all who wait, and never for long.

Rules:

- The authority has 50 ms to answer; then all who wait are decided without it. A request that comes while a question is
  under way waits for that one and then for its own. Time in which this process itself was busy is not the authority's.
- After a failure nobody waits: it is tried again in the background, once in a second, until there is an answer.
- Leases are renewed, returned and reported each second; a lease that runs low is filled up before anybody waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
import contextlib
import logging
import math
import time
from typing import Final, Protocol

from sluicegate.errors import where
from sluicegate.limits.authority import LEASE_TIME
from sluicegate.limits.counts import Counts
from sluicegate.limits.lease import Ask, Grant, Share
from sluicegate.limits.windows import window

#: Seconds the authority has to answer.
PATIENCE: Final = 0.05
#: How often it is given them anew because this process was too busy to hear it, and how late shows that.
_AGAIN: Final = 3
_LATE: Final = 0.01
#: Seconds between reports; a third of a lease's life, so that one lost report does not cost a lease.
_EVERY: Final = LEASE_TIME / 3

_log = logging.getLogger(__name__)


class AuthorityError(Exception):
    """The authority did not answer, or not sensibly. The words are for the operator's log."""


class Remote(Protocol):
    """An authority that is somewhere else."""

    async def answer(self, asks: Sequence[Ask]) -> Sequence[Grant]:
        """Report and ask, all at once; with no asks it only shows that it is there. Raises AuthorityError.

        May be cancelled at any moment; the next call must not read this one's answer.
        """

    async def close(self) -> None:
        """Disconnect."""


class Rounds:
    """Asks one authority for all requests of this process. To be made inside a running loop."""

    def __init__(self, remote: Remote, counts: Counts) -> None:
        self._remote = remote
        self._counts = counts
        self._loop = asyncio.get_running_loop()
        self._wanted: dict[Share, int] = {}
        self._busy: set[Share] = set()
        self._wake = asyncio.Event()
        self._next: asyncio.Future[None] = self._loop.create_future()
        self._reported = -math.inf
        #: The authority does not answer.
        self.down = False
        self._task = self._loop.create_task(self._talk())

    async def greet(self) -> None:
        """Wait for the authority's first answer, longer than anybody waits later: it connects."""
        try:
            async with asyncio.timeout(_EVERY):
                await self._remote.answer(())
        except TimeoutError:
            self._failed("timeout", f"no answer within {_EVERY:.0f} s")
        except AuthorityError as error:
            self._failed("error", str(error))

    async def fill(self, missing: Iterable[tuple[Share, int]]) -> bool:
        """Ask for what is missing; False if there was no answer in time, and at once if the authority is down."""
        if self.down:
            return False
        answered = self._next
        for share, lacks in missing:
            self.want(share, lacks)
        await asyncio.wait((answered,))
        return not self.down

    def want(self, share: Share, units: int) -> None:
        """Ask for more of a share, or with 0 units only report it, without waiting."""
        self._wanted[share] = self._wanted.get(share, 0) + units
        self._wake.set()

    def watch(self, share: Share) -> None:
        """Report a share each second from now on, for as long as there is something to report."""
        share.watched = True
        self._busy.add(share)
        self._wake.set()

    def hear(self, shares: Sequence[Share], notes: Iterable[tuple[int, int | None]]) -> None:
        """Take up what a request's shares have to tell, by their places: as :meth:`want` with units, else to watch."""
        for place, wanted in notes:
            if wanted is None:
                self.watch(shares[place])
            else:
                self.want(shares[place], wanted)

    def alone(self, missing: Iterable[tuple[Share, int]]) -> None:
        """Let shares go on without the authority, by what this process has admitted itself."""
        now, wall = time.monotonic(), time.time()
        for share, _ in missing:
            start, end = window(share.limit.period, wall)
            share.alone(now + min(_EVERY, end - wall if end else _EVERY), start)

    async def close(self) -> None:
        """Give all leases back, if the authority answers, and stop."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        if not self.down and self._busy:
            with contextlib.suppress(AuthorityError, TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    now = time.monotonic()
                    await self._remote.answer([share.ask(None, now) for share in self._busy])
        await self._remote.close()

    async def _talk(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_EVERY if self._busy or self.down else None):
                    await self._wake.wait()
            if self.down:
                await asyncio.sleep(max(0.0, self._reported + _EVERY - time.monotonic()))
            self._wake.clear()
            await self._round(time.monotonic())

    async def _round(self, now: float) -> None:
        """Ask for what is wanted and report what is due; afterwards nobody waits any more, whatever came of it."""
        wanted, self._wanted = self._wanted, {}
        waiting, self._next = self._next, self._loop.create_future()
        if self.down or now - self._reported >= _EVERY:
            self._reported = now
            wanted |= {share: wanted.get(share, 0) for share in self._busy}
        if not wanted and not self.down:
            waiting.set_result(None)
            return
        asks = [share.ask(units, now) for share, units in wanted.items()]
        try:
            grants = await self._answers(asks)
            for share, grant in zip(wanted, grants, strict=True):
                share.granted(grant, now)
            self._counts.limits_asked(time.monotonic() - now)
            self._recovered()
        except TimeoutError:
            self._failed("timeout", f"no answer within {PATIENCE * 1000:.0f} ms")
        except AuthorityError as error:
            self._failed("error", str(error))
        except Exception as error:  # noqa: BLE001  # whatever it was, limits go on
            self._failed("error", where(error))
        finally:
            for share in self._busy.union(wanted):
                share.watched = share.busy
            self._busy = {share for share in self._busy.union(wanted) if share.watched}
            waiting.set_result(None)
            if self.down:
                self._next.set_result(None)
                self._next = self._loop.create_future()

    async def _answers(self, asks: Sequence[Ask]) -> Sequence[Grant]:
        """Ask with patience. Raises TimeoutError or what the authority does."""
        asking = self._loop.create_task(_asked(self._remote, asks))
        try:
            for _ in range(_AGAIN):
                due = self._loop.time() + PATIENCE
                await asyncio.wait((asking,), timeout=PATIENCE)
                if asking.done():
                    return asking.result()
                if self._loop.time() < due + _LATE:
                    break
            raise TimeoutError
        finally:
            if not asking.done():
                asking.cancel()
                await asyncio.wait((asking,))

    def _recovered(self) -> None:
        if self.down:
            self.down = False
            _log.warning("limits: whoever keeps them answers again")

    def _failed(self, reason: str, words: str) -> None:
        self._counts.limits_failed(reason)
        self._reported = time.monotonic()
        if not self.down:
            self.down = True
            self._wake.set()
            _log.warning("limits: whoever keeps them does not answer: %s", words)


async def _asked(remote: Remote, asks: Sequence[Ask]) -> Sequence[Grant]:
    return await remote.answer(asks)
