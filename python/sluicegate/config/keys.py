"""Settings of who may ask: keys of the configuration, and those that are made while it serves."""

from __future__ import annotations

from collections.abc import Mapping
import re
from typing import Annotated, Final

from sluicegate.config.allowances import Allowance
from sluicegate.config.money import moment
from sluicegate.config.read import Problem, Problems, read_struct
from sluicegate.config.readers import Wrong, access_key, label, model_name, text
from sluicegate.config.setting import Setting
from sluicegate.config.values import Secret, shown

#: What keys begin with that are made here.
DEFAULT_KEY_PREFIX: Final = "sk-sg-"
_PREFIX = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,30}[_-])?", re.ASCII)
_MODELS: Final = Setting("names it may use; `*` for all, `openai/*` for all below; others are answered 403", model_name)
_GROUP: Final = Setting("a name under `groups`: its limits hold for all its keys together", label)


class Key(Allowance, frozen=True, kw_only=True):
    """A key that callers present, and its limits."""

    name: Annotated[str, Setting("who it is, in rows and logs; unique", text)]
    key: Annotated[
        Secret, Setting("the key: 8 to 1024 visible ASCII characters; kept as a digest", access_key, "secret")
    ]
    models: Annotated[tuple[str, ...], _MODELS] = ("*",)
    group: Annotated[str | None, _GROUP] = None


class StoredKey(Allowance, frozen=True, kw_only=True):
    """What is said of a key whose digest is in the store."""

    name: Annotated[str, Setting("who it is, in rows and logs; unique", label)]
    models: Annotated[tuple[str, ...], _MODELS] = ("*",)
    group: Annotated[str | None, _GROUP] = None
    expires: Annotated[int | None, Setting("a date or a time, UTC, from when on it is nobody's", moment)] = None


def read_stored_key(raw: Mapping[str, object]) -> tuple[StoredKey, tuple[Problem, ...]]:
    """Read what is said of a key, named as in the configuration; with problems it must not be used."""
    problems = Problems()
    key = read_struct(StoredKey, dict(raw), "", problems)
    if not key.models:
        problems.add("models", "is empty; leave it out for all models, or name some")
    return key, tuple(problems)


def key_prefix(value: object) -> str:
    """Read what keys begin with."""
    read = text(value)
    if _PREFIX.fullmatch(read) is None:
        raise Wrong(
            f"{shown(value)} is no prefix; write letters, digits, `-` and `_`, one of these two at its end: sk-me-"
        )
    return read


#: The names of what limits a key.
LIMITS: Final = Allowance.__struct_fields__
