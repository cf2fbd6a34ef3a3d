"""The invariant with every fault at random: metrics = rows = store = upstreams; shown with ``pytest -s``.

`make test` runs a short one alone and one with workers and PostgreSQL; `make test-all` the sizes that are promised.
"""

from __future__ import annotations

import os
from pathlib import Path
import sys

import pytest
from tests.kit.postgres import server
from tests.soak.reckoning import Reckoning, reckon
from tests.soak.soak import soak

ALL = bool(os.environ.get("SLUICEGATE_TEST_ALL"))
ALONE, TOGETHER = (10_000, 2_000) if ALL else (400, 150)
RATE = 60 if ALL else 40


def shown(told: Reckoning) -> Reckoning:
    """Print what was counted."""
    sys.stdout.write("\n".join(f"{name}: {figure}" for name, figure in told.figures.items()) + f"\n{told.columns}\n")
    return told


@pytest.mark.timeout(600)
async def test_133_138_140_with_every_fault_mixed_in_all_adds_up_and_nothing_is_left_behind(tmp_path: Path) -> None:
    assert shown(reckon(await soak(tmp_path, requests=ALONE, rate=RATE, seed=4))).wrong == []


@pytest.mark.full
@pytest.mark.timeout(300)
async def test_133_with_four_workers_all_adds_up(tmp_path: Path) -> None:
    assert shown(reckon(await soak(tmp_path, requests=TOGETHER, rate=RATE, seed=5, workers=4))).wrong == []


@pytest.mark.timeout(300)
async def test_133_with_four_workers_and_postgresql_all_adds_up(tmp_path: Path) -> None:
    with server() as postgres:
        dsn = postgres.database("ledger")
        story = await soak(tmp_path, requests=TOGETHER, rate=RATE, seed=6, workers=4, postgres=dsn)
    assert shown(reckon(story)).wrong == []
