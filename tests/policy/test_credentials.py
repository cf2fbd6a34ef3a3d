"""Whose turn it is among an upstream's credentials."""

from __future__ import annotations

from collections import Counter

from sluicegate.config import Credential, Secret
from sluicegate.policy.credentials import CredentialReport, Credentials

REST = 60.0


def credentials(**weights: int) -> Credentials:
    return Credentials(
        [Credential(name=name, api_key=Secret(f"sk-{name}"), weight=weight) for name, weight in weights.items()], REST
    )


def picked(pool: Credentials, count: int, now: float = 0.0) -> str:
    return "".join(pool.pick(now).name for _ in range(count))


def test_they_take_turns() -> None:
    assert picked(credentials(a=1, b=1, c=1), 6) == "abcabc"


def test_turns_go_by_weight_and_are_spread() -> None:
    pool = credentials(a=3, b=1)
    turns = picked(pool, 8)
    assert Counter(turns) == {"a": 6, "b": 2}
    assert "bb" not in turns


def test_one_that_was_told_to_wait_rests_until_then() -> None:
    pool = credentials(a=1, b=1)
    pool.pause("a", 5.0)
    assert picked(pool, 3, now=4.9) == "bbb"
    assert sorted(picked(pool, 2, now=5.0)) == ["a", "b"]


def test_a_success_under_way_does_not_end_a_pause() -> None:
    pool = credentials(a=1, b=1)
    pool.pause("a", 5.0)
    pool.worked("a")
    assert picked(pool, 2, now=1.0) == "bb"


def test_a_refused_one_is_probed_by_one_request_and_back_after_its_success() -> None:
    pool = credentials(a=1, b=1)
    pool.retire("a", 0.0)
    assert picked(pool, 3, now=REST - 1) == "bbb"
    assert sorted(picked(pool, 4, now=REST)) == ["a", "b", "b", "b"]
    pool.worked("a")
    assert Counter(picked(pool, 4, now=REST)) == {"a": 2, "b": 2}


def test_a_probe_that_fails_rests_as_long_again() -> None:
    pool = credentials(a=1, b=1)
    pool.retire("a", 0.0)
    assert "a" in picked(pool, 2, now=REST)
    pool.retire("a", REST)
    assert picked(pool, 3, now=2 * REST - 1) == "bbb"
    assert "a" in picked(pool, 2, now=2 * REST)


def test_where_all_rest_the_one_that_is_back_first_is_used() -> None:
    pool = credentials(a=1, b=1)
    pool.retire("a", 0.0)
    pool.pause("b", 5.0)
    assert (picked(pool, 2, now=1.0), pool.rests(1.0), pool.rests(5.0)) == ("bb", True, False)


def test_the_only_one_is_always_used() -> None:
    pool = credentials(a=1)
    pool.retire("a", 0.0)
    assert (picked(pool, 2, now=1.0), pool.rests(1.0)) == ("aa", True)


def test_another_is_none_that_was_tried_or_rests() -> None:
    pool = credentials(a=1, b=1, c=1)
    pool.pause("c", 5.0)
    other = pool.another(1.0, ["a"])
    assert other is not None
    assert other.name == "b"
    assert pool.another(1.0, ["a", "b"]) is None
    assert credentials(a=1).another(0.0, []) is None


def test_a_report_tells_how_each_stands_and_never_the_credential() -> None:
    pool = credentials(a=1, b=1, c=1)
    pool.retire("a", 0.0)
    pool.pause("b", 5.0)

    expected = [
        CredentialReport("a", "retired", 59.0),
        CredentialReport("b", "paused", 4.0),
        CredentialReport("c", "ready", None),
    ]
    assert expected == pool.report(1.0)
    assert ["retired", "ready", "ready"] == [one.state for one in pool.report(100.0)]
