"""Redis as the authority: limits across machines, one script that runs as a whole for each limit that is asked about.

Rules: a question may be asked twice, since reports are totals; so nothing is ever asked back when a connection breaks.
A window is found by this machine's clock and has a key of its own, so that clocks that differ can move a window's edge,
but not its limit; leases end by Redis's clock. Keys begin with ``sluicegate:`` and expire by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
import hashlib
from importlib import resources
import time
from typing import Any, Final
from uuid import uuid4

from sluicegate.limits.authority import LEASE_TIME
from sluicegate.limits.lease import Ask, Grant
from sluicegate.limits.rounds import AuthorityError
from sluicegate.limits.windows import Window, window

try:
    from redis import asyncio as client
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import NoScriptError, RedisError
except ModuleNotFoundError:
    #: Whether the extra ``redis`` is installed.
    INSTALLED = False
else:
    INSTALLED = True

_SCRIPT: Final = resources.files("sluicegate.limits").joinpath("grant.lua").read_text(encoding="utf-8")
_NAME: Final = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()
_FOR_EVER: Final = float(1 << 31)


class RedisAuthority:
    """The limits at one Redis server. ``url`` is ``redis://``, ``rediss://`` or ``unix://``, credentials included."""

    def __init__(self, url: str) -> None:
        self._holder = uuid4().hex
        self._redis: Any = client.Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_connect_timeout=1)

    async def answer(self, asks: Sequence[Ask]) -> Sequence[Grant]:
        """Report and ask, all at once; with no asks it only shows that it is there. Raises AuthorityError."""
        try:
            if not asks:
                await self._redis.ping()
                return ()
            wall = time.time()
            windows = [window(ask.period, wall) for ask in asks]
            answers = await self._run(asks, windows)
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
            return [_grant(one, answer, wall) for one, answer in zip(windows, answers, strict=True)]
        except (RedisError, OSError, ValueError) as error:
            raise AuthorityError(f"{type(error).__name__}: {error}") from None

    async def close(self) -> None:
        """Disconnect."""
        await self._redis.aclose()

    async def _run(self, asks: Sequence[Ask], windows: Sequence[Window]) -> list[Any]:
        answers = await self._send(asks, windows)
        if any(isinstance(answer, NoScriptError) for answer in answers):
            await self._redis.script_load(_SCRIPT)
            answers = await self._send(asks, windows)
        return answers

    async def _send(self, asks: Sequence[Ask], windows: Sequence[Window]) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        for ask, (start, end) in zip(asks, windows, strict=True):
            account = f"sluicegate:{{{ask.name}}}:{start}"
            about = f"sluicegate:{{{ask.name}}}:{ask.window}"
            kept = (end - start or LEASE_TIME) * 2000
            figures = (ask.capacity, ask.drawn, ask.kept, ask.wanted, int(LEASE_TIME * 1000), int(kept))
            pipeline.evalsha(_NAME, 3, account, f"{account}:leases", about, self._holder, *figures)
        found: list[Any] = await pipeline.execute(raise_on_error=False)
        return found


def _grant(found: Window, answer: list[bytes], wall: float) -> Grant:
    granted, left, drawn = (int(figure) for figure in answer)
    return Grant(
        window=found.start,
        ends=found.end - wall if found.end else _FOR_EVER,
        granted=granted,
        left=left,
        lasts=LEASE_TIME,
        drawn=drawn,
    )
