"""The wait before a request is sent once more: it ends by its time, or because the gateway goes down."""

from __future__ import annotations

import asyncio

from sluicegate.errors import Draining


class Pause:
    """Stands where an attempt would while nothing is asked of an upstream. To be made inside the running loop."""

    #: As of an attempt: no stream has begun.
    answering = False

    def __init__(self) -> None:
        self._ended = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Wait so long. Raises Draining if :meth:`end` was called meanwhile."""
        try:
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        except TimeoutError:
            return
        raise Draining.again()

    def end(self, _code: str) -> None:
        """The gateway goes down."""
        self._ended.set()
