"""What lies between a request's attempts: where the first goes, what is written down of each, where the next one goes.

Rules: nothing here waits or reads a socket. A request whose first attempt succeeds makes no :class:`Journey` and pays
for a look at the table of targets alone. Whatever an attempt came to, its seat is given back (:meth:`Attempts.ended`).
"""

from __future__ import annotations

from functools import partial
import logging
import math
import os
import random
import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from sluicegate.dialects.wire import wire
from sluicegate.exchange import NO_USAGE
from sluicegate.exchange import Attempt as AttemptRecord
from sluicegate.policy import retries
from sluicegate.policy.breaker import STATES
from sluicegate.policy.health import Watch
from sluicegate.policy.retries import Step
from sluicegate.policy.seats import Seats, reachable
from sluicegate.policy.tries import Tries
from sluicegate.upstream.waiting import Wait, WaitingRoom, all_down

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sluicegate.config import Settings
    from sluicegate.dialects.request import Ask
    from sluicegate.errors import RequestFailed
    from sluicegate.exchange import Exchange
    from sluicegate.policy.breaker import State
    from sluicegate.policy.retries import Rule
    from sluicegate.policy.routing import Route, Target
    from sluicegate.policy.seats import Seat
    from sluicegate.policy.tries import Next
    from sluicegate.telemetry.metrics import Metrics
    from sluicegate.upstream.attempt import Attempt


#: A price's version, and nano-dollars by it; what is not priced has none.
Charge = tuple[str, int | None]
_FREE: Charge = ("", None)

_log = logging.getLogger(__name__)


class Attempts:
    """All attempts under one configuration. To be made inside the running loop.

    What ``before`` knows of targets and credentials that are as they were is kept, and who waits for one waits on.
    """

    def __init__(self, settings: Settings, metrics: Metrics, before: Attempts | None = None) -> None:
        self.settings = settings
        self.metrics = metrics
        now = time.monotonic()
        #: Where requests wait for a target.
        self.room: WaitingRoom = before.room if before is not None else WaitingRoom(settings.health, metrics.waits)
        watch = (
            before.seats.watch.successor(settings, now)
            if before is not None
            else Watch(settings, now, partial(_target_changed, metrics, self.room))
        )
        self.seats: Seats = Seats(settings, watch, random.random, before.seats if before is not None else None)
        self._gone = before.seats.watch.targets.keys() - watch.targets.keys() if before is not None else ()
        #: Labels of targets that refused to be asked for usage.
        self.unasked: set[str] = set()

    def successor(self, settings: Settings) -> Attempts:
        """The same under another configuration, which holds once :meth:`follow` is called."""
        return Attempts(settings, self.metrics, self)

    def follow(self) -> None:
        """From now on new attempts begin here, and those that began before end here."""
        self.room.adopt(self.settings.health)
        self.seats.watch.follow()
        for label in self._gone:
            self.metrics.target_is(label, "", STATES, changed=False)
        for label, health in self.seats.watch.targets.items():
            self.metrics.target_is(label, health.breaker.state, STATES, changed=False)

    def first(self, exchange: Exchange, routes: Sequence[Route], now: float) -> Seat | None:
        """The seat of the first attempt; None if all targets of all routes are left alone."""
        for route in routes:
            seat = self.seats.first(route, exchange.endpoint, now, stream=exchange.stream)
            if seat is not None:
                return seat
        return None

    def wait(self, exchange: Exchange, routes: Sequence[Route]) -> Wait[Seat]:
        """The wait for a seat where :meth:`first` gave none. Raises Overloaded: it is not to wait."""

        def due(now: float) -> float:
            return self.seats.due(routes, exchange.endpoint, now)

        if self.settings.health.all_down == "fail":
            raise all_down(due(time.monotonic()))
        return Wait(self.room, partial(self.first, exchange, routes), due)

    def begin(self, exchange: Exchange, seat: Seat) -> float:
        """Write down that an attempt begins; gives when the whole request must have ended, in monotonic seconds."""
        target, now = seat.target, time.monotonic()
        exchange.target, exchange.upstream, exchange.upstream_model = target.label, target.upstream.name, target.model
        exchange.credential = seat.credential.name
        exchange.attempt_started = now
        if exchange.dispatched is None:
            exchange.dispatched = now
            exchange.deadline = now + seat.route.model.times.total
        elif exchange.answered is not None:
            exchange.between += now - exchange.answered
            exchange.answered = None
        return exchange.deadline

    def asks_for_usage(self, exchange: Exchange, ask: Ask, target: Target) -> bool:
        """Whether we ask for the usage event that the caller may not have asked for."""
        if not ask.stream:
            return False
        wanted = target.upstream.usage_request
        return wire(exchange.endpoint.dialect).asks_for_usage and (
            wanted == "inject" or (wanted == "learn" and target.label not in self.unasked)
        )

    @staticmethod
    def answered(seat: Seat, ticket: int, attempt: Attempt) -> None:
        """A stream's first content is there. ``ticket`` is what the target's health gave as the attempt began."""
        now = time.monotonic()
        seat.health.answered(ticket, now - attempt.sent, now)

    @staticmethod
    def broken(exchange: Exchange, attempt: Attempt) -> None:
        """Give up an attempt for a fault of ours; a stream of which the core has written anything is told in it."""
        attempt.end("internal_error")
        if exchange.committed:
            exchange.outcome = exchange.error_code = "internal_error"
            if attempt.so_far is None or not attempt.so_far.bytes_out:
                exchange.committed = False
                exchange.status = 200 if exchange.bytes_before else 0

    def ended(
        self,
        exchange: Exchange,
        ask: Ask,
        seat: Seat,
        ticket: int,
        attempt: Attempt,
        failed: RequestFailed | None,
    ) -> None:
        """Give the seat back, and tell how it went: by a stream's outcome, else by the error, if one was raised."""
        now = exchange.answered if exchange.answered is not None else time.monotonic()
        if exchange.outcome == "completed":
            stream = attempt.outcome
            self.seats.succeeded(
                seat,
                ticket,
                now,
                first_content=stream.first_content if stream is not None else None,
                whole_answer=now - attempt.sent if stream is None else None,
            )
            return
        code = exchange.outcome or (failed.code if failed is not None else "client_disconnected")
        rest = retries.retry_after(failed.headers, time.time()) if failed is not None else None
        self.seats.failed(seat, ticket, self.rule(exchange, ask, seat, attempt, code), now, rest)

    def rule(self, exchange: Exchange, ask: Ask, seat: Seat, attempt: Attempt, code: str) -> Rule:
        """The table's row for an attempt that did not end well."""
        target = seat.target
        learns = target.upstream.usage_request == "learn" and not ask.wants_usage
        settled = retries.Settled(
            status=attempt.status,
            passed_through=target.passed_through,
            recoverable=target.recoverable,
            learns=learns and self.asks_for_usage(exchange, ask, target),
        )
        return retries.rule_for(attempt.phase, code, settled)

    @staticmethod
    def leave(exchange: Exchange, outcome: str, charge: Charge = _FREE) -> None:
        """The attempt under way, if one is, becomes one of those that were left. ``charge``: what it cost."""
        started = exchange.attempt_started
        if started is None:
            return
        exchange.attempt_started = None
        record = AttemptRecord(
            exchange.target,
            outcome,
            exchange.upstream_status,
            exchange.usage,
            exchange.credential,
            started - exchange.received,
            time.monotonic() - started,
            exchange.upstream_bytes_in,
            exchange.upstream_bytes_out,
            upstream_request_id=exchange.upstream_request_id,
            price=charge[0],
            cost=charge[1],
            decisive=False,
        )
        exchange.attempts.append(record)

    def targets(self, now: float) -> list[dict[str, object]]:
        """Tell how each target is, as ``GET /admin/targets`` lists them; durations in seconds."""
        worker = os.getpid()
        return [
            {
                "worker": worker,
                "target": one.target.target,
                "state": one.target.state,
                "state_seconds": one.target.since,
                "failures": one.target.failures,
                "in_flight": one.target.in_flight,
                "next_probe_seconds": one.target.next_probe,
                "first_content_seconds": one.target.first_content,
                "whole_answer_seconds": one.target.whole_answer,
                "credentials": [
                    {"name": credential.name, "state": credential.state, "rests_seconds": credential.rests}
                    for credential in one.credentials
                ],
            }
            for one in self.seats.report(now)
        ]


def _target_changed(metrics: Metrics, room: WaitingRoom, target: str, state: State) -> None:
    metrics.target_is(target, state, STATES)
    _log.warning("target %s is %s", target, state)
    if state != "half_open":
        room.wake()


class Journey:
    """A request whose first attempt has failed. ``routes`` are its model's and its fallbacks', ``first`` the seat.

    ``charge`` says what the attempt under way has cost by what its upstream reported.
    """

    def __init__(
        self,
        attempts: Attempts,
        exchange: Exchange,
        ask: Ask,
        routes: Sequence[Route],
        first: Seat,
        charge: Callable[[Exchange], Charge],
    ) -> None:
        self._attempts = attempts
        self._charge = charge
        self._exchange = exchange
        self._ask = ask
        places = reachable(routes, first.target.upstream.dialect)
        self._tries = Tries(attempts.seats, attempts.settings.retries, places, first, stream=exchange.stream)
        self._primary = first
        self._last_of_primary: tuple[int, RequestFailed] | None = None

    def after(self, seat: Seat, attempt: Attempt, error: RequestFailed) -> Next:
        """Leave an attempt that failed before commit; say what comes next. Raises the primary's error: nothing does."""
        exchange = self._exchange
        rule = self._attempts.rule(exchange, self._ask, seat, attempt, error.code)
        self._attempts.leave(exchange, error.code, self._charge(exchange))
        if seat.target is self._primary.target:
            self._last_of_primary = (len(exchange.attempts) - 1, error)
        following = self._following(rule, error)
        if following is None:
            raise self._decided_by_primary(error) from None
        exchange.usage, exchange.upstream_request_id, exchange.upstream_status = NO_USAGE, "", 0
        exchange.upstream_bytes_in = exchange.upstream_bytes_out = 0
        self._count(seat, following, error.code)
        return following

    def _following(self, rule: Rule, error: RequestFailed) -> Next | None:
        now = time.monotonic()
        left = self._exchange.deadline - now
        rest = retries.retry_after(error.headers, time.time())
        if error.headers.get("x-should-retry") == "false":
            rest = math.inf
        return self._tries.after(rule, now, left=left, rest=rest, chance=random.random())  # noqa: S311  # no secret

    def _count(self, seat: Seat, following: Next, reason: str) -> None:
        metrics, target = self._attempts.metrics, following.seat.target
        if following.step is Step.LEARN:
            self._attempts.unasked.add(target.label)
        if following.step is Step.TARGET:
            metrics.fell_back(self._exchange.model, seat.target.label, target.label, reason)
        else:
            metrics.retried(target.upstream.name, reason)

    def _decided_by_primary(self, last: RequestFailed) -> RequestFailed:
        """Make the row the primary's: its target, its usage, its error, as far as it was tried."""
        if self._last_of_primary is None:
            return last
        place, error = self._last_of_primary
        exchange, target = self._exchange, self._primary.target
        record = exchange.attempts[place] = replace(exchange.attempts[place], decisive=True, price="", cost=None)
        exchange.target, exchange.upstream, exchange.upstream_model = target.label, target.upstream.name, target.model
        exchange.credential, exchange.usage = record.credential, record.usage
        exchange.upstream_request_id = record.upstream_request_id
        exchange.upstream_bytes_in, exchange.upstream_bytes_out = record.bytes_in, record.bytes_out
        return error
