"""The house keeps its own rules; and each rule, shown a small tree that breaks it, says where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.kit import house
from tests.kit.source import Tree

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Rule:
    """A rule, a file that breaks it (more than one: by path), and one that comes near but does not."""

    check: Callable[[Tree], list[str]]
    bad: dict[str, str]
    good: dict[str, str]
    offence: str


PY = "python/sluicegate"
RULES = [
    Rule(
        house.imports_go_down,
        {f"{PY}/policy/keys.py": "from sluicegate.gateway import answer\n", f"{PY}/gateway.py": ""},
        {f"{PY}/gateway.py": "from sluicegate.policy import keys\n", f"{PY}/policy/keys.py": ""},
        "imports sluicegate.gateway, which is above it",
    ),
    Rule(
        house.imports_go_down,
        {f"{PY}/attic/box.py": ""},
        {f"{PY}/web/app.py": "from .. import gateway\n", f"{PY}/gateway.py": ""},
        "the room 'attic' has no place in the layers",
    ),
    Rule(
        house.imports_go_down,
        {f"{PY}/config.py": "from . import web\n", f"{PY}/web/__init__.py": ""},
        {f"{PY}/web/__init__.py": "from sluicegate import config\n", f"{PY}/config.py": ""},
        "imports sluicegate.web, which is above it",
    ),
    Rule(
        house.no_circles,
        {
            f"{PY}/web/a.py": "from sluicegate.web import b\n",
            f"{PY}/web/b.py": "from . import c\n",
            f"{PY}/web/c.py": "import sluicegate.web.a\n",
        },
        {
            f"{PY}/web/a.py": "from . import b\n",
            f"{PY}/web/b.py": "from . import c\n",
            f"{PY}/web/c.py": "import json\n",
        },
        "by a circle",
    ),
    Rule(
        house.rust_has_no_circles,
        {
            "rust/src/relay.rs": "mod last;\nmod story;\nuse story::Story;\n",
            "rust/src/relay/last.rs": "use super::story::Story;\n",
            "rust/src/relay/story.rs": "use super::{last::Last, Step};\n",
        },
        {
            "rust/src/relay.rs": "mod last;\nmod story;\nuse story::Story;\n",
            "rust/src/relay/last.rs": "use crate::plan::Plan;\n// use super::story::Story;\n",
            "rust/src/relay/story.rs": "use super::{last::Last, Step};\nuse super::super::plan;\n",
            "rust/src/plan.rs": "#[cfg(test)]\nmod tests {\n    use crate::relay::Relay;\n}\n",
        },
        "rust/src/relay/last.rs:1 needs itself by a circle",
    ),
    Rule(
        house.rust_has_no_circles,
        {
            "rust/src/a/mod.rs": "pub mod inner;\n",
            "rust/src/a/inner.rs": "fn f() -> crate::b::B {}\n",
            "rust/src/b.rs": "use crate::{\n    c::{self, C},\n    d,\n};\n",
            "rust/src/c.rs": "use super::a::inner::X;\n",
            "rust/src/d.rs": "",
        },
        {
            "rust/src/a/mod.rs": "pub mod inner;\npub use self::inner::X;\n",
            "rust/src/a/inner.rs": "use super::Y;\nfn f() -> crate::b::B {}\n",
            "rust/src/b.rs": "use crate::c;\n",
            "rust/src/c.rs": "",
            "rust/src/c/tests.rs": "use crate::a::X;\n",
        },
        "rust/src/c.rs:1 needs itself by a circle",
    ),
    Rule(
        house.imports_stand_at_the_top,
        {f"{PY}/cli.py": "def serve():\n    import uvloop\n"},
        {f"{PY}/cli.py": "import uvloop\n"},
        "import inside serve",
    ),
    Rule(
        house.aiohttp_is_the_edge,
        {f"{PY}/gateway.py": "from aiohttp.web import Response\n"},
        {f"{PY}/web/app.py": "from aiohttp import web\n", f"{PY}/demo/load.py": "import aiohttp\n"},
        "imports aiohttp",
    ),
    Rule(
        house.rust_is_behind_seven_rooms,
        {f"{PY}/gateway.py": "from sluicegate._native import Plan\n"},
        {
            f"{PY}/upstream/relay.py": "from sluicegate._native import Plan\n",
            f"{PY}/telemetry/metrics.py": "from .. import _native\n",
        },
        "imports sluicegate._native",
    ),
    Rule(
        house.settings_come_from_config,
        {f"{PY}/cli.py": "import os\nKEY = os.environ['KEY']\n"},
        {f"{PY}/config.py": "import os\nimport yaml\nKEY = os.environ['KEY']\n"},
        "reads os.environ",
    ),
    Rule(
        house.settings_come_from_config,
        {f"{PY}/cli.py": "import yaml\n"},
        {f"{PY}/config/load.py": "import tomllib\n"},
        "imports yaml",
    ),
    Rule(
        house.policy_is_pure,
        {f"{PY}/policy/retries.py": "async def decide(): ...\n"},
        {f"{PY}/policy/retries.py": "def decide(now: float) -> float: return now\n"},
        "is asynchronous",
    ),
    Rule(
        house.policy_is_pure,
        {f"{PY}/policy/retries.py": "from time import monotonic\n"},
        {f"{PY}/policy/keys.py": "import hashlib\n"},
        "imports time.monotonic",
    ),
    Rule(
        house.policy_is_pure,
        {f"{PY}/policy/keys.py": "def read(): return open('keys')\n"},
        {f"{PY}/policy/keys.py": "def read(opened): return opened\n"},
        "calls open",
    ),
    Rule(
        house.vendors_stay_in_their_rooms,
        {f"{PY}/gateway.py": "if dialect == 'openai-chat': pass\n"},
        {f"{PY}/gateway.py": '"""Knows nothing of OpenAI."""\n', f"{PY}/dialects/openai.py": "NAME = 'openai'\n"},
        "names openai",
    ),
    Rule(
        house.vendors_stay_in_their_rooms,
        {"rust/src/relay.rs": "fn f(d: Dialect) -> bool { d == Dialect::AnthropicMessages }\n"},
        {"rust/src/relay.rs": "// As Gemini\n#[cfg(test)]\nmod tests {\n    use Dialect::AnthropicMessages;\n}\n"},
        "names Anthropic",
    ),
    Rule(
        house.python_is_behind_one_rust_room,
        {"rust/src/relay.rs": "use pyo3::prelude::*;\n"},
        {"rust/src/python/mod.rs": "use pyo3::prelude::*;\n", "rust/src/relay.rs": "// not pyo3's\n"},
        "names pyo3",
    ),
    Rule(
        house.nothing_is_unsafe,
        {"rust/src/sse.rs": "fn f() { unsafe { g() } }\n"},
        {"rust/src/sse.rs": "// nothing unsafe here\n", "rust/src/python/lent.rs": "fn f() { unsafe { g() } }\n"},
        "is unsafe",
    ),
    Rule(
        house.nothing_is_unsafe,
        {"rust/src/relay.rs": "let now = Instant::now();\n"},
        {"rust/src/python/bank.rs": "let now = Instant::now();\n", "rust/src/sse/tests.rs": "use std::thread;\n"},
        "the core has no I/O and no clock",
    ),
    Rule(
        house.modules_hold_no_state,
        {f"{PY}/web/app.py": "LIVE = set()\ndef enter(x):\n    LIVE.add(x)\n"},
        {f"{PY}/web/app.py": "TABLE = {'a': 1}\ndef enter(x):\n    live = set()\n    live.add(x)\n"},
        "changes LIVE",
    ),
    Rule(
        house.modules_hold_no_state,
        {f"{PY}/web/app.py": "cache: dict[str, str] = {}\n"},
        {f"{PY}/web/app.py": "class A:\n    def f(self):\n        cache = {}\n"},
        "cache is mutable and no constant",
    ),
    Rule(
        house.modules_hold_no_state,
        {f"{PY}/web/app.py": "app = None\ndef start():\n    global app\n    app = 1\n"},
        {f"{PY}/web/app.py": "APP = None\n"},
        "global",
    ),
    Rule(
        house.files_are_short,
        {"rust/src/relay.rs": "//\n" * 401},
        {
            "rust/src/relay.rs": "//\n" * 400,
            "rust/src/sse/tests.rs": "//\n" * 900,
            "python/sluicegate/_native.pyi": "#\n" * 900,
        },
        "has 401 lines",
    ),
    Rule(
        house.names_say_something,
        {f"{PY}/web/utils.py": ""},
        {f"{PY}/web/message.py": "def handler(): ...\n"},
        "has a name that says nothing",
    ),
    Rule(
        house.names_say_something,
        {f"{PY}/web/app.py": "class KeyManager: ...\n"},
        {f"{PY}/web/app.py": "def processed(): ...\n"},
        "KeyManager says nothing",
    ),
    Rule(
        house.names_say_something,
        {"rust/src/sse.rs": "pub fn handle_event() {}\n"},
        {"rust/src/sse.rs": "pub fn read_event() {}\n"},
        "handle_event says nothing",
    ),
    Rule(
        house.tests_mirror_policy,
        {f"{PY}/policy/keys.py": ""},
        {f"{PY}/policy/keys.py": "", "tests/policy/test_keys.py": ""},
        "tests/policy/test_keys.py:1 is missing",
    ),
    Rule(
        house.tests_mirror_policy,
        {"tests/policy/test_gone.py": ""},
        {},
        "tests/policy/test_gone.py:1 tests no module",
    ),
]
CHECKS = {rule.check.__name__: rule.check for rule in RULES}


def plant(root: Path, files: dict[str, str]) -> Tree:
    """A tree with these files."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return Tree(root)


@pytest.mark.parametrize("name", CHECKS)
def test_the_house_is_in_order(name: str) -> None:
    assert CHECKS[name](Tree(ROOT)) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.check.__name__}: {rule.offence}")
def test_a_broken_rule_is_seen(rule: Rule, tmp_path: Path) -> None:
    offences = rule.check(plant(tmp_path, rule.bad))
    assert len([offence for offence in offences if rule.offence in offence]) >= 1, offences


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.check.__name__}: not {rule.offence}")
def test_what_only_looks_like_an_offence_passes(rule: Rule, tmp_path: Path) -> None:
    assert rule.check(plant(tmp_path, rule.good)) == []


def test_there_is_a_house_to_look_at() -> None:
    assert len(list(Tree(ROOT).python())) >= 2
    assert len(list(Tree(ROOT).rust())) >= 4
