"""Keys and what was used, by the command line."""

from __future__ import annotations

import json
import os
from pathlib import Path
import subprocess
import sys
from typing import Any

import pytest
from tests.kit.ledger import drained, finished, frame, spool, sqlite

import sluicegate

GATE = {
    "upstreams": {"local": {"dialect": "openai", "base_url": "http://127.0.0.1:8000/v1"}},
    "models": {"fast": {"targets": [{"upstream": "local", "model": "qwen3-8b"}]}},
    "groups": {"blue": {"requests_per_minute": 60}},
    "key_prefix": "cai_api_",
}


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    file = tmp_path / "gate.yaml"
    file.write_text(json.dumps(GATE | {"store": f"sqlite:///{tmp_path / 'ledger.db'}"}), encoding="utf-8")
    return file


def run(gate: Path, *words: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "sluicegate", *words, "--config", str(gate)],
        env=os.environ | {"PYTHONPATH": str(Path(sluicegate.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        cwd=gate.parent,
    )
    return done.returncode, done.stdout, done.stderr


def told(gate: Path, *words: str) -> Any:
    code, said, wrong = run(gate, *words, "--format", "json")
    assert (code, wrong) == (0, "")
    return json.loads(said)


def test_a_key_is_made_listed_rotated_and_revoked(gate: Path) -> None:
    made = told(
        gate, "keys", "create", "app", "--models", "fast,a/*", "--group", "blue",
        "--limit", "tokens_per_minute=9000", "--expires", "2036-01-31",
    )  # fmt: skip
    assert (made["key"][:8], len(made["key"]), made["state"]) == ("cai_api_", 46, "good")
    assert (made["models"], made["group"], made["limits"]) == (["fast", "a/*"], "blue", {"tokens_per_minute": 9000})
    assert made["expires"] == "2036-01-31T00:00:00Z"
    rotated = told(gate, "keys", "rotate", "app", "--overlap", "3600")
    assert rotated["key"] != made["key"]
    (listed,) = told(gate, "keys", "list")
    assert listed == {name: value for name, value in rotated.items() if name != "key"}

    code, said, wrong = run(gate, "keys", "revoke", "app")
    assert (code, wrong, "state: revoked" in said.splitlines()) == (0, "", True)
    code, said, wrong = run(gate, "keys", "list")
    head, line = said.splitlines()
    assert (head.split()[:3], line.split()[:3]) == (
        ["name", "state", "key_begins"],
        ["app", "revoked", listed["key_begins"]],
    )
    database = b"".join(path.read_bytes() for path in gate.parent.glob("ledger.db*"))
    assert [key for key in (made["key"], rotated["key"]) if key.encode() in database] == []


def test_a_new_key_stands_in_a_line_of_its_own(gate: Path) -> None:
    code, said, _ = run(gate, "keys", "create", "app")
    *_, words, key = said.splitlines()
    assert (code, words, key[:8]) == (0, "This key is shown now and never again:", "cai_api_")


REFUSED = {
    "a name that is none": (["create", "a b"], 'name: "a b" is not a name; use 1 to 64 letters'),
    "a limit nobody knows": (["create", "x", "--limit", "colour=red"], 'colour: unknown setting "colour"'),
    "a group nobody knows": (["create", "x", "--group", "red"], 'group: unknown group "red"; known: blue'),
    "a day that is none": (["create", "x", "--expires", "soon"], 'expires: "soon" is not a date'),
    "one that is not there": (["revoke", "x"], "There is no such key in the store."),
}


def test_what_is_refused_says_what_would_be_right(gate: Path) -> None:
    for words, message in REFUSED.values():
        code, said, wrong = run(gate, "keys", *words)
        assert (code, said, wrong[: len(message)]) == (1, "", message)


def test_without_a_store_there_are_no_keys(gate: Path) -> None:
    gate.write_text(json.dumps(GATE | {"store": "none"}), encoding="utf-8")
    assert run(gate, "keys", "list") == (1, "", "There is no store: `store` is `none`.\n")


def test_reconcile_lists_what_differs_and_says_so_by_its_exit_code(gate: Path) -> None:
    export = gate.parent / "export.csv"
    with sqlite(gate.parent) as store:
        with spool(gate.parent / "spools") as into:
            for number in (1, 2):
                row = finished(number, upstream_request_id=f"up_{number}", target="local/qwen3-8b")
                into.finish(frame(into.tail.next_sequence(), row))
            path = into.path
        drained(path, store)
    words = ("reconcile", str(export), "--upstream", "local")
    export.write_text("request_id,input_tokens,output_tokens\nup_1,100,50\nup_2,100,50\n", encoding="utf-8")
    assert run(gate, *words) == (0, "", "2 requests agree, 0 differences\n")

    export.write_text("request_id,input_tokens,output_tokens\nup_1,100,50\nup_2,100,49\n", encoding="utf-8")
    code, said, wrong = run(gate, *words, "--format", "json")
    difference = {"what": "output_tokens", "upstream_request_id": "up_2", "id": "req_2", "here": 50, "there": 49}
    assert (code, json.loads(said), wrong) == (
        1,
        [difference | {"provenance": "provider"}],
        "1 requests agree, 1 differences\n",
    )
    assert run(gate, *words)[1].splitlines()[1].split()[:2] == ["output_tokens", "up_2"]
    assert run(gate, "reconcile", str(export), "--upstream", "other")[0] == 2
    assert run(gate, *words, "--field", "colour=red")[0] == 2
    export.write_text("nothing", encoding="utf-8")
    assert run(gate, *words)[0] == 1
