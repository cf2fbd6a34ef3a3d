"""One try at one target: the three awaitables `ready`, `send` and `relay` joined, and what has to happen afterwards.

The outcome lives on the connection and is readable after a cancellation, so :meth:`Attempt.close`, which never waits,
belongs into a ``finally``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from sluicegate.errors import ClientLeft
from sluicegate.exchange import NO_USAGE, Tokens, Usage
from sluicegate.policy.retries import Phase

if TYPE_CHECKING:
    import asyncio

    from sluicegate._native import Connection, Head, Outcome, Plan, Segments
    from sluicegate.exchange import Client, Provenance, Sink
    from sluicegate.upstream.pool import Pool

    #: What a provider said of usage: counts, whether they tell the input and the output, its own figures by name.
    Said = tuple[tuple[int, int, int, int, int], bool, bool, tuple[tuple[str, int], ...]]


class Attempt(msgspec.Struct, eq=False):
    """One request to one upstream, which may take ``patience`` seconds to be connected.

    It must have ended by ``deadline`` (monotonic seconds).
    """

    _pool: Pool
    _plan: Plan
    _patience: float
    _deadline: float
    _connection: Connection | None = None
    _forsaken: bool = False
    head: Head | None = None
    #: The outcome of a stream, once it has been committed.
    outcome: Outcome | None = None
    #: Bytes handed to the upstream's connection for this request.
    bytes_out: int = 0
    #: When the request was handed to the connection that answered it; monotonic seconds.
    sent: float = 0.0

    async def ask(self, lines: bytes, segments: Segments, choices: int) -> Head:
        """Connect, send the request and wait for the first word on it.

        A reused connection that died without a byte is replaced once, by the row of the table of retries that says
        ``FRESH``. Raises what :meth:`Pool.take` raises.
        """
        connection, reused = self._pool.take_kept(), True
        if connection is None:
            lease = await self._pool.take(self._patience)
            connection, reused = lease.connection, lease.reused
        head = await self._send(connection, lines, segments, choices)
        if reused and head.untouched:
            connection.detach()
            self._pool.give_back(connection)
            self._connection = None
            lease = await self._pool.take(self._patience, fresh=True)
            head = await self._send(lease.connection, lines, segments, choices)
        self.head = head
        return head

    async def relay(self, client: Client, sink: Sink) -> Outcome:
        """Relay the committed stream to its end. Raises ``TimeoutError`` if the client does not read in time."""
        connection = self._connection
        if connection is None:
            raise RuntimeError("nothing was asked yet")
        ended = await connection.relay(sink.head, sink.write, sink.buffered, sink.framed)
        while not ended:
            try:
                await client.drain()
            except ClientLeft:
                if not self._forsaken:
                    raise
            ended = await connection.resume()
        self.outcome = connection.outcome()
        return self.outcome

    @property
    def so_far(self) -> Outcome | None:
        """How a committed stream stands."""
        committed = self.head is not None and self.head.verdict == "committed"
        return self._connection.outcome() if committed and self._connection is not None else self.outcome

    def forsake(self) -> None:
        """Read on without the client, which has left. Only once the request has been sent."""
        self._forsaken = True
        if self._connection is not None:
            self._connection.forsake()

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

    @property
    def phase(self) -> Phase:
        """How far it has come."""
        head = self.head
        if head is None:
            return Phase.CONNECT
        if head.verdict in ("committed", "body"):
            return Phase.AFTER
        if head.status == 0:
            return Phase.SENT
        if head.verdict in ("error_status", "unfit"):
            return Phase.HEAD
        return Phase.COMMIT if head.bytes_in else Phase.FIRST_EVENT

    @property
    def status(self) -> int:
        """The upstream's status; 0 if none came."""
        return self.head.status if self.head is not None else 0

    @property
    def answering(self) -> bool:
        """A stream has begun, and nothing of it is the client's yet."""
        return self._connection is not None and self._connection.answering

    @property
    def usage(self) -> Usage:
        """What the upstream said of usage, and whether it had finished when it said so."""
        if self.outcome is not None:
            said = self.outcome
            whole = said.end == "completed" or (said.complete and said.end != "upstream_truncated")
            return _usage(said.usage, "provider" if whole else "partial")
        if self.head is not None:
            cut = self.head.verdict == "in_band_error"
            return _usage(self.head.usage, "partial" if cut else "provider")
        return NO_USAGE

    def _send(self, connection: Connection, lines: bytes, segments: Segments, choices: int) -> asyncio.Future[Head]:
        self._connection = connection
        self.bytes_out += len(lines) + segments.length
        self.sent = time.monotonic()
        return connection.send(lines, segments, self._plan, choices, self._deadline - self.sent)


def _usage(said: Said | None, provenance: Provenance) -> Usage:
    if said is None:
        return NO_USAGE
    counts, of_input, of_output, reported = said
    return Usage(Tokens(*counts), provenance if of_input else "none", provenance if of_output else "none", reported)
