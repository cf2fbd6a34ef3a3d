"""All upstreams of a process: what they share, and the one sweep that looks at every timer."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from sluicegate._native import TlsConfig, World
from sluicegate.config import ConfigError, Problem
from sluicegate.upstream.names import Names
from sluicegate.upstream.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Callable

    from sluicegate.config import Settings

#: Seconds between two sweeps: how late a time-out may be noticed.
SWEEP = 1.0
#: Seconds in which connections that were given up for their descriptors may still help somebody.
_SHED_HELPS = 1.0


class Upstreams:
    """The pools, by upstream name. To be made inside a running loop. Raises ConfigError if TLS cannot be had.

    ``lagged`` is told by how many seconds a sweep was late, ``swept`` that there is one, and its monotonic time.
    """

    def __init__(self, settings: Settings, lagged: Callable[[float], None], swept: Callable[[float], None]) -> None:
        loop = asyncio.get_running_loop()
        self._world = World(loop.create_future)
        self._names = Names()
        self._lagged = lagged
        self._shed_at = -_SHED_HELPS
        self._swept = swept
        trusted: dict[bytes, TlsConfig] = {}
        self.pools: dict[str, Pool] = {}
        for name, upstream in settings.upstreams.items():
            tls = None
            if upstream.base_url.tls:
                tls = trusted.get(upstream.ca_pem) or _trust(name, upstream.ca_pem)
                trusted[upstream.ca_pem] = tls
            self.pools[name] = Pool(upstream, settings, self._world, tls, self._names, self._shed)
        self._sweeping = loop.create_task(self._sweep(), name="sweep")

    @property
    def held(self) -> int:
        """Bytes that all exchanges together keep in memory."""
        return self._world.held

    def connections(self) -> dict[tuple[str, ...], int]:
        """How many connections there are, by upstream and state."""
        return {(name, state): n for name, pool in self.pools.items() for state, n in pool.counts.items()}

    async def close(self) -> None:
        """Close every connection."""
        self._sweeping.cancel()
        await asyncio.gather(self._sweeping, return_exceptions=True)
        for pool in self.pools.values():
            pool.close()
        await self._names.close()

    def _shed(self) -> bool:
        """Drop all kept connections; True if that was anything, now or for somebody else a moment ago."""
        now = time.monotonic()
        if sum([pool.drop_kept() for pool in self.pools.values()]) > 0:
            self._shed_at = now
        return now - self._shed_at < _SHED_HELPS

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + SWEEP
        while True:
            await asyncio.sleep(due - loop.time())
            now = loop.time()
            self._lagged(max(0.0, now - due))
            monotonic = time.monotonic()
            for pool in self.pools.values():
                pool.sweep(monotonic)
            self._swept(monotonic)
            due = now + SWEEP


def _trust(name: str, ca_pem: bytes) -> TlsConfig:
    try:
        return TlsConfig(ca_pem or None)
    except ValueError as error:
        message = f"TLS cannot be set up ({error}); install ca-certificates, or set ca_file"
        raise ConfigError("this machine", (Problem(f"upstreams.{name}", message),)) from None
