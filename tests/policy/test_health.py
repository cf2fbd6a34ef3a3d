"""How targets are: what counts against them, what is remembered, what outlives a configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sluicegate.config import Health, Settings, load
from sluicegate.policy.breaker import ORDINARY, State
from sluicegate.policy.health import Fault, TargetHealth, TargetReport, Watch

RULES: dict[str, Any] = {"failures": 2, "window": 10, "cooldown": 5, "slow": 3}


def unheard(label: str, state: State) -> None:
    """Nobody listens."""


def settings(folder: Path, **upstreams: str) -> Settings:
    """Upstreams by name with their ports; `fast` leads to all of them."""
    file = folder / "gate.json"
    tree = {
        "upstreams": {
            name: {"dialect": "openai", "base_url": f"http://127.0.0.1:{port}/v1"} for name, port in upstreams.items()
        },
        "models": {f"{name}/*": {"targets": [{"upstream": name, "model": "*"}]} for name in upstreams},
        "health": RULES,
    }
    file.write_text(json.dumps(tree), encoding="utf-8")
    return load(file, {})


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    return Watch(settings(tmp_path, a="8000"), 0.0, unheard)


@pytest.fixture
def target(watch: Watch) -> TargetHealth:
    return watch.of("a/*")


def opened(target: TargetHealth, now: float = 0.0) -> TargetHealth:
    for _ in range(2):
        target.failed(target.begin(now), "target", now)
    assert "open" == target.breaker.state
    return target


@pytest.mark.parametrize(
    "fault, expected", [("target", "open"), ("credential", "closed"), ("caller", "closed"), ("gateway", "closed")]
)
def test_only_its_own_faults_open_it(fault: Fault, expected: State, target: TargetHealth) -> None:
    for _ in range(100):
        target.failed(target.begin(1.0), fault, 1.0)

    assert (expected, 0) == (target.breaker.state, target.in_flight)


@pytest.mark.parametrize(
    "fault, expected, admits",
    [("target", "open", False), ("credential", "closed", True), ("caller", "closed", True), ("gateway", "open", True)],
)
def test_what_a_failing_probe_says(fault: Fault, expected: State, admits: bool, target: TargetHealth) -> None:
    ticket = opened(target).begin(5.0)

    target.failed(ticket, fault, 6.0)

    assert (expected, admits) == (target.breaker.state, target.breaker.admits(6.0))


def test_a_probe_that_answers_whole_closes_it(target: TargetHealth) -> None:
    ticket = opened(target).begin(5.0)

    target.succeeded(ticket, 7.0, first_content=None, whole_answer=2.0)

    assert "closed" == target.breaker.state


def test_a_probes_stream_closes_it_with_its_first_content_and_may_fail_later(target: TargetHealth) -> None:
    ticket = opened(target).begin(5.0)

    target.answered(ticket, 0.1, 5.1)
    assert "closed" == target.breaker.state

    target.failed(ticket, "target", 60.0)
    assert ("closed", 1) == (target.breaker.state, target.breaker.failures)


def test_slow_first_contents_open_it(target: TargetHealth) -> None:
    for _ in range(2):
        ticket = target.begin(0.0)
        target.answered(ticket, 3.1, 3.1)
        target.succeeded(ticket, 9.0, first_content=3.1, whole_answer=None)

    assert ("open", 0) == (target.breaker.state, target.in_flight)


def test_a_slow_probe_does_not_close_it(target: TargetHealth) -> None:
    ticket = opened(target).begin(5.0)

    target.answered(ticket, 3.1, 8.1)
    target.succeeded(ticket, 9.0, first_content=3.1, whole_answer=None)

    assert ("open", 18.1) == (target.breaker.state, target.breaker.next_probe)


def test_streams_and_whole_answers_are_timed_apart(target: TargetHealth) -> None:
    target.answered(target.begin(0.0), 0.2, 1.0)
    target.succeeded(target.begin(0.0), 1.0, first_content=None, whole_answer=8.0)

    assert (0.4, 16.0) == (target.load(1.0, stream=True), target.load(1.0, stream=False))


def test_a_report_says_how_it_is(target: TargetHealth) -> None:
    idle = TargetReport("a/*", "closed", 3.0, 0, 0, None, None, None)
    assert idle == target.report(3.0)

    ticket = target.begin(3.0)
    target.answered(ticket, 0.5, 4.0)
    opened(target, 4.0)

    report = target.report(5.0)
    assert 0.4 < (report.first_content or 0.0) <= 0.5
    assert TargetReport("a/*", "open", 1.0, 2, 1, 4.0, report.first_content, None) == report
    assert 0.0 == target.report(50.0).next_probe


def test_every_change_is_told(tmp_path: Path) -> None:
    told: list[tuple[str, State]] = []
    watch = Watch(settings(tmp_path, a="8000"), 0.0, lambda label, state: told.append((label, state)))

    target = opened(watch.of("a/*"))
    target.succeeded(target.begin(5.0), 5.0, first_content=None, whole_answer=1.0)

    assert [("a/*", "open"), ("a/*", "half_open"), ("a/*", "closed")] == told


def test_the_earliest_probe_of_several(tmp_path: Path) -> None:
    watch = Watch(settings(tmp_path, a="8000", b="8001"), 0.0, unheard)
    opened(watch.of("a/*"), 1.0)
    opened(watch.of("b/*"), 3.0)

    assert [4.0, 6.0, 4.0] == [watch.earliest_probe(labels, 2.0) for labels in (["a/*"], ["b/*"], ["a/*", "b/*"])]
    assert 0.0 == watch.earliest_probe(["a/*"], 100.0)


def test_a_successor_knows_what_was_known_of_targets_that_are_as_they_were(tmp_path: Path) -> None:
    watch = Watch(settings(tmp_path, same="8000", moved="8001", gone="8002"), 0.0, unheard)
    ticket = watch.of("same/*").begin(0.0)
    opened(watch.of("same/*"))
    opened(watch.of("moved/*"))

    after = watch.successor(settings(tmp_path, same="8000", moved="9001", new="9002"), 1.0)

    assert {"same/*": "open", "moved/*": "closed", "new/*": "closed"} == {
        label: target.breaker.state for label, target in after.targets.items()
    }
    assert 1 == after.of("same/*").in_flight
    watch.of("same/*").succeeded(ticket, 2.0, first_content=0.1, whole_answer=None)
    assert 0 == after.of("same/*").in_flight, "what began before ends in the successor"


def test_a_successor_goes_by_its_own_settings(target: TargetHealth) -> None:
    target.adopt(Health(failures=3))

    for expected in ("closed", "closed", "open"):
        target.failed(target.begin(0.0), "target", 0.0)
        assert expected == target.breaker.state
    assert target.begin(0.0) != ORDINARY
