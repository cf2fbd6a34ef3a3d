"""`python -m tests.soak [--seconds 600] [--rate 60] [--seed N]`: the soak, its figures, and 1 if anything is wrong."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
import sys
import tempfile
import time

from tests.soak.reckoning import reckon
from tests.soak.soak import soak

SHOWN = 50


def main() -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--rate", type=float, default=60, help="requests a second")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    print(f"soaking for {arguments.seconds:g} s at {arguments.rate:g} requests a second, seed {arguments.seed}")
    requests = max(1, round(arguments.seconds * arguments.rate))
    with tempfile.TemporaryDirectory(prefix="sluicegate-soak-") as folder:
        told = reckon(asyncio.run(soak(Path(folder), requests=requests, rate=arguments.rate, seed=arguments.seed)))
    for name, figure in told.figures.items():
        print(f"{name:>17}: {figure}")
    print(told.columns)
    for line in told.wrong[:SHOWN]:
        print(f"WRONG: {line}")
    print(f"{len(told.wrong)} things do not add up" if told.wrong else "everything adds up")
    return 1 if told.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
