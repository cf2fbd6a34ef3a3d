"""The scripted upstream: an HTTP/1.1 server that answers as asked, in good order or wrong byte by byte.

```python
async with Upstream() as upstream:
    upstream.script("fast", replay(recording, seeded(7)))   # requests for this model; the last script stays
    upstream.next(closes_before_head())                     # the very next request, whatever its model
    ...                                                     # drive a gateway whose target is upstream.base_url
    assert upstream.requests[0].header("authorization") == "Bearer sk-upstream"
    await upstream.requests[0].closed_by_peer(within=1)
```

A request takes, in this order: the script given by `next`, the one given by `script` for its model, what `decide`
returns, the canned answer of `answers`. It listens on 127.0.0.1 only and belongs to the loop it was started in.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
import socket
from typing import TYPE_CHECKING, Self

from sluicegate.demo.answers import answer
from sluicegate.demo.connection import Connection, Opened
from sluicegate.demo.requests import Received
from sluicegate.demo.scripts import Script

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

Decide = Callable[[Received], Script | None]


class Upstream:
    """A scripted upstream; an async context manager. With `tls` it speaks TLS by that server context."""

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        pace: float = 0.0,
        api_key: str | None = None,
        decide: Decide | None = None,
        host: str = "127.0.0.1",
        prefix: str = "/v1",
    ) -> None:
        self.requests: list[Received] = []
        """Every request that arrived whole (early scripts: whose head did), in order."""
        self.connections: list[Opened] = []
        """Every connection that was accepted, in order."""
        self._tls = tls
        self._pace = pace
        self._api_key = api_key
        self._decide = decide
        self._host = host
        self._prefix = prefix
        self._scripts: dict[str, deque[Script]] = {}
        self._next: deque[Script] = deque()
        self._greetings: deque[Script] = deque()
        self._live: set[Connection] = set()
        self._arrival = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        """Bind a free port and listen."""
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((self._host, 0))
        self.port: int = self._socket.getsockname()[1]
        await self.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop listening and end every connection."""
        await self.refuse()
        self._socket.close()
        self.drop_connections()

    @property
    def base_url(self) -> str:
        """Where a target's paths begin, for example `https://localhost:40123/v1`."""
        # Certificates are issued for the name: a check of it is part of what is tested.
        return (
            f"https://localhost:{self.port}{self._prefix}"
            if self._tls
            else f"http://{self._host}:{self.port}{self._prefix}"
        )

    def script(self, model: str, *scripts: Script) -> None:
        """Give the scripts of a model's next requests, replacing earlier ones; the last one stays."""
        self._scripts[model] = deque(scripts)

    def next(self, *scripts: Script) -> None:
        """Give the scripts of the next requests, whatever their model. Only these may be `early`."""
        self._next.extend(scripts)

    def greet(self, *scripts: Script) -> None:
        """Give the scripts of the next connections, played before anything is read (after a TLS handshake)."""
        self._greetings.extend(scripts)

    async def refuse(self) -> None:
        """Stop accepting: connects are refused, and nobody else can take the port. Open connections live on."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        self._socket.close()
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((self._host, self.port))

    async def listen(self) -> None:
        """Accept again after `refuse`."""
        if self._server is not None:
            return
        loop = asyncio.get_running_loop()
        listener = self._socket.dup()
        self._server = await loop.create_server(lambda: Connection(self), sock=listener, ssl=self._tls, backlog=4096)

    def drop_connections(self) -> None:
        """End every open connection at once."""
        for connection in tuple(self._live):
            connection.abort()

    async def received(self, count: int = 1, within: float = 5.0) -> Received:
        """Wait until `count` requests have arrived and give the last of them; raises `TimeoutError`."""
        async with asyncio.timeout(within):
            while len(self.requests) < count:
                self._arrival.clear()
                await self._arrival.wait()
        return self.requests[count - 1]

    def opened(self, connection: Connection) -> Opened:
        """Part of `Director`."""
        self._live.add(connection)
        self.connections.append(Opened(len(self.connections) + 1, asyncio.get_running_loop().time()))
        return self.connections[-1]

    def closed(self, connection: Connection) -> None:
        """Part of `Director`."""
        self._live.discard(connection)

    def greeting(self) -> Script | None:
        """Part of `Director`."""
        return self._greetings.popleft() if self._greetings else None

    def early_script(self) -> Script | None:
        """Part of `Director`."""
        return self._next.popleft() if self._next and self._next[0].early else None

    def admit(self, request: Received) -> None:
        """Part of `Director`."""
        self.requests.append(request)
        self._arrival.set()

    def script_for(self, request: Received) -> Script:
        """Part of `Director`."""
        if self._next:
            return self._next.popleft()
        scripts = self._scripts.get(request.model or "")
        if scripts:
            return scripts.popleft() if len(scripts) > 1 else scripts[0]
        decided = self._decide(request) if self._decide else None
        return decided or answer(request, len(self.requests), self._pace, self._api_key)
