"""A breaker, told what happens and when."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
import pytest

from sluicegate.config import Health
from sluicegate.policy.breaker import LONGEST_REST, ORDINARY, Breaker, State

SETTINGS = Health(failures=3, window=10.0, cooldown=5.0, cooldown_max=12.0)


class Story:
    """A breaker and what it said: `x` a failure, `o` a success, `?` whether a request is let through."""

    def __init__(self, settings: Health = SETTINGS) -> None:
        self.states: list[State] = []
        self.breaker = Breaker(settings, 0.0, self.states.append)

    def tell(self, now: float, what: str) -> None:
        for one in what:
            if one == "x":
                self.breaker.failed(ORDINARY, now)
            else:
                self.breaker.proved(ORDINARY, now)
                self.breaker.succeeded(now)

    def opened(self, now: float = 0.0) -> Breaker:
        self.tell(now, "xxx")
        assert "open" == self.breaker.state
        return self.breaker


@pytest.mark.parametrize(
    "told, expected",
    [
        pytest.param([(0, "xx")], "closed", id="two failures are not three"),
        pytest.param([(0, "xxx")], "open", id="three at once"),
        pytest.param([(0, "x"), (5, "x"), (10, "x")], "open", id="three within the window"),
        pytest.param([(0, "x"), (5, "x"), (10.1, "x")], "closed", id="the window is over before the third"),
        pytest.param([(0, "xx"), (10.1, "xxx")], "open", id="three in the next window"),
        pytest.param([(0, "xx"), (10.1, "xx")], "closed", id="what was forgotten does not count"),
        pytest.param([(0, "xooox"), (1, "x")], "closed", id="as many successes since the first failure"),
        pytest.param([(0, "xooxx")], "open", id="fewer successes than failures"),
        pytest.param([(0, "oooooxxx")], "open", id="successes before the first failure do not count"),
        pytest.param([(0, "xoooo"), (1, "xxxx")], "open", id="it goes on until the failures are more"),
        pytest.param([(0, "xooo"), (11, "xxx")], "open", id="successes are forgotten with the window"),
    ],
)
def test_when_it_opens(told: list[tuple[float, str]], expected: State) -> None:
    story = Story()

    for now, what in told:
        story.tell(now, what)

    assert expected == story.breaker.state


def test_it_never_opens_with_0_failures() -> None:
    story = Story(Health(failures=0))

    story.tell(0, "x" * 1000)

    assert ("closed", []) == (story.breaker.state, story.states)


def test_while_open_nobody_is_let_through_until_the_cool_down_is_over() -> None:
    breaker = Story().opened()

    assert [False, False, True] == [breaker.admits(now) for now in (0.0, 4.9, 5.0)]


def test_one_probe_is_let_through_and_nobody_beside_it() -> None:
    breaker = Story().opened()

    assert breaker.begin(5.0) != ORDINARY

    assert "half_open" == breaker.state
    assert [False, False] == [breaker.admits(now) for now in (5.0, 9.9)]


def test_a_probe_that_is_answered_closes_it() -> None:
    story = Story()
    breaker = story.opened()

    breaker.proved(breaker.begin(5.0), 6.0)

    assert ["open", "half_open", "closed"] == story.states
    assert (0, 6.0, True) == (breaker.failures, breaker.since, breaker.admits(6.0))


def test_failing_probes_double_the_cool_down_up_to_its_maximum() -> None:
    breaker = Story().opened()
    waits = []
    for _ in range(4):
        now = breaker.next_probe
        breaker.failed(breaker.begin(now), now)
        waits.append(breaker.next_probe - now)

    assert [10.0, 12.0, 12.0, 12.0] == waits


def test_a_success_makes_the_next_cool_down_short_again() -> None:
    story = Story()
    breaker = story.opened()
    breaker.failed(breaker.begin(5.0), 5.0)
    breaker.proved(breaker.begin(20.0), 20.0)

    story.opened(30.0)

    assert 35.0 == breaker.next_probe


@pytest.mark.parametrize(
    "asked, expected", [(0.0, 5.0), (3.0, 5.0), (90.0, 90.0), (1e9, LONGEST_REST)], ids=["no", "less", "more", "absurd"]
)
def test_an_upstreams_retry_after_is_honoured(asked: float, expected: float) -> None:
    story = Story()
    story.tell(0, "xx")

    story.breaker.failed(ORDINARY, 0.0, asked)

    assert expected == story.breaker.next_probe


def test_a_probe_that_ends_without_a_verdict_makes_room_at_once() -> None:
    breaker = Story().opened()

    breaker.abandoned(breaker.begin(5.0), 5.5)

    assert ("open", True) == (breaker.state, breaker.admits(5.5))


def test_a_probe_that_takes_long_is_joined_by_one_each_cool_down() -> None:
    breaker = Story().opened()
    slow = breaker.begin(5.0)

    assert [False, True] == [breaker.admits(9.9), breaker.admits(10.0)]
    second = breaker.begin(10.0)
    breaker.abandoned(slow, 10.5)
    assert not breaker.admits(10.5), "the second is under way"

    breaker.proved(slow, 11.0)
    assert "closed" == breaker.state
    breaker.abandoned(second, 12.0)
    assert "closed" == breaker.state


@pytest.mark.parametrize("verdict", ["proved", "failed", "abandoned"])
def test_what_was_under_way_when_it_opened_says_nothing(verdict: str) -> None:
    breaker = Story().opened()
    breaker.begin(5.0)

    getattr(breaker, verdict)(ORDINARY, 6.0)

    assert ("half_open", 10.0) == (breaker.state, breaker.next_probe)


def test_a_probe_of_an_earlier_time_does_not_speak_for_a_later_one() -> None:
    story = Story()
    breaker = story.opened()
    early = breaker.begin(5.0)
    breaker.proved(breaker.begin(10.0), 10.0)
    story.opened(20.0)
    breaker.begin(25.0)

    breaker.proved(early, 26.0)
    breaker.failed(early, 26.0)

    assert ("half_open", 30.0) == (breaker.state, breaker.next_probe)


@given(seed=st.integers(0, 2**32), steps=st.integers(1, 200))
def test_whatever_happens_one_probe_is_let_through_and_it_never_stays_shut(seed: int, steps: int) -> None:
    chance = random.Random(seed)
    breaker, now = Story().breaker, 0.0
    under_way: list[int] = []
    for _ in range(steps):
        now += chance.choice((0.0, 0.5, 3.0, 8.0))
        deed = chance.choice(("begin", "begin", "proved", "failed", "abandoned"))
        if deed == "begin" and breaker.admits(now):
            under_way.append(breaker.begin(now))
            assert (breaker.state == "closed") == breaker.admits(now)
        elif deed != "begin" and under_way:
            getattr(breaker, deed)(under_way.pop(chance.randrange(len(under_way))), now)
        assert breaker.admits(now + SETTINGS.cooldown_max)
