"""Which numbers of the list of faults have a test, and what the others wait for.

`test_57_...` is a test of fault 57, `test_77_78_...` of both, `test_01_to_15_...` of all between.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import re

TESTS = Path(__file__).resolve().parent.parent
NAME = re.compile(r"def test_(\d+)(?:(_to_)(\d+)|((?:_\d+)*))_")

LATER: dict[int, str] = {}


def covered() -> Iterator[int]:
    """The numbers in the names of all tests."""
    for path in TESTS.rglob("test_*.py"):
        for first, to, last, more in NAME.findall(path.read_text(encoding="utf-8")):
            if to:
                yield from range(int(first), int(last) + 1)
            else:
                yield from map(int, (first, *more.split("_")[1:]))


def test_every_fault_has_a_test_or_waits_for_something_that_is_named() -> None:
    assert sorted(set(range(1, 143)) - set(covered()) - LATER.keys()) == []
