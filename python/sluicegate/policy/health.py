"""How the targets are: for each a breaker, the requests it has, and how soon it answers.

Rules:

- Only what is the target's own fault counts against it; whose fault a failure is says the table of retries. A target
  that refuses a caller's request (400), a credential (401) or more requests (429) works: that ends a probe well. What
  the gateway or the caller ended says nothing.
- One record per target as metrics name it (``upstream/model`` as the configuration writes it): models that lead to the
  same target share it, and all names below a ``*`` do.
- Streams are judged by their first content and at their end; whole answers at their end. The two are timed apart, since
  a whole answer takes as long as all of a stream.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sluicegate.config import Health, Settings, Upstream
from sluicegate.policy.balance import PeakEwma, load
from sluicegate.policy.breaker import ORDINARY, Breaker, State

#: Whose doing an attempt's failure was.
Fault = Literal["target", "credential", "caller", "gateway"]


@dataclass(frozen=True, slots=True)
class TargetReport:
    """How a target is, as ``GET /admin/targets`` tells it. Times in seconds, as far as they are known.

    ``since``: for how long it has been in its state; ``next_probe``: in how many seconds a request is let through,
    None while it is closed.
    """

    target: str
    state: State
    since: float
    failures: int
    in_flight: int
    next_probe: float | None
    first_content: float | None
    whole_answer: float | None


class TargetHealth:
    """How one target is. ``changed`` is told of each new state of its breaker."""

    __slots__ = ("_settings", "breaker", "first_content", "in_flight", "label", "upstream", "whole_answer")

    def __init__(
        self, label: str, upstream: Upstream, settings: Health, now: float, changed: Callable[[str, State], None]
    ) -> None:
        self.label = label
        self.upstream = upstream
        self.breaker = Breaker(settings, now, lambda state: changed(label, state))
        #: Attempts that have begun and not ended.
        self.in_flight = 0
        self.first_content = PeakEwma(now)
        self.whole_answer = PeakEwma(now)
        self._settings = settings

    def adopt(self, settings: Health) -> None:
        """From now on these settings hold; what is known is kept."""
        self._settings = self.breaker.settings = settings

    def begin(self, now: float) -> int:
        """An attempt begins. Returns the ticket with which it is to end."""
        self.in_flight += 1
        breaker = self.breaker
        return ORDINARY if breaker.state == "closed" else breaker.begin(now)

    def answered(self, ticket: int, seconds: float, now: float) -> None:
        """A stream's first content came so long after its request."""
        self.first_content.observe(seconds, now, self._settings.latency_decay)
        if self._is_slow(seconds):
            self.breaker.failed(ticket, now)
        elif ticket:
            self.breaker.proved(ticket, now)

    def succeeded(self, ticket: int, now: float, *, first_content: float | None, whole_answer: float | None) -> None:
        """An attempt ended well: a stream with its time to the first content, or a whole answer with its time.

        A stream's content has been :meth:`answered` before, and was counted then if it was slow.
        """
        self.in_flight -= 1
        if whole_answer is not None:
            self.whole_answer.observe(whole_answer, now, self._settings.latency_decay)
        if first_content is not None and self._is_slow(first_content):
            return
        if ticket:
            self.breaker.proved(ticket, now)
        if self.breaker.failures:
            self.breaker.succeeded(now)

    def failed(self, ticket: int, fault: Fault, now: float, retry_after: float = 0.0) -> None:
        """An attempt failed, and this is whose doing it was."""
        self.in_flight -= 1
        if fault == "target":
            self.breaker.failed(ticket, now, retry_after)
        elif ticket:
            if fault == "gateway":
                self.breaker.abandoned(ticket, now)
            else:
                self.breaker.proved(ticket, now)

    def load(self, now: float, *, stream: bool) -> float:
        """How long a new request may have to wait here."""
        latency = self.first_content if stream else self.whole_answer
        return load(latency.value(now, self._settings.latency_decay), self.in_flight)

    def report(self, now: float) -> TargetReport:
        """How it is now."""
        breaker, decay = self.breaker, self._settings.latency_decay
        return TargetReport(
            target=self.label,
            state=breaker.state,
            since=now - breaker.since,
            failures=breaker.failures,
            in_flight=self.in_flight,
            next_probe=None if breaker.state == "closed" else max(0.0, breaker.next_probe - now),
            first_content=self.first_content.value(now, decay) or None,
            whole_answer=self.whole_answer.value(now, decay) or None,
        )

    def _is_slow(self, seconds: float) -> bool:
        slow = self._settings.slow
        return slow is not None and seconds > slow


class Watch:
    """All targets of one configuration. ``changed`` is told the target and each new state of its breaker.

    What ``before`` knows is kept for targets whose upstream is as it was; attempts that began under it end here. These
    targets go by the new settings once :meth:`follow` is called.
    """

    def __init__(
        self, settings: Settings, now: float, changed: Callable[[str, State], None], before: Watch | None = None
    ) -> None:
        self._changed = changed
        self._settings = settings.health
        known = before.targets if before is not None else {}
        self.targets: Mapping[str, TargetHealth] = {
            label: same
            if (same := known.get(label)) is not None and same.upstream == upstream
            else TargetHealth(label, upstream, settings.health, now, changed)
            for label, upstream in _configured(settings)
        }

    def successor(self, settings: Settings, now: float) -> Watch:
        """The same under another configuration."""
        return Watch(settings, now, self._changed, self)

    def follow(self) -> None:
        """From now on these settings hold, for targets that were known before as well."""
        for target in self.targets.values():
            target.adopt(self._settings)

    def of(self, label: str) -> TargetHealth:
        """How the target with this label is."""
        return self.targets[label]

    def earliest_probe(self, labels: Sequence[str], now: float) -> float:
        """In how many seconds the first of these targets is let through."""
        return max(0.0, min(self.targets[label].breaker.next_probe for label in labels) - now)


def _configured(settings: Settings) -> ItemsView[str, Upstream]:
    return {
        f"{target.upstream}/{target.model}": settings.upstreams[target.upstream]
        for model in settings.models.values()
        for target in model.targets
    }.items()
