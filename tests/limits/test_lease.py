"""The lease algorithm, pure: holders and an authority that talk, lose messages, die and come back."""

from __future__ import annotations

from dataclasses import dataclass, field
import math
import random

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
import pytest

from sluicegate._native import Ask, Purse, Reservation, Tariff
from sluicegate.limits.authority import LEASE_TIME, Authority
from sluicegate.limits.lease import LARGEST, Kind, Limit, Share
from sluicegate.limits.windows import Clock, Period

#: Where the tests' Unix time begins: 10 s into a UTC minute, hour, day and month.
WALL = 1_772_323_210.0

#: 10,000 steps each. The phase that explains a failure traces every line, which makes it ten times as slow.
MODELLED = settings(
    max_examples=250,
    stateful_step_count=40,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
    suppress_health_check=(HealthCheck.too_slow,),
)


def limit(capacity: int, period: Period = "day") -> Limit:
    kind: Kind = "streams" if period == "level" else "dollars"
    return Limit(scope="key", owner="dev", kind=kind, period=period, capacity=capacity)


ASK = Ask(b'{"model": "m", "messages": [], "stream": true}', 8)


def costing(dollars: int) -> Tariff:
    """The price of requests that cost so many nano-dollars."""
    return Tariff((0, 0, 0, 0, 0, dollars), (), None)


@dataclass
class Flight:
    """A request that was admitted and has not ended."""

    reservation: Reservation
    reserved: int


@dataclass
class Holder:
    """A process that admits requests by its share of one limit."""

    name: str
    authority: Authority
    share: Share
    flying: list[Flight] = field(default_factory=list)

    def talk(self, wanted: int, clock: Clock, *, answered: bool = True) -> None:
        """Report and ask; without an answer the authority has heard it all the same."""
        grant = self.authority.answer(self.name, self.share.ask(wanted, clock.now), clock)
        if answered:
            self.share.granted(grant, clock.now)

    def admit(self, reserved: int, clock: Clock, *, answered: bool = True) -> bool:
        """Admit a request if there is room for its reservation."""
        reservation = Purse([self.share], None, 0).reserve(clock.now, ASK, costing(reserved))
        assert reservation is not None
        if reservation.waits:
            ((_, lacking),) = reservation.lacking(clock.now)
            self.talk(lacking, clock, answered=answered)
            if not reservation.take(clock.now):
                assert [0] == reservation.refuse(clock.now)
                return False
        self.flying.append(Flight(reservation, min(reserved, self.share.limit.capacity)))
        return True

    def settle(self, index: int, used: object, clock: Clock) -> Flight:
        flight = self.flying.pop(index % len(self.flying))
        flight.reservation.settle(0, used, None, clock.now)
        return flight


class Leases(RuleBasedStateMachine):
    """Holders of one limit of a window, and what they really took together."""

    @initialize(capacity=st.integers(1, 400), holders=st.integers(1, 5))
    def begin(self, capacity: int, holders: int) -> None:
        self.clock = Clock(0.0, WALL)
        self.limit = limit(capacity)
        self.authority = Authority()
        self.born = 0
        self.holders = [self.bear() for _ in range(holders)]
        #: Used above reservations, and drawn by holders that died or were cut off before they reported it.
        self.above = self.lost = 0
        #: What the dead have drawn.
        self.buried = 0

    def bear(self) -> Holder:
        self.born += 1
        return Holder(f"h{self.born}", self.authority, Share(self.limit))

    @property
    def drawn(self) -> int:
        return self.buried + sum(holder.share.drawn for holder in self.holders)

    def holder(self, index: int) -> Holder:
        return self.holders[index % len(self.holders)]

    @rule(index=st.integers(0, 9), reserved=st.integers(0, 150), answered=st.booleans())
    def admit(self, index: int, reserved: int, *, answered: bool) -> None:
        self.holder(index).admit(reserved, self.clock, answered=answered)

    @precondition(lambda self: any(holder.flying for holder in self.holders))
    @rule(index=st.integers(0, 9), flight=st.integers(0, 99), used=st.integers(0, 300))
    def settle(self, index: int, flight: int, used: int) -> None:
        holder = self.holder(index)
        if holder.flying:
            ended = holder.settle(flight, used, self.clock)
            self.above += max(0, used - ended.reserved)

    @rule(index=st.integers(0, 9), answered=st.booleans())
    def report(self, index: int, *, answered: bool) -> None:
        self.holder(index).talk(0, self.clock, answered=answered)

    def unreported(self, holder: Holder) -> int:
        """What a holder has drawn and its authority does not know; refunds that it does not know do no harm."""
        account = self.authority._accounts.get(self.limit.name, {}).get(holder.share.window)
        return max(0, holder.share.drawn - (account.drawn.get(holder.name, 0) if account else 0))

    @rule(seconds=st.sampled_from((0.1, 1.0, LEASE_TIME, 10.0)), silent=st.integers(0, 30))
    def wait(self, seconds: float, silent: int = 99) -> None:
        """Time goes by; everybody reports as it should, but for one that may be cut off from its authority."""
        for index, holder in enumerate(self.holders):
            if index == silent:
                self.lost += self.unreported(holder)
            else:
                holder.talk(0, self.clock)
        self.clock = Clock(self.clock.now + seconds, self.clock.wall + seconds)

    @precondition(lambda self: len(self.holders) > 1)
    @rule(index=st.integers(0, 9))
    def die(self, index: int) -> None:
        holder = self.holders.pop(index % len(self.holders))
        self.buried += holder.share.drawn
        self.lost += self.unreported(holder)
        self.holders.append(self.bear())

    @rule()
    def everybody_reports_and_all_agree(self) -> None:
        """Then what is left is exactly what was not drawn: nothing is refused too early, nothing granted too much."""
        for holder in self.holders:
            holder.talk(0, self.clock)
        self.wait(LEASE_TIME)
        for holder in self.holders:
            holder.talk(0, self.clock)
        (account,) = self.authority._accounts[self.limit.name].values()
        assert 0 == account.leased(self.clock.now)
        assert self.drawn <= account.spent + self.lost
        assert sum(holder.share.drawn for holder in self.holders) <= account.spent
        left = self.limit.capacity - account.spent
        probe = self.bear()
        assert (left >= 1) == probe.admit(1, self.clock)
        if probe.flying:
            probe.settle(0, 0, self.clock)
        probe.talk(0, self.clock)

    @invariant()
    def no_more_is_drawn_than_the_bound(self) -> None:
        assert self.drawn <= self.limit.capacity + self.above + self.lost


Leases.TestCase.settings = MODELLED
TestLeases = Leases.TestCase


class Streams(RuleBasedStateMachine):
    """Holders of a limit of streams at a time: what ends comes back, also by death."""

    @initialize(capacity=st.integers(1, 40), holders=st.integers(1, 5))
    def begin(self, capacity: int, holders: int) -> None:
        self.clock = Clock(0.0, WALL)
        self.limit = limit(capacity, "level")
        self.authority = Authority()
        self.born = 0
        self.holders = [self.bear() for _ in range(holders)]

    def bear(self) -> Holder:
        self.born += 1
        return Holder(f"h{self.born}", self.authority, Share(self.limit))

    def holder(self, index: int) -> Holder:
        return self.holders[index % len(self.holders)]

    @rule(index=st.integers(0, 9), answered=st.booleans())
    def admit(self, index: int, *, answered: bool) -> None:
        self.holder(index).admit(1, self.clock, answered=answered)

    @rule(index=st.integers(0, 9), flight=st.integers(0, 99))
    def end(self, index: int, flight: int) -> None:
        if self.holder(index).flying:
            self.holder(index).settle(flight, 1, self.clock)

    @rule(seconds=st.sampled_from((0.1, 1.0, 2.5)))
    def wait_and_renew(self, seconds: float) -> None:
        self.clock = Clock(self.clock.now + seconds, self.clock.wall + seconds)
        for holder in self.holders:
            holder.talk(0, self.clock)

    @precondition(lambda self: len(self.holders) > 1)
    @rule(index=st.integers(0, 9))
    def die(self, index: int) -> None:
        self.holders.pop(index % len(self.holders))

    @rule()
    def after_the_lease_time_all_that_is_not_in_use_is_free(self) -> None:
        self.wait_and_renew(2.5)
        self.wait_and_renew(2.5)
        probe = self.bear()
        probe.talk(self.limit.capacity, self.clock)
        assert self.limit.capacity - self.in_use == probe.share.free
        probe.talk(0, self.clock)

    @property
    def in_use(self) -> int:
        return sum(len(holder.flying) for holder in self.holders)

    @invariant()
    def never_more_than_the_limit(self) -> None:
        assert self.in_use <= self.limit.capacity


Streams.TestCase.settings = MODELLED
TestStreams = Streams.TestCase


@pytest.mark.parametrize("rounds", [1000, pytest.param(10_000, marks=pytest.mark.full)])
def test_118_a_hundred_at_once_against_a_budget_for_three(rounds: int) -> None:
    chance = random.Random(118)
    for _ in range(rounds):
        clock, reserved = Clock(0.0, WALL), chance.randrange(1, 1000)
        one, authority = limit(3 * reserved + chance.randrange(reserved)), Authority()
        holders = [Holder(str(i), authority, Share(one)) for i in range(chance.choice((1, 1, 2, 4)))]

        admitted = sum(chance.choice(holders).admit(reserved, clock) for _ in range(100))

        # What is left of other holders' leases may refuse one too early, and until they report; never one too late.
        assert admitted <= 3
        if len(holders) == 1:
            assert 3 == admitted


HOSTILE = {
    "negative": (-5, 0),
    "very negative": (-(2**70), 0),
    "NaN": (math.nan, 0),
    "infinite": (math.inf, LARGEST),
    "minus infinite": (-math.inf, 0),
    "2^64": (2**64, LARGEST),
    "a fraction": (2.1, 3),
    "text": ("12", 0),
    "true": (True, 0),
    "nothing": (None, 0),
}


@pytest.mark.parametrize("figure, counted", HOSTILE.values(), ids=HOSTILE)
def test_119_a_hostile_figure_never_moves_a_balance_the_wrong_way(figure: object, counted: int) -> None:
    clock = Clock(0.0, WALL)
    holder = Holder("one", Authority(), Share(limit(100)))
    assert holder.admit(7, clock)

    holder.settle(0, figure, clock)
    holder.talk(0, clock)

    assert counted == holder.share.drawn
    assert max(0, 100 - counted) == holder.share.remaining(clock.now)


def test_saturated_figures_add_up_to_saturation() -> None:
    clock, authority = Clock(0.0, WALL), Authority()
    holders = [Holder(str(i), authority, Share(limit(LARGEST))) for i in range(3)]
    assert [True] * 3 == [holder.admit(1, clock) for holder in holders]
    for holder in holders:
        holder.settle(0, LARGEST, clock)
        holder.talk(0, clock)

    assert not holders[0].admit(1, clock)


def test_a_request_above_the_whole_limit_waits_for_the_whole_limit() -> None:
    clock = Clock(0.0, WALL)
    holder = Holder("one", Authority(), Share(limit(100, "minute")))

    assert holder.admit(5000, clock)
    assert not holder.admit(1, clock)
    holder.settle(0, 60, clock)
    assert holder.admit(40, clock)


def test_a_window_begins_anew_and_what_is_settled_late_is_drawn_from_it() -> None:
    clock, later = Clock(0.0, WALL), Clock(60.0, WALL + 60)
    holder = Holder("one", Authority(), Share(limit(100, "minute"), whole=True))
    assert holder.admit(50, clock)
    assert holder.admit(50, clock)
    assert not holder.admit(1, clock)

    assert holder.admit(10, later)
    holder.settle(0, 20, later)
    assert 90 == holder.share.remaining(later.now), "what the first minute did not need is not the second's"
    holder.settle(0, 80, later)
    assert 60 == holder.share.remaining(later.now), "what the first minute used too much is the second's"


@pytest.mark.parametrize("hours", [-1, 24])
def test_127_a_day_is_not_given_twice_when_the_clock_is_set(hours: int) -> None:
    day = WALL // 86400 * 86400
    clock = Clock(0.0, day + 600)
    holder = Holder("one", Authority(math.inf), Share(limit(100), whole=True))
    assert holder.admit(100, clock)

    moved = Clock(90_000.0, clock.wall + hours * 3600)
    admitted = sum(holder.admit(100, moved) for _ in range(5))
    back = Clock(180_000.0, clock.wall)
    again = sum(holder.admit(100, back) for _ in range(5))

    assert (1, 0) == (admitted, again), "each day has one budget, whichever way the clock goes"


def test_128_a_burst_over_the_edge_of_a_minute_gets_each_minute_once() -> None:
    before, after = Clock(0.0, WALL // 60 * 60 + 59.9), Clock(0.2, WALL // 60 * 60 + 60.1)
    holder = Holder("one", Authority(math.inf), Share(limit(60, "minute"), whole=True))

    assert 60 == sum(holder.admit(1, before) for _ in range(100))
    assert 60 == sum(holder.admit(1, after) for _ in range(100))


def test_a_dead_holders_lease_comes_back_and_what_it_has_drawn_does_not() -> None:
    clock, authority = Clock(0.0, WALL), Authority()
    dead, heir = (Holder(name, authority, Share(limit(100))) for name in ("dead", "heir"))
    assert dead.admit(40, clock)
    dead.talk(60, clock)

    assert not heir.admit(1, clock)
    assert not heir.admit(61, late := Clock(LEASE_TIME + 0.1, WALL + LEASE_TIME + 0.1))
    assert heir.admit(60, late)


def test_without_its_authority_a_holder_counts_alone_and_tells_all_afterwards() -> None:
    clock, authority = Clock(0.0, WALL), Authority()
    holder, other = (Holder(name, authority, Share(limit(100))) for name in ("one", "other"))
    assert holder.admit(30, clock)
    holder.share.alone(clock.now + 1, holder.share.window)
    assert holder.admit(70, clock)
    assert 0 == holder.share.free

    holder.talk(0, clock)
    assert not other.admit(1, clock)
