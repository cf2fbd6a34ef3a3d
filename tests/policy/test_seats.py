"""Which targets an endpoint can use, and what an upstream without credentials sends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sluicegate.config import Settings, load
from sluicegate.exchange import Endpoint
from sluicegate.policy.routing import Route, Routes
from sluicegate.policy.seats import Seats, credentials, reachable, spoken

URL = "http://127.0.0.1:8000/v1"
UPSTREAMS = {
    "oa": {"dialect": "openai", "base_url": URL, "api_key": "sk-oa"},
    "ob": {"dialect": "openai", "base_url": URL},
    "an": {"dialect": "anthropic", "base_url": URL, "credentials": [{"name": "x", "api_key": "sk-x"}]},
}
MODELS = {"mixed": "oa an ob", "claude": "an oa", "plain": "ob oa", "alike": "oa ob"}


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


def test_the_first_seat_is_the_first_usable_target(settings: Settings) -> None:
    seats = Seats(settings)
    dialects = ("openai-chat", "anthropic-messages")
    ways = [Endpoint(name="", operation="", dialect=dialect, path="") for dialect in dialects]
    assert [seats.first(route(settings, "mixed"), way, 0.0).target.label for way in ways] == ["oa/m", "an/m"]
