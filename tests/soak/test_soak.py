"""A short soak: every fault once and a mixture of them; the long one is `make soak`."""

from __future__ import annotations

from pathlib import Path

from tests.soak.reckoning import reckon
from tests.soak.soak import soak


async def test_133_138_140_with_every_fault_mixed_in_all_adds_up_and_nothing_is_left_behind(tmp_path: Path) -> None:
    told = reckon(await soak(tmp_path, seconds=20, rate=40, seed=4))
    print(told.figures)  # noqa: T201 - shown with -s
    assert told.wrong == []
