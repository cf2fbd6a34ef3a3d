"""Names to addresses: one look-up in flight per host, kept for 30 seconds, used stale if the next look-up fails.

A resolver that hangs costs its own upstream's connect timeout and nobody else: look-ups run in libuv's threads, and a
caller that gives up leaves the look-up to the others who wait for it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
import ipaddress
import socket

Address = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]

#: Seconds an answer is used without asking again.
FRESH = 30.0
#: Answers kept; a gateway has a dozen upstreams, so this bounds a mistake.
MOST = 1024


@dataclass(frozen=True, slots=True)
class _Answer:
    addresses: list[Address]
    at: float


class Names:
    """The process's resolver. Raises ``OSError`` (``socket.gaierror``) for a name that has never been found."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], _Answer] = {}
        self._asking: dict[tuple[str, int], asyncio.Task[list[Address]]] = {}

    async def addresses(self, host: str, port: int) -> list[Address]:
        """Every address of ``host``, in the resolver's order. IP literals are answered at once."""
        literal = _literal(host, port)
        if literal is not None:
            return [literal]
        key = (host, port)
        known = self._known.get(key)
        if known is not None and asyncio.get_running_loop().time() - known.at < FRESH:
            return known.addresses
        asking = self._asking.get(key)
        if asking is None:
            asking = asyncio.create_task(self._ask(key), name=f"resolve {host}")
            asking.add_done_callback(lambda _: self._asking.pop(key, None))
            self._asking[key] = asking
        try:
            return await asyncio.shield(asking)
        except OSError:
            if known is not None:
                return known.addresses
            raise

    async def close(self) -> None:
        """Forget look-ups that nobody waits for any more."""
        for task in list(self._asking.values()):
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    async def _ask(self, key: tuple[str, int]) -> list[Address]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(key[0], key[1], type=socket.SOCK_STREAM)
        addresses: list[Address] = [(int(f), int(t), p, c, a) for f, t, p, c, a in found if isinstance(a[0], str)]
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[key] = _Answer(addresses, loop.time())
        return addresses


def _literal(host: str, port: int) -> Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET  # noqa: PLR2004  # the protocol's own number
    where: tuple[str, int] | tuple[str, int, int, int] = (host, port, 0, 0) if ":" in host else (host, port)
    return (int(family), int(socket.SOCK_STREAM), 0, "", where)
