"""One try at one target: the three awaitables `ready`, `send` and `relay` joined, and what has to happen afterwards.

The outcome lives on the connection and is readable after a cancellation, so :meth:`Attempt.close`, which never waits,
belongs into a ``finally``.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from sluicegate._native import request_head

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sluicegate._native import Connection, Head, Outcome, Plan, Segments
    from sluicegate.exchange import Client, Sink
    from sluicegate.upstream.pool import Pool


class Attempt:
    """One request to one upstream."""

    def __init__(self, pool: Pool, plan: Plan, *, total: float) -> None:
        self._pool = pool
        self._plan = plan
        self._deadline = asyncio.get_running_loop().time() + total
        self._connection: Connection | None = None
        self.head: Head | None = None
        #: The outcome of a stream, once it has been committed.
        self.outcome: Outcome | None = None
        #: Bytes handed to the upstream's connection for this request.
        self.bytes_out = 0
        #: When the request was handed to the connection that answered it; monotonic seconds.
        self.sent = 0.0

    async def ask(self, target: str, headers: Sequence[tuple[str, str]], segments: Segments, choices: int) -> Head:
        """Connect, send the request and wait for the first word on it.

        A reused connection that died without a byte is tried once more on a fresh one: the upstream closed it while
        the request was under way (RFC 9112 9.3.1). Raises what :meth:`Pool.take` raises.
        """
        request = request_head(target, self._pool.host, headers, segments.length)
        lease = await self._pool.take()
        head = await self._send(lease.connection, request, segments, choices)
        if lease.reused and head.untouched:
            self._pool.give_back(lease.connection)
            self._connection = None
            lease = await self._pool.take(fresh=True)
            head = await self._send(lease.connection, request, segments, choices)
        self.head = head
        return head

    async def relay(self, client: Client, sink: Sink) -> Outcome:
        """Relay the committed stream to its end. Raises ``TimeoutError`` if the client does not read in time."""
        connection = self._connection
        if connection is None:
            raise RuntimeError("nothing was asked yet")
        ended = await connection.relay(sink.write, sink.buffered, sink.framed)
        while not ended:
            await client.drain()
            ended = await connection.resume()
        self.outcome = connection.outcome()
        return self.outcome

    def end(self, code: str) -> None:
        """End the exchange for a reason of ours, told in-band if it is a stream already."""
        if self._connection is not None:
            self._connection.end(code)

    def close(self) -> None:
        """Give the connection back. What a stream had come to is kept in :attr:`outcome`."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        connection.detach()
        if self.head is not None and self.head.verdict == "committed" and self.outcome is None:
            self.outcome = connection.outcome()
        self._pool.give_back(connection)

    async def _send(self, connection: Connection, request: bytes, segments: Segments, choices: int) -> Head:
        self._connection = connection
        self.bytes_out += len(request) + segments.length
        self.sent = time.monotonic()
        total = self._deadline - asyncio.get_running_loop().time()
        return await connection.send(request, segments, self._plan, choices, total)
