"""Instruction counts of the core's paths beside those on record: `python bench/instructions.py [--update]`.

Each case of rust/benches/core.rs runs once under callgrind, which counts only what happens within `measured`. The same
binary gives the same count each time, so 2 % is a change of the code (or of the compiler, which is on record too).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from typing import Any

RECORD = Path(__file__).parent / "instructions.json"
TOLERANCE = 0.02


def build() -> Path:
    """Build the cases, optimised and without Python, and give the binary."""
    command = ["cargo", "bench", "--quiet", "--locked", "--no-default-features", "--bench", "core", "--no-run"]
    messages = subprocess.run(
        [*command, "--message-format", "json"], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    built = [json.loads(line) for line in messages if line.startswith("{")]
    return next(Path(one["executable"]) for one in built if one.get("executable") and one["target"]["name"] == "core")


def count(binary: Path, case: str) -> int:
    """Instructions that one run of a case takes."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        options = ["--tool=callgrind", "--toggle-collect=*measured*", f"--callgrind-out-file={out}"]
        done = subprocess.run(["valgrind", *options, str(binary), case], check=False, capture_output=True, text=True)
        found = re.search(r"^(?:totals|summary): (\d+)", out.read_text() if out.exists() else "", re.MULTILINE)
        if done.returncode != 0 or found is None:
            sys.exit(f"{case}: {done.stderr[-2000:]}")
        return int(found[1])


def surroundings() -> dict[str, str]:
    """What else a count depends on: the compiler, and whether the CPU has the wide instructions memchr looks for."""
    rustc = subprocess.run(["rustc", "--version"], check=True, capture_output=True, text=True).stdout.strip()
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    return {"rustc": rustc, "machine": platform.machine(), "avx2": "yes" if " avx2 " in flags else "no"}


def compare(counts: dict[str, int], recorded: dict[str, int]) -> list[str]:
    """Print every count beside the one on record; gives the cases that cost more than they may or are not on record."""
    worse = []
    for case, now in counts.items():
        before = recorded.get(case)
        change = (now - before) / before if before else None
        verdict = ""
        if change is None or change > TOLERANCE:
            worse.append(case)
            verdict = "not on record" if change is None else "MORE"
        elif change < -TOLERANCE:
            verdict = "less: record it with --update"
        shown = "" if change is None else f"{change:+8.1%}"
        print(f"{case:<46}{now:>12,}{shown:>10}  {verdict}")
    return worse + [f"{case} (gone)" for case in recorded.keys() - counts.keys()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--update", action="store_true", help="put today's counts on record")
    arguments = parser.parse_args()
    if shutil.which("valgrind") is None:
        print("instruction counts: SKIPPED, valgrind is missing (apt-get install valgrind)", file=sys.stderr)
        return 0
    binary = build()
    cases = subprocess.run([str(binary), "--list"], check=True, capture_output=True, text=True).stdout.splitlines()
    record: dict[str, Any] = json.loads(RECORD.read_text()) if RECORD.exists() else {"counts": {}, "surroundings": {}}
    counts = {case: count(binary, case) for case in cases}
    worse = compare(counts, record["counts"])
    if arguments.update:
        RECORD.write_text(json.dumps({"surroundings": surroundings(), "counts": counts}, indent=1) + "\n")
        return 0
    if worse and record["surroundings"] != surroundings():
        print(f"not judged: on record is {record['surroundings']}, here is {surroundings()}", file=sys.stderr)
        return 0
    if worse:
        print(f"more than {TOLERANCE:.0%} above the record: {', '.join(worse)}", file=sys.stderr)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
