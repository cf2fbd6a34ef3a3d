"""The command line as a process."""

from __future__ import annotations

import json
import os
from pathlib import Path
import subprocess
import sys
import tomllib

import pytest

import sluicegate
from sluicegate.config import Settings
from sluicegate.config.read import fields

ROOT = Path(__file__).resolve().parents[2]
GATE = {
    "listen": "127.0.0.1:0",
    "upstreams": {"local": {"dialect": "openai", "base_url": "http://127.0.0.1:8000/v1", "api_key": "${LOCAL_KEY}"}},
    "models": {"fast": {"targets": [{"upstream": "local", "model": "qwen3-8b"}]}},
    "keys": [{"name": "dev", "key": "sk-0123456789", "tokens_per_minute": 600}],
}


def run(*words: str, **environ: str) -> tuple[int, str, str]:
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LD_LIBRARY_PATH"}}
    done = subprocess.run(
        [sys.executable, "-m", "sluicegate", *words],
        env=kept | {"PYTHONPATH": str(Path(sluicegate.__file__).parents[1])} | environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    file = tmp_path / "gate.yaml"
    file.write_text(json.dumps(GATE), encoding="utf-8")
    return file


def test_version() -> None:
    crate = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))["package"]["version"]

    assert (0, f"sluicegate {crate}\n", "") == run("--version")


def test_check_says_what_is_served(gate: Path) -> None:
    summary = (
        f"ok: {gate}\n"
        "listen 127.0.0.1:0, admin 127.0.0.1:9090\n"
        "upstreams: local\nmodels: fast\nmounts: /v1 as openai\nkeys: dev\n"
    )
    warning = (
        "warning: keys[0].tokens_per_minute: a request that says no max_tokens reserves 4,096 (reserve_default), "
        "all of these 600, so that such requests are served one at a time\n"
    )

    assert (0, summary, warning) == run("check", "--config", str(gate), LOCAL_KEY="sk-local")


@pytest.mark.parametrize("command", ["check", "serve"])
def test_all_that_is_wrong_is_said_at_once(command: str, gate: Path) -> None:
    gate.write_text(json.dumps(GATE | {"workers": 0, "listn": ""}), encoding="utf-8")

    status, out, err = run(command, "--config", str(gate))

    assert (1, "") == (status, out)
    assert [
        (
            "upstreams.local.api_key: the environment variable LOCAL_KEY is not set; "
            "set it, or write ${LOCAL_KEY:-default}"
        ),
        (
            f'listn: unknown setting "listn"; known: {", ".join(field.name for field in fields(Settings))}; '
            'did you mean "listen"?'
        ),
        "workers: 0 is not a whole number from 1 to 1,024",
        f"3 errors in {gate}",
    ] == err.splitlines()


@pytest.mark.parametrize("command", ["check", "serve"])
def test_without_a_file_a_key_is_needed(command: str) -> None:
    refused = (
        "OPENAI_API_KEY: is not set; set it, or name a configuration file with --config FILE\n"
        "1 error in the environment\n"
    )

    assert (1, "", refused) == run(command)


def test_check_without_a_file() -> None:
    status, out, err = run("check", OPENAI_API_KEY="sk-provider")

    assert (0, "", True) == (status, err, out.startswith("ok: openai/* by OPENAI_API_KEY, on loopback\n"))
    assert "sk-provider" not in out


@pytest.mark.parametrize("words", [("serv",), ("serve", "--confg", "x"), ("check", "--config")])
def test_a_wrong_command_line(words: tuple[str, ...]) -> None:
    status, out, err = run(*words)

    assert (2, "") == (status, out)
    assert "Error: " in err


def test_checking_loads_no_server(gate: Path) -> None:
    status, _, err = run("check", "--config", str(gate), LOCAL_KEY="sk-local", PYTHONPROFILEIMPORTTIME="1")
    loaded = {line.rpartition("|")[2].strip() for line in err.splitlines() if line.startswith("import time:")}

    assert 0 == status
    assert "sluicegate.config" in loaded
    assert set() == loaded & {"aiohttp", "uvloop", "sluicegate.web.app", "sluicegate.demo.show"}
