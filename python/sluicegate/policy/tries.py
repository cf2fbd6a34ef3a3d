"""The further attempts of one request, by the table of :mod:`sluicegate.policy.retries`.

Made when the first attempt has failed: a request that is answered at once pays nothing for it. Bounds, whatever the
table says: ``retries.attempts`` in all, ``retries.here`` in place for each target, the upstream's budget, the time that
is left for the whole request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from sluicegate.config import Retries
from sluicegate.policy.retries import Rule, Step, backoff
from sluicegate.policy.routing import Route, Target
from sluicegate.policy.seats import Seat, Seats


@dataclass(frozen=True, slots=True)
class Next:
    """What to do: wait ``delay`` seconds, then take ``seat``."""

    step: Step
    seat: Seat
    delay: float


class Tries:
    """One request's attempts so far.

    ``places`` are all its targets, the first attempt's among them, with the route; a route's stand together.
    """

    def __init__(
        self, seats: Seats, rules: Retries, places: Sequence[tuple[Route, Target]], first: Seat, *, stream: bool
    ) -> None:
        self._seats = seats
        self._rules = rules
        self._places = places
        self._seat = first
        self._stream = stream
        self._made = 1
        self._repeated = 0
        self._targets = [first.target]
        self._credentials = [first.credential.name]

    def after(self, rule: Rule, now: float, *, left: float, rest: float | None, chance: float) -> Next | None:
        """Return what follows the failure of the last attempt; None: it was the last one.

        ``left``: seconds that remain of the request's total. ``rest``: seconds for which the upstream asked to be left
        alone, if it did. ``chance``: from 0 to 1, spreads the waits.
        """
        if self._made >= self._rules.attempts or left <= 0:
            return None
        for step in rule.steps:
            following = self._taken(step, now, left, rest, chance)
            if following is not None:
                self._made += 1
                return following
        return None

    def _taken(self, step: Step, now: float, left: float, rest: float | None, chance: float) -> Next | None:
        match step:
            case Step.LEARN:
                return Next(step, self._seat, 0.0)
            case Step.AGAIN:
                return self._again(now, left, rest, chance)
            case Step.CREDENTIAL:
                seat = self._seats.beside(self._seat, self._credentials, now)
                if seat is not None:
                    self._credentials.append(seat.credential.name)
            case Step.TARGET:
                seat = self._elsewhere(now)
                if seat is not None:
                    self._targets.append(seat.target)
                    self._credentials = [seat.credential.name]
                    self._repeated = 0
            case _:
                return None
        if seat is None:
            return None
        self._seat = seat
        return Next(step, seat, 0.0)

    def _again(self, now: float, left: float, rest: float | None, chance: float) -> Next | None:
        if self._repeated >= self._rules.here or (rest is not None and rest > self._rules.wait):
            return None
        delay = backoff(self._repeated, self._rules.backoff, self._rules.backoff_max, chance)
        delay = max(delay, rest or 0.0)
        if delay >= left or not self._seats.may_repeat(self._seat, now):
            return None
        self._repeated += 1
        return Next(Step.AGAIN, self._seat, delay)

    def _elsewhere(self, now: float) -> Seat | None:
        seen = {target.upstream.name for target in self._targets}
        left = [(route, target) for route, target in self._places if target not in self._targets]
        for route, places in groupby(left, itemgetter(0)):
            targets = [target for _, target in places]
            for target in self._seats.ordered(route, targets, now, stream=self._stream):
                seat = self._seats.at(route, target, now, again=target.upstream.name in seen)
                if seat is not None:
                    return seat
        return None
