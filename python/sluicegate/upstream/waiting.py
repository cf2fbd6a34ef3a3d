"""Requests that wait until a target may be tried again: bounded in number and in time.

Rules: whoever leaves frees its place; a target that comes back lets everybody look again, in the order they came.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sluicegate.errors import Draining, Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable

    from sluicegate.config import Health

T = TypeVar("T")

#: Seconds after which a request that nobody woke looks again at the earliest: the loop's clock counts milliseconds.
_SHORTEST = 0.001


class WaitingRoom:
    """Where requests wait for a target: at most ``health.waiting``, each for at most ``health.wait`` seconds.

    ``counted`` is told of each that comes (1) and goes (-1).
    """

    def __init__(self, settings: Health, counted: Callable[[int], None]) -> None:
        self._counted = counted
        self._inside: dict[Wait[Any], None] = {}
        self.adopt(settings)

    def adopt(self, settings: Health) -> None:
        """From now on these settings hold; who is inside stays."""
        self.patience = settings.wait
        self._places = settings.waiting

    def wake(self) -> None:
        """A target is back, or may be probed: everybody looks again."""
        for one in self._inside:
            one.look()

    def enter(self, wait: Wait[Any], due: float) -> None:
        """Take a place. Raises Overloaded if there is none; ``due`` is in how many seconds a target may be tried."""
        if len(self._inside) >= self._places:
            message = "All targets of this model are down, and too many requests wait for them; please try again."
            raise Overloaded("targets_queue_full", message, headers=_come_back(due))
        self._inside[wait] = None
        self._counted(1)

    def leave(self, wait: Wait[Any]) -> None:
        """Give the place back."""
        del self._inside[wait]
        self._counted(-1)


class Wait(Generic[T]):
    """One request's wait; it stands where an attempt would. To be made inside the running loop.

    It is over when ``take(now)`` gives something; ``due(now)`` says in how many seconds it may.
    """

    #: As of an attempt: no stream has begun.
    answering = False

    def __init__(self, room: WaitingRoom, take: Callable[[float], T | None], due: Callable[[float], float]) -> None:
        self._room = room
        self._take = take
        self._due = due
        self._woken = asyncio.Event()
        self._draining = False

    async def over(self) -> T:
        """Wait.

        Raises Overloaded if nothing is given in time, or if too many wait already; Draining after :meth:`end`.
        """
        now = time.monotonic()
        deadline = now + self._room.patience
        self._room.enter(self, self._due(now))
        try:
            while now < deadline:
                await self._look_after(min(self._due(now), deadline - now))
                now = time.monotonic()
                if (taken := self._take(now)) is not None:
                    return taken
        finally:
            self._room.leave(self)
        raise all_down(self._due(now))

    def look(self) -> None:
        """Look again now."""
        self._woken.set()

    def end(self, _code: str) -> None:
        """The gateway goes down."""
        self._draining = True
        self.look()

    async def _look_after(self, seconds: float) -> None:
        self._woken.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(_SHORTEST, seconds)):
                await self._woken.wait()
        if self._draining:
            raise Draining.again()


def all_down(due: float) -> Overloaded:
    """Make the answer where every target is left alone, the first of them for ``due`` more seconds."""
    message = "All targets of this model are down; please try again."
    return Overloaded("targets_down", message, headers=_come_back(due))


def _come_back(due: float) -> dict[str, str]:
    return {"retry-after": str(max(1, math.ceil(due)))}
