"""What API pages say that a request's members must be, asked of each member's text as it stands in the body.

A rule is words for the caller and a question. Nothing is built of a value but the number it is, or the pieces of a
list; strings are not decoded, so that what is no UTF-8 passes as it does elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
import re

import msgspec

from sluicegate.errors import BadRequest

Check = Callable[[bytes], bool]
Rule = tuple[str, Check]

#: What a member that is not there counts as.
NULL = msgspec.Raw(b"null")

_WHOLE = re.compile(rb"-?[0-9]{1,18}")
_LIST = msgspec.json.Decoder(list[msgspec.Raw])


def check(fields: msgspec.Struct, rules: Mapping[str, Rule], *, required: Iterable[str]) -> None:
    """Hold members to rules; null counts as absent. Raises BadRequest, which names the member and what it must be."""
    for name, (what, fits) in rules.items():
        text = bytes(getattr(fields, name))
        if text == b"null":
            if name in required:
                raise BadRequest("missing_parameter", f"The parameter '{name}' is required.", param=name)
        elif not fits(text):
            raise BadRequest("invalid_value", f"The parameter '{name}' must be {what}.", param=name)


def begins(*openings: bytes) -> Check:
    """What begins so: strings, objects and the like by their first byte, or a value's whole text."""
    return lambda text: text.startswith(openings)


def whole(least: int | None = None, most: int | None = None) -> Check:
    """A whole number, written as one."""

    def fits(text: bytes) -> bool:
        if _WHOLE.fullmatch(text) is None:
            return False
        number = int(text)
        return (least is None or number >= least) and (most is None or number <= most)

    return fits


def number(least: float, most: float) -> Check:
    """A number, however written."""
    return lambda text: text[:1] in b"-0123456789" and least <= float(text) <= most


def list_of(opening: bytes, most: int | None = None) -> Check:
    """A list of what begins so, of at most so many."""

    def fits(text: bytes) -> bool:
        if not text.startswith(b"["):
            return False
        members = _LIST.decode(text)
        return (most is None or len(members) <= most) and all(bytes(one).startswith(opening) for one in members)

    return fits


def filled_list(text: bytes) -> bool:
    """A list that is not empty."""
    return text.startswith(b"[") and bool(_LIST.decode(text))


def strings(text: bytes) -> bool:
    """A string, or a list of strings."""
    return text.startswith(b'"') or list_of(b'"')(text)
