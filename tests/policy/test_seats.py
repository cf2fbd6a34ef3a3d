"""Which targets an endpoint can use, and what an upstream without credentials sends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sluicegate.config import Settings, load
from sluicegate.exchange import Endpoint
from sluicegate.policy.health import Watch
from sluicegate.policy.retries import Phase, rule_for
from sluicegate.policy.routing import Route, Routes
from sluicegate.policy.seats import Seats, credentials, reachable, spoken

URL = "http://127.0.0.1:8000/v1"
UPSTREAMS: dict[str, dict[str, Any]] = {
    "oa": {"dialect": "openai", "base_url": URL, "api_key": "sk-oa"},
    "ob": {"dialect": "openai", "base_url": URL},
    "an": {"dialect": "anthropic", "base_url": URL, "credentials": [{"name": "x", "api_key": "sk-x"}]},
}
MODELS = {"mixed": "oa an ob", "claude": "an oa", "plain": "ob oa", "alike": "oa ob", "single": "oa"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    file = tmp_path / "gate.json"
    models = {
        name: {"targets": [{"upstream": one, "model": "m"} for one in upstreams.split()]}
        for name, upstreams in MODELS.items()
    }
    file.write_text(json.dumps({"upstreams": UPSTREAMS, "models": models}), encoding="utf-8")
    return load(file, {})


def route(settings: Settings, name: str) -> Route:
    found = Routes(settings).route(name)
    assert found is not None
    return found


#: model, the endpoint's family: the upstreams it can use
USABLE = {
    ("mixed", "openai"): "oa ob",
    ("mixed", "anthropic"): "an",
    ("claude", "anthropic"): "an",
    ("claude", "openai"): "oa",
    ("claude", "gemini"): "an",
    ("plain", "anthropic"): "ob oa",
}


@pytest.mark.parametrize("model, family", USABLE)
def test_targets_of_another_dialect_are_left_out(settings: Settings, model: str, family: str) -> None:
    targets = spoken(route(settings, model).targets, family)
    assert USABLE[model, family] == " ".join(target.upstream.name for target in targets)


def test_a_target_that_two_models_share_is_tried_once(settings: Settings) -> None:
    places = reachable([route(settings, "plain"), route(settings, "alike"), route(settings, "mixed")], "openai")
    assert [(of.name, target.upstream.name) for of, target in places] == [("plain", "ob"), ("plain", "oa")]


def test_an_upstream_has_its_api_key_or_its_list_or_nothing(settings: Settings) -> None:
    named = {name: credentials(upstream) for name, upstream in settings.upstreams.items()}
    assert {name: [one.name for one in found] for name, found in named.items()} == {
        "oa": ["default"],
        "ob": ["none"],
        "an": ["x"],
    }
    assert named["ob"][0].api_key is None


def seats(settings: Settings) -> Seats:
    return Seats(settings, Watch(settings, 0.0, lambda label, state: None), lambda: 0.0)  # noqa: ARG005


def way(family: str = "openai") -> Endpoint:
    return Endpoint(name="", operation="", dialect=f"{family}-chat", path="")


def first(seats: Seats, route: Route, family: str = "openai", now: float = 0.0) -> str | None:
    seat = seats.first(route, way(family), now, stream=False)
    return seat.target.label if seat is not None else None


def down(seats: Seats, *labels: str) -> None:
    for label in labels:
        health = seats.watch.of(label)
        for _ in range(5):
            health.failed(health.begin(0.0), "target", 0.0)


def test_the_first_seat_is_the_first_usable_target(settings: Settings) -> None:
    mixed = route(settings, "mixed")
    assert ["oa/m", "an/m"] == [first(seats(settings), mixed, family) for family in ("openai", "anthropic")]


def test_the_first_seat_is_none_that_is_left_alone(settings: Settings) -> None:
    taken = seats(settings)
    down(taken, "oa/m")
    assert ["ob/m", "ob/m"] == [first(taken, route(settings, name)) for name in ("alike", "plain")]

    down(taken, "ob/m")
    alike = route(settings, "alike")
    assert first(taken, alike) is None
    assert (5.0, 3.0) == (taken.due([alike], way(), 0.0), taken.due([alike], way(), 2.0))
    assert "oa/m" == first(taken, alike, now=5.0)


def test_a_route_without_a_choice_has_one_seat_under_all_rules(settings: Settings) -> None:
    taken, single = seats(settings), route(settings, "single")
    seat = taken.first(single, way(), 0.0, stream=False)
    assert seat is not None
    assert seat is taken.first(single, way(), 0.0, stream=True)
    other = taken.first(route(settings, "single"), way(), 0.0, stream=False)
    assert (seat.target, True) == (other and other.target, seat is not other), "another configuration's route"

    while taken.may_repeat(seat, 0.0):  # until its upstream's budget of retries is spent
        pass
    assert 0.2 == settings.retries.budget
    earned = [taken.may_repeat(seat, 0.0) for _ in range(6) if first(taken, single) == "oa/m"]
    assert [False, False, False, False, True, False] == earned, "a fifth of a retry for each request"

    down(taken, "oa/m")
    assert [None, "oa/m"] == [first(taken, single, now=now) for now in (4.9, 5.0)]


def test_a_report_names_targets_and_credentials(settings: Settings) -> None:
    taken = seats(settings)
    down(taken, "an/m")

    states = {one.target.target: (one.target.state, one.credentials[0].name) for one in taken.report(0.0)}
    assert {"oa/m": ("closed", "default"), "ob/m": ("closed", "none"), "an/m": ("open", "x")} == states


def test_a_successor_remembers_credentials_of_upstreams_that_are_as_they_were(
    settings: Settings, tmp_path: Path
) -> None:
    taken = seats(settings)
    for name in ("plain", "claude"):
        seat = taken.first(route(settings, name), way("anthropic"), 0.0, stream=False)
        assert seat is not None
        taken.failed(seat, seat.health.begin(0.0), rule_for(Phase.HEAD, "upstream_auth"), 0.0, None)
    moved = UPSTREAMS | {"an": UPSTREAMS["an"] | {"base_url": "http://127.0.0.1:9000/v1"}}
    file = tmp_path / "gate.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"upstreams": moved}), encoding="utf-8")
    other = load(file, {})

    after = Seats(other, taken.watch.successor(other, 1.0), lambda: 0.0, taken)

    states = {one.target.target: one.credentials[0].state for one in after.report(1.0)}
    assert {"oa/m": "ready", "ob/m": "retired", "an/m": "ready"} == states
