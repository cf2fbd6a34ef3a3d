"""Keys on a terminal: a table, or JSON."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from sluicegate.access.register import Shown

#: The columns of the list, and what each shows of a key.
_COLUMNS: Final = (
    "name",
    "state",
    "key_begins",
    "models",
    "group",
    "limits",
    "expires",
    "created",
    "rotated",
    "revoked",
)


def written(found: Shown | list[Shown], shape: str) -> str:
    """Write a key, or a list of them, as ``json`` or as a ``table``; a new key stands in a line of its own."""
    if shape == "json":
        return msgspec.json.format(msgspec.json.encode(found), indent=2).decode()
    if isinstance(found, dict):
        lines = [f"{name}: {_cell(value)}" for name, value in found.items() if name != "key"]
        if "key" in found:
            lines += ["", "This key is shown now and never again:", str(found["key"])]
        return "\n".join(lines)
    cells = [[*_COLUMNS], *([_cell(key[name]) for name in _COLUMNS] for key in found)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)


def _cell(value: Any) -> str:  # noqa: ANN401  # a value of JSON
    if isinstance(value, list):
        return ",".join(map(str, value))
    if isinstance(value, dict):
        return " ".join(f"{name}={_plain(each)}" for name, each in value.items()) or "-"
    return "-" if value is None else str(value)


def _plain(value: object) -> str:
    return str(value) if isinstance(value, str | int | float) else msgspec.json.encode(value).decode()
