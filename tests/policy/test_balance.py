"""The order in which targets are tried."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
import itertools
import math
import random

from hypothesis import given
from hypothesis import strategies as st
import pytest

from sluicegate.policy.balance import UNKNOWN, PeakEwma, Routing, load, preference

WEIGHTS = {"a": 6, "b": 3, "c": 1, "spare": 0}


def ordered(
    routing: Routing,
    *,
    chance: Callable[[], float],
    targets: tuple[str, ...] = tuple(WEIGHTS),
    loads: dict[str, float] | None = None,
) -> list[str]:
    return list(
        preference(
            targets, routing, weight=WEIGHTS.__getitem__, load=lambda name: (loads or {}).get(name, 0.0), chance=chance
        )
    )


def drawn(*numbers: float) -> Callable[[], float]:
    """Chance that says just these, again and again."""
    return itertools.cycle(numbers).__next__


def no_chance() -> float:
    raise AssertionError("nothing is left to chance here")


@pytest.mark.parametrize("routing", ["order", "weight", "least_loaded"])
def test_one_target_is_the_one(routing: Routing) -> None:
    assert ["a"] == ordered(routing, chance=no_chance, targets=("a",))


def test_order_is_the_configurations() -> None:
    assert ["a", "b", "c", "spare"] == ordered("order", chance=no_chance)


def test_weights_are_shares() -> None:
    chance = random.Random(1).random
    first = Counter(ordered("weight", chance=chance)[0] for _ in range(10_000))

    assert first["spare"] == 0
    assert [0.6, 0.3, 0.1] == pytest.approx([first[name] / 10_000 for name in "abc"], abs=0.02)


def test_who_follows_is_drawn_by_weight_too() -> None:
    chance = random.Random(2).random
    orders = [ordered("weight", chance=chance) for _ in range(10_000)]
    second = Counter(order[1] for order in orders if order[0] == "a")

    assert {"spare"} == {order[-1] for order in orders}
    assert 0.75 == pytest.approx(second["b"] / second.total(), abs=0.02)


@pytest.mark.parametrize(
    "numbers, loads, expected",
    [
        pytest.param((0.0, 0.0), {"a": 2, "b": 1}, ["b", "spare", "c", "a"], id="the less loaded of a and b"),
        pytest.param((0.0, 0.99), {"a": 2, "b": 1, "c": 4, "spare": 3}, ["a", "b", "spare", "c"], id="of a and spare"),
        pytest.param((0.99, 0.0), {"a": 0, "b": 0, "c": 0, "spare": 1}, ["a", "b", "c", "spare"], id="of spare and a"),
        pytest.param((0.3, 0.3), {"a": 9, "b": 1, "c": 1, "spare": 9}, ["b", "c", "a", "spare"], id="a tie"),
    ],
)
def test_of_two_by_chance_the_less_loaded_is_first(
    numbers: tuple[float, ...], loads: dict[str, float], expected: list[str]
) -> None:
    loads = {"c": 1.5, "spare": 1.2} | loads
    assert expected == ordered("least_loaded", chance=drawn(*numbers), loads=loads)


@given(
    routing=st.sampled_from(["order", "weight", "least_loaded"]),
    targets=st.permutations(list(WEIGHTS)),
    loads=st.lists(st.floats(0, 1e9), min_size=4, max_size=4),
    seed=st.integers(0, 2**32),
)
def test_everybody_is_in_it_once(routing: Routing, targets: list[str], loads: list[float], seed: int) -> None:
    loaded = dict(zip(targets, loads, strict=True))
    found = ordered(routing, chance=random.Random(seed).random, targets=tuple(targets), loads=loaded)

    assert sorted(targets) == sorted(found)


def test_the_busiest_is_never_first_where_two_are_drawn() -> None:
    chance = random.Random(3).random
    loads = {"a": 1.0, "b": 2.0, "c": 3.0, "spare": 4.0}

    assert "spare" not in {ordered("least_loaded", chance=chance, loads=loads)[0] for _ in range(1000)}


@pytest.mark.parametrize(
    "latency, in_flight, expected",
    [(0.0, 0, 0.0), (0.0, 1, UNKNOWN + 1), (0.2, 0, 0.2), (0.2, 4, 1.0)],
    ids=["unknown and idle: tried", "unknown and busy: not before it has answered", "idle", "busy"],
)
def test_load_is_time_times_requests(latency: float, in_flight: int, expected: float) -> None:
    assert expected == pytest.approx(load(latency, in_flight))


def test_a_slow_answer_counts_at_once_and_is_forgotten_with_time() -> None:
    ewma = PeakEwma(0.0)
    assert 0.0 == ewma.value(0.0, 10.0)

    ewma.observe(0.1, 1.0, 10.0)
    ewma.observe(2.0, 2.0, 10.0)
    assert 2.0 == ewma.value(2.0, 10.0)

    assert 2.0 / math.e == pytest.approx(ewma.value(12.0, 10.0))
    ewma.observe(0.1, 12.0, 10.0)
    assert 2.0 / math.e + 0.1 * (1 - 1 / math.e) == pytest.approx(ewma.value(12.0, 10.0))


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0.001, 100)), min_size=1))
def test_what_is_remembered_lies_within_what_was_seen(seen: list[tuple[float, float]]) -> None:
    ewma, now = PeakEwma(0.0), 0.0
    for gap, seconds in seen:
        now += gap
        ewma.observe(seconds, now, 10.0)
        assert ewma.value(now, 10.0) <= max(one for _, one in seen) * (1 + 1e-9)
    assert 0.0 <= ewma.value(now + 1000, 10.0) <= ewma.value(now, 10.0)
