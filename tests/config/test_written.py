"""A configuration that was read is read again the same, whatever has become of its files, and never shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sluicegate.config import ConfigError, Settings, Written, check_reload, check_upgrade, facts, load
from sluicegate.demo.tls import make_authority

SECRET = "sk-0123456789-secret"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration that names a key's file, an authority's and a certificate's."""
    authority = make_authority(tmp_path)
    (tmp_path / "key.txt").write_text(SECRET, encoding="utf-8")
    settings = {
        "upstreams": {
            "local": {
                "dialect": "openai",
                "base_url": "https://localhost:8000/v1",
                "api_key": "${file:key.txt}",
                "ca_file": str(authority.ca_file),
            }
        },
        "models": {"fast": {"targets": [{"upstream": "local", "model": "qwen3-8b"}]}},
        "tls": {"cert": str(authority.cert_file), "key": str(authority.key_file)},
    }
    file = tmp_path / "gate.json"
    file.write_text(json.dumps(settings), encoding="utf-8")
    return file


def without_context(settings: Settings) -> str:
    return repr(settings).replace(repr(settings.tls and settings.tls.context), "")


def test_the_files_may_change_or_go(file: Path) -> None:
    read = load(file, {})
    for each in file.parent.iterdir():
        each.unlink()
    again = load(file, {}, read.written)

    assert without_context(again) == without_context(read)
    assert again.upstreams["local"].api_key == read.upstreams["local"].api_key
    assert again.tls is not None
    assert again.tls.context is not None
    with pytest.raises(ConfigError):
        load(file, {})


def test_a_file_that_was_not_read_then_is_not_read_now(file: Path) -> None:
    texts = load(file, {}).written.texts
    del texts[str(file.parent / "key.txt")]

    with pytest.raises(ConfigError, match=r"key\.txt\" was not read when the configuration was"):
        load(file, {}, Written(texts))


def test_nothing_of_it_is_shown(file: Path) -> None:
    settings = load(file, {})

    assert SECRET in settings.written.texts.values()
    assert SECRET not in repr(settings) + str(settings.written) + repr(facts(settings))


def test_what_running_workers_cannot_take_over(file: Path) -> None:
    running = load(file, {})
    changed = json.loads(file.read_text(encoding="utf-8")) | {
        "listen": "127.0.0.1:1",
        "admin": "127.0.0.1:2",
        "workers": 3,
        "store": "none",
        "tls": None,
    }
    file.write_text(json.dumps(changed), encoding="utf-8")
    read = load(file, {})

    assert [one.path for one in check_reload(running, running)] == []
    assert [one.path for one in check_reload(running, read)] == ["listen", "admin", "tls", "workers", "store"]
    assert [one.path for one in check_upgrade(facts(running), facts(read))] == ["listen", "admin", "tls"]
