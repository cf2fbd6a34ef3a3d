"""Which target and which credential an attempt takes, and what is remembered of how it went.

A :class:`Seat` that was handed out has begun, and is given back by :meth:`Seats.ended`, once, whatever became of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import msgspec

from sluicegate.config import Credential, Settings, Upstream
from sluicegate.exchange import Endpoint
from sluicegate.policy.budget import Budget
from sluicegate.policy.credentials import Credentials
from sluicegate.policy.retries import Rest, Rule
from sluicegate.policy.routing import Route, Target


class Seat(msgspec.Struct, frozen=True, gc=False):
    """Where one attempt goes, and as whom. ``route`` is where the target was found: its model's settings hold.

    A struct, since each request makes one: a frozen dataclass takes four times as long to make.
    """

    route: Route
    target: Target
    credential: Credential


@dataclass(frozen=True, slots=True)
class _Standing:
    """What is remembered of one upstream."""

    credentials: Credentials
    budget: Budget


class Seats:
    """All targets and credentials of one configuration."""

    def __init__(self, settings: Settings) -> None:
        rules = settings.retries
        self._pause = rules.backoff_max
        self._upstreams = {
            name: _Standing(Credentials(credentials(upstream), rules.credential_rest), Budget(rules.budget))
            for name, upstream in settings.upstreams.items()
        }

    def first(self, route: Route, endpoint: Endpoint, now: float) -> Seat:
        """The seat of a request's first attempt."""
        targets = route.targets
        target = targets[0] if len(targets) == 1 else self.ordered(spoken(targets, endpoint.family), now)[0]
        standing = self._upstreams[target.upstream.name]
        standing.budget.earn()
        return Seat(route, target, standing.credentials.pick(now))

    def ordered(self, targets: Sequence[Target], now: float) -> Sequence[Target]:
        """Targets in the order in which they are to be tried: as configured, but those whose credentials rest last."""
        if not any(self._rests(target, now) for target in targets):
            return targets
        return sorted(targets, key=lambda target: self._rests(target, now))

    def at(self, route: Route, target: Target, now: float, *, again: bool) -> Seat | None:
        """A seat at a target after another failed; None if it is at an upstream (``again``) whose budget is spent."""
        standing = self._upstreams[target.upstream.name]
        if again and not standing.budget.spend():
            return None
        if not again:
            standing.budget.earn()
        return Seat(route, target, standing.credentials.pick(now))

    def beside(self, seat: Seat, tried: Collection[str], now: float) -> Seat | None:
        """The same target with a credential that does not rest and was not ``tried``; None if there is none."""
        standing = self._upstreams[seat.target.upstream.name]
        credential = standing.credentials.another(now, tried)
        if credential is None or not standing.budget.spend():
            return None
        return Seat(seat.route, seat.target, credential)

    def may_repeat(self, seat: Seat) -> bool:
        """Whether the upstream's budget allows the same again; if so, it has been counted."""
        return self._upstreams[seat.target.upstream.name].budget.spend()

    def ended(
        self,
        seat: Seat,
        rule: Rule | None,
        now: float,
        *,
        rest: float | None = None,
        first_content: float | None = None,
    ) -> None:
        """An attempt is over: ``rule`` is the table's row, None if all went well.

        ``rest``: seconds for which the upstream asked to be left alone, if it did. ``first_content``: seconds from the
        request to the first content, if there was any.
        """
        credentials = self._upstreams[seat.target.upstream.name].credentials
        if rule is None:
            credentials.worked(seat.credential.name)
        elif rule.rest is Rest.RETIRED:
            credentials.retire(seat.credential.name, now)
        elif rule.rest is Rest.PAUSED:
            credentials.pause(seat.credential.name, now + (rest if rest is not None else self._pause))

    def _rests(self, target: Target, now: float) -> bool:
        return self._upstreams[target.upstream.name].credentials.rests(now)


def spoken(targets: Sequence[Target], family: str) -> Sequence[Target]:
    """The targets that an endpoint of ``family`` can use: those of that family, else those like the first."""
    if all(target.upstream.dialect == targets[0].upstream.dialect for target in targets):
        return targets
    alike = [target for target in targets if target.upstream.dialect == family]
    return alike or [target for target in targets if target.upstream.dialect == targets[0].upstream.dialect]


def credentials(upstream: Upstream) -> tuple[Credential, ...]:
    """An upstream's credentials: those listed, or the one of ``api_key``, or one that sends nothing."""
    return upstream.credentials or (
        Credential(name="default" if upstream.api_key else "none", api_key=upstream.api_key),
    )


def reachable(routes: Iterable[Route], dialect: str) -> list[tuple[Route, Target]]:
    """Every target of several routes whose upstream speaks ``dialect``, in order, each once."""
    found: dict[tuple[str, str], tuple[Route, Target]] = {}
    for route in routes:
        for target in route.targets:
            if target.upstream.dialect == dialect:
                found.setdefault((target.upstream.name, target.model), (route, target))
    return list(found.values())
