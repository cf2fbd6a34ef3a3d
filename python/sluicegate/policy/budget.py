"""How many retries an upstream is sent: a part of its requests, so that retries never become the load.

A bucket of tokens: a request's first try at the upstream adds ``ratio`` of one, another try takes one. It starts full,
with :data:`RESERVE` tokens, so that an upstream with little traffic has its retries too.
"""

from __future__ import annotations

#: Most tokens a bucket holds: retries that may come at once after a quiet time.
RESERVE = 10.0


class Budget:
    """One upstream's bucket."""

    __slots__ = ("_ratio", "_tokens")

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._tokens = RESERVE if ratio else 0.0

    def earn(self) -> None:
        """A request comes here for the first time."""
        if self._tokens < RESERVE:
            self._tokens = min(RESERVE, self._tokens + self._ratio)

    def spend(self) -> bool:
        """Whether it may come once more; if so, it has been counted."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
