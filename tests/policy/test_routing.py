"""Where a request goes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sluicegate.config import Settings, load
from sluicegate.policy.keys import ANYONE, Caller
from sluicegate.policy.routing import Routes

UPSTREAM = {"dialect": "openai", "base_url": "http://127.0.0.1:8000/v1"}
#: name: (upstream, model there)
MODELS = {
    "fast": ("a", "gpt-4o-mini"),
    "openai/fast": ("b", "special"),
    "openai/*": ("a", "*"),
    "openai/ft/*": ("b", "ft:*:x"),
    "all/*": ("b", "one"),
    "*": ("a", "any/*"),
}


def settings(folder: Path, *names: str) -> Settings:
    file = folder / "gate.json"
    models = {
        name: {"targets": [{"upstream": upstream, "model": model}]}
        for name, (upstream, model) in MODELS.items()
        if not names or name in names
    }
    file.write_text(json.dumps({"upstreams": {"a": UPSTREAM, "b": UPSTREAM}, "models": models}), encoding="utf-8")
    return load(file, {})


#: requested: (configured name, model sent, label, passed through)
ROUTES = {
    "fast": ("fast", "gpt-4o-mini", "a/gpt-4o-mini", False),
    "openai/fast": ("openai/fast", "special", "b/special", False),
    "openai/gpt-4o": ("openai/*", "gpt-4o", "a/*", True),
    "openai/a/b": ("openai/*", "a/b", "a/*", True),
    "openai/ft": ("openai/*", "ft", "a/*", True),
    "openai/ft/": ("openai/*", "ft/", "a/*", True),
    "openai/ft/mine": ("openai/ft/*", "ft:mine:x", "b/ft:*:x", True),
    "openai/*": ("openai/*", "*", "a/*", True),
    "openai/": ("*", "any/openai/", "a/any/*", True),
    "all/whatever": ("all/*", "one", "b/one", False),
    "Fast": ("*", "any/Fast", "a/any/*", True),
    "naïve\n": ("*", "any/naïve\n", "a/any/*", True),
}


@pytest.mark.parametrize("requested, expected", ROUTES.items(), ids=[repr(name) for name in ROUTES])
def test_leads_to(requested: str, expected: tuple[str, str, str, bool], tmp_path: Path) -> None:
    route = Routes(settings(tmp_path)).route(requested)

    assert route is not None
    (target,) = route.targets
    assert expected == (route.name, target.model, target.label, target.passed_through)
    assert target.upstream.name == target.label.partition("/")[0]


@pytest.mark.parametrize("requested", ["", "slow", "fas", "fast ", "openai", "openai/", "FAST"])
def test_leads_nowhere(requested: str, tmp_path: Path) -> None:
    assert Routes(settings(tmp_path, "fast", "openai/*")).route(requested) is None


@pytest.mark.parametrize(
    "patterns, expected",
    [
        (("*",), ("fast", "openai/fast")),
        (("openai/*",), ("openai/fast",)),
        (("fast",), ("fast",)),
        (("openai/gpt-4o", "fast"), ("fast", "openai/gpt-4o")),
        (("nothing",), ()),
        (("fast", "fast"), ("fast",)),
    ],
)
def test_a_caller_sees_exact_names_that_it_may_use(
    patterns: tuple[str, ...], expected: tuple[str, ...], tmp_path: Path
) -> None:
    routes = Routes(settings(tmp_path, "fast", "openai/fast", "openai/*"))

    assert expected == routes.visible_models(Caller("dev", patterns))


def test_a_rule_is_no_model(tmp_path: Path) -> None:
    assert () == Routes(settings(tmp_path, "openai/*")).visible_models(ANYONE)
