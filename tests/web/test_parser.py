"""Fault 142: without aiohttp's C parser the gateway does not start, and says what to do."""

from __future__ import annotations

import json
import os
from pathlib import Path
import subprocess
import sys

from tests.kit.gateway import configuration


def test_142_without_the_c_parser_it_refuses_to_start(tmp_path: Path) -> None:
    file = tmp_path / "sluicegate.yaml"
    upstreams = {"u": {"dialect": "openai", "base_url": "http://127.0.0.1:9/v1"}}
    models = {"m": {"targets": [{"upstream": "u", "model": "m"}]}}
    file.write_text(json.dumps(configuration(upstreams, models)), encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-m", "sluicegate", "serve", "--config", str(file)],
        env={**os.environ, "AIOHTTP_NO_EXTENSIONS": "1"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "C parser is missing" in ended.stderr
    assert "AIOHTTP_NO_EXTENSIONS" in ended.stderr
    assert "Traceback" not in ended.stderr
