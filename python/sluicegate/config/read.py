"""From what a file says to frozen structs, with every problem in it, not only the first.

Rules: a problem is a path and words; a path gets one problem, the first. What is wrong is replaced by its default, or
by ``msgspec.UNSET`` if it has none, so that the checks across settings can still run; such a result never leaves
:mod:`sluicegate.config`, since loading ends in an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import re
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import msgspec

from sluicegate.config.readers import Wrong, unknown
from sluicegate.config.setting import Setting
from sluicegate.config.values import kind_of, shown

S = TypeVar("S", bound=msgspec.Struct)

_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


class Problem(msgspec.Struct, frozen=True):
    """Something wrong: where (``models.fast.targets[1].upstream``), and what would be right."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class Problems:
    """What is wrong with a configuration so far."""

    def __init__(self) -> None:
        self._found: dict[str, Problem] = {}

    def add(self, path: str, message: str) -> None:
        """Note a problem, unless its path has one already."""
        self._found.setdefault(path, Problem(path, message))

    def below(self, path: str) -> bool:
        """Whether something is wrong at a path or in a part of it."""
        return any(found == path or found.startswith((f"{path}.", f"{path}[")) for found in self._found)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._found.values())

    def __len__(self) -> int:
        return len(self._found)


class Field(msgspec.Struct, frozen=True):
    """One field of a struct of settings, taken apart. ``kind`` is its type without None; ``required``: no default."""

    name: str
    kind: object
    setting: Setting
    default: object

    @property
    def required(self) -> bool:
        """Whether the file must say it."""
        return self.default is msgspec.NODEFAULT


def fields(struct: type[msgspec.Struct]) -> tuple[Field, ...]:
    """Return the fields that a file may set, in their order."""
    hints = get_type_hints(struct, include_extras=True)
    found = []
    for info in msgspec.structs.fields(struct):
        hint = hints[info.name]
        if get_origin(hint) is Annotated:
            kind, setting = get_args(hint)
            found.append(Field(info.name, _without_none(kind), setting, info.default))
    return tuple(found)


def is_read(value: object) -> bool:
    """Whether a value was read; if not, the problem is noted and the value's type is not what it says."""
    return value is not msgspec.UNSET


def child(path: str, name: str) -> str:
    """Return the path of a named part; names that are not plain are quoted: ``models."openai/*"``."""
    step = name if _BARE.fullmatch(name) else shown(name)
    return f"{path}.{step}" if path else step


def read_struct(struct: type[S], raw: object, path: str, problems: Problems) -> S:
    """Read a struct from a mapping."""
    known = fields(struct)
    if not isinstance(raw, dict):
        problems.add(path, f"must be a mapping of names to values, not {kind_of(raw)}")
        return struct(**{field.name: _nothing(field) for field in known})
    values = _mapping(raw, path, problems)
    for name in values:
        if name not in {field.name for field in known}:
            problems.add(child(path, name), unknown("setting", name, (field.name for field in known)))
    said = {field.name: values.get(field.name) for field in known}
    said |= {field.name: field.setting.null for field in known if field.name in values and said[field.name] is None}
    return struct(**{field.name: _read_field(field, said[field.name], path, problems) for field in known})


def _read_field(field: Field, raw: object, path: str, problems: Problems) -> object:
    path = child(path, field.name)
    if raw is None:
        if field.required:
            problems.add(path, f"is missing; {field.setting.about}")
        return _nothing(field)
    value = _read(field.kind, field.setting, raw, path, problems)
    return value if is_read(value) else _nothing(field)


def _nothing(field: Field) -> object:
    """What stands for a field that the file does not say, or says wrongly."""
    if not field.required:
        return field.default
    return () if get_origin(field.kind) is tuple else msgspec.UNSET


def _read(kind: object, setting: Setting, raw: object, path: str, problems: Problems) -> object:
    origin = get_origin(kind)
    if origin is tuple:
        if not isinstance(raw, list):
            problems.add(path, f"must be a list, not {kind_of(raw)}")
            return ()
        part = get_args(kind)[0]
        return tuple(_read(part, setting, item, f"{path}[{i}]", problems) for i, item in enumerate(raw))
    if origin is Mapping:
        part = get_args(kind)[1]
        return MappingProxyType(
            {
                name: _read(part, setting, item, child(path, written), problems)
                for written, item in _mapping(raw, path, problems).items()
                if (name := _name(setting, written, path, problems))
            }
        )
    if setting.read is None:
        return read_struct(cast("type[msgspec.Struct]", kind), raw, path, problems)
    try:
        return setting.read(raw)
    except Wrong as wrong:
        problems.add(path, str(wrong))
        return msgspec.UNSET


def _mapping(raw: object, path: str, problems: Problems) -> Mapping[str, object]:
    if not isinstance(raw, dict):
        problems.add(path, f"must be a mapping of names to values, not {kind_of(raw)}")
        return {}
    for name in raw:
        if not isinstance(name, str):
            problems.add(child(path, str(name)), f"{shown(name)} is not a name; quote it")
    return {name: value for name, value in raw.items() if isinstance(name, str)}


def _name(setting: Setting, written: str, path: str, problems: Problems) -> str:
    try:
        return setting.name(written)
    except Wrong as wrong:
        problems.add(child(path, written), str(wrong))
        return ""


def _without_none(kind: object) -> object:
    if get_origin(kind) in {Union, UnionType}:
        (only,) = (part for part in get_args(kind) if part is not NoneType)
        return only
    return kind
