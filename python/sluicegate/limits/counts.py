"""What the limits tell whoever counts: :class:`sluicegate.telemetry.metrics.Metrics` does."""

from __future__ import annotations

from typing import Protocol


class Counts(Protocol):
    """The series of limits."""

    def limit_refused(self, scope: str, kind: str) -> None:
        """Count a request that a limit refused."""

    def limits_asked(self, seconds: float) -> None:
        """Record how long the authority took to answer."""

    def limits_failed(self, reason: str) -> None:
        """Count a question without an answer: ``timeout`` or ``error``."""

    def limits_unavailable(self, decision: str) -> None:
        """Count an admission that was decided without the authority: ``allow`` or ``deny``."""
