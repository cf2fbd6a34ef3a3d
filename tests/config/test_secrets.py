"""Secrets are seen nowhere."""

from __future__ import annotations

from collections.abc import Callable
import copy
import json
from pathlib import Path
import pickle

import msgspec
import pytest

from sluicegate.config import ConfigError, Secret, load

SECRET = "sk-do-not-show-0123456789"


def test_no_text_shows_it() -> None:
    secret = Secret(SECRET)

    assert ["***"] * 4 == [str(secret), f"{secret}", f"{secret:>40}", "%s" % secret]  # noqa: UP031
    assert ["Secret(***)"] * 3 == [repr(secret), f"{secret!r}", "%r" % secret]  # noqa: UP031
    assert SECRET == secret.reveal()


@pytest.mark.parametrize("write", [pickle.dumps, copy.deepcopy, json.dumps, msgspec.json.encode, vars])
def test_nothing_writes_it(write: Callable[[object], object]) -> None:
    with pytest.raises(TypeError) as refused:
        write(Secret(SECRET))

    assert SECRET not in str(refused.value)


def test_secrets_are_equal_if_their_texts_are() -> None:
    assert Secret(SECRET) == Secret(SECRET)
    assert Secret(SECRET) != Secret("sk-other")
    assert Secret(SECRET) != SECRET
    assert 1 == len({Secret(SECRET), Secret(SECRET)})


def test_settings_can_be_printed(tmp_path: Path) -> None:
    file = tmp_path / "gate.json"
    file.write_text(
        json.dumps(
            {
                "admin_token": SECRET + "1",
                "upstreams": {
                    "a": {
                        "dialect": "openai",
                        "base_url": "http://a/v1",
                        "api_key": SECRET + "2",
                        "headers": {"x-team": SECRET + "3"},
                    }
                },
                "models": {"b": {"targets": [{"upstream": "a", "model": "b"}]}},
                "keys": [{"name": "c", "key": SECRET + "4"}],
            }
        ),
        encoding="utf-8",
    )

    assert SECRET not in repr(load(file, {}))


#: A secret in the wrong place, or wrong in the right place: the message must say so without it.
MISTAKES = {
    "a key with a space": {"keys": [{"name": "a", "key": SECRET + " "}]},
    "a key as a list": {"keys": [{"name": "a", "key": [SECRET]}]},
    "a key as a mapping": {"keys": [{"name": "a", "key": {SECRET: 1}}]},
    "a key alone": {"keys": SECRET},
    "a list of keys alone": {"keys": [SECRET]},
    "a misspelt setting": {"admin_tokn": SECRET},
    "a header that is text": {"upstreams": {"a": {"headers": f"authorization: {SECRET}"}}},
    "a header of two lines": {"upstreams": {"a": {"headers": {"authorization": f"Bearer {SECRET}\r\nx: y"}}}},
    "a user in a URL": {"upstreams": {"a": {"base_url": f"https://me:{SECRET}@host/v1"}}},
    "a key in a query": {"upstreams": {"a": {"base_url": f"https://host/v1?key={SECRET}"}}},
    "a store's password": {"store": f"postgresql://me:{SECRET}@host/db"},
    "another store's password": {"shared": f"redis://:{SECRET}@host"},
    "an open reference": {"admin_token": f"${{{SECRET}"},
    "a variable as a URL": {"upstreams": {"a": {"base_url": "${KEY}"}}},
    "a variable as an address": {"listen": "${KEY}"},
    "a variable as a number": {"workers": "${KEY}"},
    "a variable as a duration": {"timeouts": {"idle": "${KEY}"}},
    "a variable as a size": {"limits": {"body": "x${KEY}"}},
    "a variable as a choice": {"on_disconnect": "${KEY}"},
    "a variable as an upstream": {"models": {"b": {"targets": [{"upstream": "${KEY}", "model": "b"}]}}},
    "a variable as a model with stars": {"models": {"b": {"targets": [{"upstream": "a", "model": "*${KEY}*"}]}}},
    "a variable as a model in a key": {"keys": [{"name": "a", "key": "x" * 8, "models": ["${KEY}"]}]},
    "a variable as a path": {"mounts": [{"prefix": "${KEY}"}]},
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_no_message_shows_it(mistake: object, tmp_path: Path) -> None:
    file = tmp_path / "gate.json"
    file.write_text(json.dumps(mistake), encoding="utf-8")

    with pytest.raises(ConfigError) as refused:
        load(file, {"KEY": SECRET})

    assert SECRET not in str(refused.value)
    assert SECRET not in repr(refused.value.problems)


@pytest.mark.parametrize("name", ["gate.yaml", "gate.toml"])
@pytest.mark.parametrize("text", [f"'{SECRET}", f"a: [{SECRET}\n:", f'"{SECRET}\\q"', f"a = {SECRET}", f"\t{SECRET}"])
def test_no_syntax_error_shows_it(name: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError) as refused:
        load(file, {})

    assert SECRET not in str(refused.value)
