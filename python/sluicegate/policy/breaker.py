"""One breaker: closed, open, half-open with a single probe.

::

    closed ──failures──▶ open ──cool-down over, a request comes──▶ half_open ──the probe is answered──▶ closed
                          ▲                                            │
                          └────────────── the probe fails ─────────────┘  (the next cool-down is twice as long)

Rules:

- Pure: every method is told the time, in monotonic seconds, and never earlier than before.
- It opens when, since the first failure of a window, ``failures`` of them came and they outnumber the successes. A
  window begins with a failure and lasts ``window`` seconds, so that a target in good health costs one comparison.
- The probe is a real request. While it is under way nobody else is let through, but for one more probe per cool-down:
  a probe may rightly take minutes. One that ends without a verdict (its client left) frees its place at once.
- What was under way when it opened says nothing of the target any more: only probes sent since then are listened to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from sluicegate.config import Health

State = Literal["closed", "open", "half_open"]
STATES: tuple[State, ...] = ("closed", "open", "half_open")

#: The ticket of an attempt that is no probe.
ORDINARY: Final = 0
#: Seconds: an upstream's Retry-After is taken at its word up to this.
LONGEST_REST: Final = 3600.0


class Breaker:
    """Whether something is to be left alone. ``changed`` is told of each new state."""

    __slots__ = (
        "_changed",
        "_cooldown",
        "_latest_probe",
        "_stale_probe",
        "_successes",
        "_window_began",
        "failures",
        "next_probe",
        "settings",
        "since",
        "state",
    )

    def __init__(self, settings: Health, now: float, changed: Callable[[State], None]) -> None:
        self.settings = settings
        self.state: State = "closed"
        #: When it came into its state.
        self.since = now
        #: Failures in the window that runs; while it is open, those that opened it.
        self.failures = 0
        #: When the next request is let through, while it is not closed.
        self.next_probe = now
        self._successes = 0
        self._window_began = now
        self._cooldown = settings.cooldown
        self._latest_probe = 0
        self._stale_probe = 0
        self._changed = changed

    def admits(self, now: float) -> bool:
        """Whether a request may be sent now: an ordinary one, or a probe."""
        return self.state == "closed" or now >= self.next_probe

    def begin(self, now: float) -> int:
        """An admitted request is sent. Returns its ticket, which tells whether it is a probe."""
        if self.state == "closed":
            return ORDINARY
        self._latest_probe += 1
        self.next_probe = now + self._cooldown
        self._become("half_open", now)
        return self._latest_probe

    def proved(self, ticket: int, now: float) -> None:
        """Take notice that the attempt with this ticket was answered: a probe closes the breaker."""
        if ticket > self._stale_probe and self.state != "closed":
            self._close(now)

    def succeeded(self, now: float) -> None:
        """Count a success against the failures of the window. Needed only while there are :attr:`failures`."""
        if self.state == "closed" and self.failures:
            self._forget(now)
            self._successes += 1

    def failed(self, ticket: int, now: float, retry_after: float = 0.0) -> None:
        """Count a failure; ``retry_after`` is for how long the upstream asks to be left alone."""
        if self.state == "closed":
            self._forget(now)
            if not self.failures:
                self._window_began, self._successes = now, 0
            self.failures += 1
            if self.settings.failures and self.failures >= self.settings.failures and self.failures > self._successes:
                self._open(now, retry_after)
        elif self.state == "half_open" and ticket > self._stale_probe:
            self._cooldown = min(2 * self._cooldown, max(self.settings.cooldown, self.settings.cooldown_max))
            self._open(now, retry_after)

    def abandoned(self, ticket: int, now: float) -> None:
        """The attempt with this ticket ended and nothing was learnt: if it was the probe, the next request is."""
        if self.state == "half_open" and ticket == self._latest_probe:
            self.next_probe = now
            self._become("open", now)

    def _forget(self, now: float) -> None:
        if now - self._window_began > self.settings.window:
            self.failures = 0

    def _open(self, now: float, retry_after: float) -> None:
        self.next_probe = now + max(self._cooldown, min(retry_after, LONGEST_REST))
        self._become("open", now)

    def _close(self, now: float) -> None:
        self.failures = 0
        self._cooldown = self.settings.cooldown
        self._stale_probe = self._latest_probe
        self._become("closed", now)

    def _become(self, state: State, now: float) -> None:
        if state != self.state:
            self.state, self.since = state, now
            self._changed(state)
