"""Which target and which credential an attempt takes, and what is remembered of how it went.

An attempt that begins on a :class:`Seat` tells the seat's ``health``, and gives it back by :meth:`Seats.succeeded` or
:meth:`Seats.failed`, once, whatever became of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import msgspec

from sluicegate.config import Credential, Settings, Upstream
from sluicegate.exchange import Endpoint
from sluicegate.policy.balance import preference
from sluicegate.policy.budget import Budget
from sluicegate.policy.credentials import CredentialReport, Credentials
from sluicegate.policy.health import TargetHealth, TargetReport, Watch
from sluicegate.policy.retries import Rest, Rule
from sluicegate.policy.routing import Route, Target


@dataclass(frozen=True, slots=True)
class Standing:
    """What is remembered of one upstream."""

    credentials: Credentials
    budget: Budget


class Seat(msgspec.Struct, frozen=True, gc=False):
    """Where one attempt goes, and as whom. ``route`` is where the target was found: its model's settings hold.

    A struct, since each request that has a choice makes one: a frozen dataclass takes four times as long to make.
    ``health`` is the target's: told when the attempt begins and when it ends. ``standing`` is its upstream's.
    """

    route: Route
    target: Target
    credential: Credential
    health: TargetHealth
    standing: Standing


@dataclass(frozen=True, slots=True)
class SeatsReport:
    """How one target is, and its upstream's credentials."""

    target: TargetReport
    credentials: Sequence[CredentialReport]


class Seats:
    """All targets and credentials of one configuration. ``chance`` gives numbers from 0 up to, but without, 1.

    What ``before`` knows of the credentials of upstreams that are as they were is kept.
    """

    def __init__(
        self, settings: Settings, watch: Watch, chance: Callable[[], float], before: Seats | None = None
    ) -> None:
        rules = settings.retries
        known = before.known(settings) if before is not None else {}
        self.watch = watch
        self._settings = settings
        self._chance = chance
        self._pause = rules.backoff_max
        self._upstreams = {
            name: known.get(name)
            or Standing(Credentials(credentials(upstream), rules.credential_rest), Budget(rules.budget))
            for name, upstream in settings.upstreams.items()
        }
        # By the route's name: the seats of those that have no choice.
        self._only: dict[str, Seat] = {}

    def known(self, settings: Settings) -> dict[str, Standing]:
        """What is remembered of the upstreams that another configuration has just the same."""
        if settings.retries != self._settings.retries:
            return {}
        before = self._settings.upstreams
        return {name: self._upstreams[name] for name, one in settings.upstreams.items() if before.get(name) == one}

    def first(self, route: Route, endpoint: Endpoint, now: float, *, stream: bool) -> Seat | None:
        """The seat of a request's first attempt; None if all targets are left alone.

        ``stream``: whether it asks for a stream.
        """
        only = self._only.get(route.name)
        if only is not None and only.route is route:
            if only.health.breaker.state != "closed" and not only.health.breaker.admits(now):
                return None
            only.standing.budget.earn()
            return only
        usable = self.ordered(route, spoken(route.targets, endpoint.family), now, stream=stream)
        if not usable:
            return None
        seat = self._seat(route, usable[0], now)
        seat.standing.budget.earn()
        if len(route.targets) == 1 and seat.standing.credentials.only:
            self._only[route.name] = seat
        return seat

    def due(self, routes: Iterable[Route], endpoint: Endpoint, now: float) -> float:
        """In how many seconds the first target of these routes is let through, while all are left alone."""
        labels = [target.label for route in routes for target in spoken(route.targets, endpoint.family)]
        return self.watch.earliest_probe(labels, now)

    def ordered(self, route: Route, targets: Sequence[Target], now: float, *, stream: bool) -> Sequence[Target]:
        """Targets of a route in the order in which they are to be tried.

        Without those that are left alone, by the model's ``routing``; those whose credentials rest come last.
        """
        health = self.watch.targets
        usable: Sequence[Target] = [target for target in targets if health[target.label].breaker.admits(now)]
        if len(usable) > 1 and route.model.routing != "order":
            usable = preference(
                usable,
                route.model.routing,
                weight=lambda target: target.weight,
                load=lambda target: health[target.label].load(now, stream=stream),
                chance=self._chance,
            )
        if not any(self._rests(target, now) for target in usable):
            return usable
        return sorted(usable, key=lambda target: self._rests(target, now))

    def at(self, route: Route, target: Target, now: float, *, again: bool) -> Seat | None:
        """A seat at a target after another failed; None if it is at an upstream (``again``) whose budget is spent."""
        budget = self._upstreams[target.upstream.name].budget
        if again and not budget.spend():
            return None
        if not again:
            budget.earn()
        return self._seat(route, target, now)

    def beside(self, seat: Seat, tried: Collection[str], now: float) -> Seat | None:
        """The same target with a credential that does not rest and was not ``tried``; None if there is none."""
        if not seat.health.breaker.admits(now):
            return None
        credential = seat.standing.credentials.another(now, tried)
        if credential is None or not seat.standing.budget.spend():
            return None
        return Seat(seat.route, seat.target, credential, seat.health, seat.standing)

    def may_repeat(self, seat: Seat, now: float) -> bool:
        """Whether the target and its upstream's budget allow the same again; if so, it has been counted."""
        return seat.health.breaker.admits(now) and seat.standing.budget.spend()

    def succeeded(
        self, seat: Seat, ticket: int, now: float, *, first_content: float | None, whole_answer: float | None
    ) -> None:
        """Give back the seat of an attempt that went well; ``ticket`` is what its target's health gave.

        ``first_content``: seconds from the request to a stream's first content; ``whole_answer``: to a whole answer.
        """
        seat.standing.credentials.worked(seat.credential.name)
        seat.health.succeeded(ticket, now, first_content=first_content, whole_answer=whole_answer)

    def failed(self, seat: Seat, ticket: int, rule: Rule, now: float, rest: float | None) -> None:
        """Give back the seat of an attempt that failed: ``rule`` is the table's row.

        ``rest``: seconds for which the upstream asked to be left alone, if it did.
        """
        credentials = seat.standing.credentials
        if rule.rest is Rest.RETIRED:
            credentials.retire(seat.credential.name, now)
        elif rule.rest is Rest.PAUSED:
            credentials.pause(seat.credential.name, now + (rest if rest is not None else self._pause))
        seat.health.failed(ticket, rule.fault, now, rest or 0.0)

    def report(self, now: float) -> list[SeatsReport]:
        """How all targets are, and the credentials of their upstreams."""
        return [
            SeatsReport(health.report(now), self._upstreams[health.upstream.name].credentials.report(now))
            for health in self.watch.targets.values()
        ]

    def _seat(self, route: Route, target: Target, now: float) -> Seat:
        standing = self._upstreams[target.upstream.name]
        return Seat(route, target, standing.credentials.pick(now), self.watch.targets[target.label], standing)

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
