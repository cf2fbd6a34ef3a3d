"""How much fits into this process: connections into its descriptors, request bodies into its memory."""

from __future__ import annotations

import resource

from sluicegate.errors import Overloaded

#: Connections above the limit that still get an answer.
SPARE = 64
#: Descriptors for all but clients and their upstreams: the loop's, the listeners', files, the admin address, look-ups.
_RESERVED = 64


def connections_that_fit(wanted: int) -> int:
    """Tell how many client connections there may be: each may need a second descriptor, towards its upstream."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, (descriptors - SPARE - _RESERVED) // 2))


class Bodies:
    """The request bodies that are in memory, and how many bytes they may have together."""

    __slots__ = ("_limit", "held")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        #: Bytes in memory.
        self.held = 0

    def allow(self, limit: int) -> None:
        """Change how many bytes they may have together."""
        self._limit = limit

    def take(self, size: int) -> None:
        """Count bytes that have come. Raises Overloaded where they are too many, and counts them all the same."""
        self.held += size
        if self.held > self._limit:
            message = "The gateway holds as many request bodies as it may; please try again."
            raise Overloaded("gateway_overloaded", message, headers={"retry-after": "1"}, close=True)

    def give(self, size: int) -> None:
        """Count bytes that are gone."""
        self.held -= size
