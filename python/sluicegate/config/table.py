"""The README's table of settings, from the settings themselves: ``python -m sluicegate.config.table``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast, get_args, get_origin

import msgspec

from sluicegate.config.model import Settings
from sluicegate.config.read import Field, fields
from sluicegate.config.readers import bytes_text

_HEAD = """\
| setting | default | unit | what it is, and what happens at the limit |
|---|---|---|---|
"""


def settings_table() -> str:
    """The table as Markdown, one line for each setting, in the order of the file."""
    rows = (
        f"| `{path}` | {default(field)} | {field.setting.unit} | {field.setting.about} |\n"
        for path, field in settings(Settings)
    )
    return _HEAD + "".join(rows)


def settings(struct: type[msgspec.Struct], path: str = "") -> Iterator[tuple[str, Field]]:
    """Every setting below a struct, with its path; ``NAME`` stands for a name, ``[]`` for a place in a list."""
    for field in fields(struct):
        at = f"{path}.{field.name}" if path else field.name
        yield at, field
        origin = get_origin(field.kind)
        part = get_args(field.kind)[1 if origin is Mapping else 0] if origin in {Mapping, tuple} else field.kind
        step = ".NAME" if origin is Mapping else "[]" if origin is tuple else ""
        if field.setting.read is None:
            yield from settings(cast("type[msgspec.Struct]", part), at + step)


def default(field: Field) -> str:
    """What stands if the file says nothing, as the file would write it."""
    value = field.default
    if field.required or field.setting.default:
        return field.setting.default or "required"
    if value is None:
        return "none"
    if field.setting.unit == "bytes":
        return bytes_text(cast("int", value))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) else str(value)
    return ", ".join(f"`{one}`" for one in (value if isinstance(value, tuple) else (value,)))


if __name__ == "__main__":
    print(settings_table(), end="")  # noqa: T201 a command
