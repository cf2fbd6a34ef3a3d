"""Which of several targets is tried first, and in which order the others follow.

Rules: pure; chance is passed in as a function that returns a number from 0 up to, but without, 1. What is left alone
has been taken out before: these functions only order what may be tried.

Least-loaded goes by peak EWMA, as Finagle and linkerd do: a target's load is how long it recently took to answer,
times the requests it has. Slowness is believed at once and forgotten with time, so that a target that was slow is tried
again. Of two targets drawn by chance the less loaded is tried (power of two choices), so that not everybody rushes to
the one that looks best.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import math
from typing import Final, Literal, TypeVar

T = TypeVar("T")

Routing = Literal["order", "weight", "least_loaded"]

#: Seconds a target of unknown speed is taken for, once it has a request: it gets one, and more once it has answered.
UNKNOWN: Final = 1e6


class PeakEwma:
    """How long something takes, in seconds: peaks count at once and are forgotten with the time constant ``decay``."""

    __slots__ = ("_at", "_seconds")

    def __init__(self, now: float) -> None:
        self._seconds = 0.0
        self._at = now

    def observe(self, seconds: float, now: float, decay: float) -> None:
        """Something took so long."""
        kept = math.exp((self._at - now) / decay)
        self._at = now
        self._seconds = seconds if seconds > self._seconds else self._seconds * kept + seconds * (1 - kept)

    def value(self, now: float, decay: float) -> float:
        """What is remembered now; 0 if nothing is."""
        return self._seconds * math.exp((self._at - now) / decay)


def load(latency: float, in_flight: int) -> float:
    """How long a new request may have to wait: the more the slower a target is, and the more it has to do."""
    if not latency and in_flight:
        return UNKNOWN + in_flight
    return latency * (in_flight + 1)


def preference(
    targets: Sequence[T],
    routing: Routing,
    *,
    weight: Callable[[T], int],
    load: Callable[[T], float],
    chance: Callable[[], float],
) -> Sequence[T]:
    """Put targets in the order in which they are to be tried."""
    if routing == "order" or len(targets) <= 1:
        return targets
    if routing == "weight":
        return _by_weight(targets, weight, chance)
    return _by_load(targets, load, chance)


def _by_weight(targets: Sequence[T], weight: Callable[[T], int], chance: Callable[[], float]) -> list[T]:
    """Draw one after the other without putting back (Efraimidis and Spirakis 2006): weights 0 come last, in order."""

    def arrival(target: T) -> float:
        share = weight(target)
        return -math.log(1.0 - chance()) / share if share else math.inf

    return sorted(targets, key=arrival)


def _by_load(targets: Sequence[T], load: Callable[[T], float], chance: Callable[[], float]) -> list[T]:
    one = int(chance() * len(targets))
    other = int(chance() * (len(targets) - 1))
    other += other >= one
    loads = [load(target) for target in targets]
    first = one if loads[one] <= loads[other] else other
    rest = sorted((i for i in range(len(targets)) if i != first), key=loads.__getitem__)
    return [targets[i] for i in (first, *rest)]
