"""The core in Rust, as Python sees it. What it does is told in ``rust/src``; this is the contract at the seam."""

from collections.abc import Sequence
from typing import Literal, final

__all__ = ["Bank", "build_profile", "version"]

build_profile: Literal["release", "debug"]
"""How the core was compiled. A benchmark refuses ``debug``."""

version: str
"""The version of the crate, which is the package's."""

@final
class Bank:
    """Every metric of a process: fixed arrays of atomics, rendered without the interpreter lock.

    A *slot* is one label set of one family, as an int. It stays good for the bank's life; asking for it takes a lock
    and allocates, so keep it. Counting on a slot takes neither. A slot that this bank never gave counts nothing.
    """

    def __new__(
        cls,
        families: Sequence[tuple[str, str, str, Sequence[str], Sequence[float], int]],
        *,
        dropped: str | None = None,
    ) -> Bank:
        """A bank of ``families``: name, kind (counter, gauge, histogram), help, labels, buckets, cap on label sets.

        Histograms whose name ends in ``_seconds`` are kept in microseconds, with buckets in seconds; others are kept in
        whole units. A family without labels has its one series from the start. ``dropped`` names the counter, with one
        label, of look-ups beyond the caps of the others. Raises ValueError for a table that cannot be served.
        """

    def slot(self, family: str, *labels: str) -> int:
        """The slot of a label set; beyond the family's cap the one whose every label is ``_other``.

        Raises KeyError for a family that is not in the table, ValueError for another number of labels than it has.
        """

    def add(self, slot: int, n: int, /) -> None:
        """Adds to a counter, or moves a gauge up or down."""

    def set(self, slot: int, value: int, /) -> None:
        """Sets a gauge."""

    def observe(self, slot: int, value: int, /) -> None:
        """Counts one observation of a histogram: microseconds, or whole units."""

    def observe_seconds(self, slot: int, seconds: float, /) -> None:
        """Counts one observation of a histogram of times."""

    def record(self, slots: list[int], values: list[float], /) -> None:
        """One call for all that a request leaves: counters grow by their value, gauges are set, histograms observe.

        Values are in the unit that is shown (seconds). Raises ValueError if the lists differ in length.
        """

    def value(self, slot: int, /) -> int:
        """A counter's or gauge's value, a histogram's number of observations. Raises KeyError for a foreign slot."""

    def render(self) -> bytes:
        """Everything in the Prometheus text format 0.0.4."""
