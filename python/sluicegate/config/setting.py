"""What a field of the configuration says of itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from sluicegate.config.readers import text


class Setting(msgspec.Struct, frozen=True):
    """What a field says of itself: what it is and what happens at the limit, its unit, and how its value is read.

    ``read`` is None where the field's type says all: a struct, a mapping of structs by name, or a list of them.
    ``name`` reads the names of such a mapping. ``default`` is how the table shows a default that is not a plain value.
    ``null`` is what null stands for where that is not the same as saying nothing.
    """

    about: str
    read: Callable[[object], Any] | None = None
    unit: str = ""
    default: str = ""
    name: Callable[[object], str] = text
    null: object = None
