"""The table, the ratios beside their floors and goals, and the record."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
import json
import os
from pathlib import Path
import platform
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING, Self

from bench.interpreter import is_optimised
from bench.rounds import Figures, Results, cpu_per_event, cpu_per_request, idle_bytes, whole_cpu_per_request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.servers import Proxy

KIB = 1024.0


@dataclass(frozen=True)
class Bar:
    """What a figure is held against: ratios to nginx, or plain values where `ratio` is false."""

    scenario: str
    what: str
    figure: Callable[[Figures], float]
    floor: float | None
    goal: float | None
    ratio: bool = True


def _first_content(percentile: str) -> Callable[[Figures], float]:
    return lambda figures: float(figures["first_content_us"][percentile])


def _gap(percentile: str) -> Callable[[Figures], float]:
    return lambda figures: float(figures["gap_us"][percentile])


BARS = (
    Bar("paced plain", "CPU us/event, paced, plain upstream", cpu_per_event, 1.6, 1.2),
    Bar("paced tls", "CPU us/event, paced, TLS upstream", cpu_per_event, 1.4, 1.0),
    Bar("burst plain", "CPU us/event, burst, plain upstream", cpu_per_event, 1.8, 1.2),
    Bar("burst tls", "CPU us/event, burst, TLS upstream", cpu_per_event, 1.8, 1.2),
    Bar("json plain", "CPU us/request, as many as it can", cpu_per_request, 6.0, 2.5),
    Bar("json paced", "CPU us/request, 500 a second", cpu_per_request, 6.0, 2.5),
    Bar("idle plain", "KB an idle stream, plain upstream", lambda f: idle_bytes(f) / KIB, 40.0, 20.0, ratio=False),
    Bar("idle tls", "KB an idle stream, TLS upstream", lambda f: idle_bytes(f) / KIB, None, 40.0, ratio=False),
)
LATENCIES = (
    ("time to first content p50", _first_content("p50")),
    ("time to first content p99", _first_content("p99")),
    ("event gap p50", _gap("p50")),
    ("event gap p99", _gap("p99")),
    ("event on its way p50", lambda figures: float(figures["lag_us"]["p50"])),
    ("event on its way p99", lambda figures: float(figures["lag_us"]["p99"])),
)
GAP_GOAL = "added to the event gap p99, at most what nginx adds + 200 us"
ACCOUNTING_FLOOR_US = 25.0
SCRAPE_FLOOR_MS, SCRAPE_GOAL_MS, SCRAPE_SERIES = 5.0, 2.0, 500


def median(results: Results, scenario: str, proxy: str, figure: Callable[[Figures], float]) -> float | None:
    """The median of the rounds without a wrong answer: who answers with errors answers cheaply."""
    rounds = [one for one in results.figures.get(scenario, {}).get(proxy, []) if not one["errors"]]
    return statistics.median(figure(one) for one in rounds) if rounds else None


@dataclass(frozen=True)
class Spread:
    """What the rounds brought: each compares two proxies within itself, in the same minute."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(
        cls, results: Results, scenario: str, proxies: tuple[str, str], compare: Callable[[Figures, Figures], float]
    ) -> Self | None:
        ours, theirs = (results.figures.get(scenario, {}).get(proxy, []) for proxy in proxies)
        right = [(one, other) for one, other in zip(ours, theirs, strict=False) if not one["errors"] + other["errors"]]
        values = [compare(one, other) for one, other in right]
        return cls(statistics.median(values), min(values), max(values)) if values else None

    def range(self, form: str = "{:.2f}") -> str:
        return f"{form.format(self.lowest)} to {form.format(self.highest)}"


def ratio_to_nginx(results: Results, bar: Bar) -> Spread | None:
    """How many times nginx's figure ours is."""
    pair = ("sluicegate", "nginx")
    return Spread.of(results, bar.scenario, pair, lambda ours, its: bar.figure(ours) / bar.figure(its))


def added_by_accounting(results: Results) -> Spread | None:
    """Microseconds of CPU that ledger and limits cost a request, the writer's among them."""
    pair = ("accounting", "sluicegate")
    return Spread.of(
        results, "json plain", pair, lambda on, off: whole_cpu_per_request(on) - whole_cpu_per_request(off)
    )


def _shown(value: float | None, form: str = "{:.2f}") -> str:
    return "-" if value is None else form.format(value)


def _row(cells: Sequence[str]) -> str:
    return f"{cells[0]:<38}" + "".join(f"{cell:>13}" for cell in cells[1:])


def _verdict(value: float | None, floor: float | None, goal: float | None) -> str:
    if value is None:
        return ""
    if goal is not None and value <= goal:
        return "goal"
    return "ok" if floor is None or value <= floor else "MISSED"


def print_report(results: Results, proxies: Sequence[Proxy], *, strict: bool) -> bool:
    """Print every table; true if an answer that was not a rival's was wrong (or, if strict, a floor was missed)."""
    names = [proxy.name for proxy in proxies]
    print(f"\nPython {platform.python_version()} {sys.executable}: {_built()}")
    verdicts = [*_print_bars(results, names), _print_accounting(results), _print_scrape(results)]
    _print_latencies(results, names)
    wrong = dict.fromkeys([*names, "direct"], 0)
    for of in results.figures.values():
        for name, rounds in of.items():
            wrong[name] += sum(one["errors"] for one in rounds)
    print("\nwrong answers: " + ", ".join(f"{name} {count}" for name, count in wrong.items()))
    ours = wrong["nginx"] + wrong["sluicegate"] + wrong["accounting"] + wrong["direct"]
    return ours > 0 or (strict and "MISSED" in verdicts)


def _print_bars(results: Results, names: Sequence[str]) -> list[str]:
    print("\n" + _row(["median of the rounds", *names, "x nginx", "rounds", "floor", "goal", ""]))
    verdicts = []
    for bar in BARS:
        if bar.scenario not in results.figures:
            continue
        spread = ratio_to_nginx(results, bar)
        ratio = spread.median if spread else None
        judged = ratio if bar.ratio else median(results, bar.scenario, "sluicegate", bar.figure)
        verdicts.append(_verdict(judged, bar.floor, bar.goal))
        values = [_shown(median(results, bar.scenario, name, bar.figure)) for name in names]
        rounds = spread.range() if spread else "-"
        print(_row([bar.what, *values, _shown(ratio), rounds, _shown(bar.floor), _shown(bar.goal), verdicts[-1]]))
    return verdicts


def _print_accounting(results: Results) -> str:
    added = added_by_accounting(results)
    if added is None:
        return ""
    verdict = _verdict(added.median, ACCOUNTING_FLOOR_US, None)
    print(f"\nledger (SQLite) and limits: {added.median:+.1f} us of CPU a request", end=" ")
    print(f"(rounds {added.range('{:+.1f}')}; floor {ACCOUNTING_FLOOR_US:.0f})  {verdict}")
    return verdict


def _print_scrape(results: Results) -> str:
    if not results.scrape:
        return ""
    time, series = results.scrape["ms"], results.scrape["series"]
    judged = time * min(1.0, SCRAPE_SERIES / max(1.0, series))
    verdict = _verdict(judged, SCRAPE_FLOOR_MS, SCRAPE_GOAL_MS)
    print(f"\na scrape of {series:.0f} series: {time:.2f} ms; of {SCRAPE_SERIES}: {judged:.2f} ms", end=" ")
    print(f"(floor {SCRAPE_FLOOR_MS:.0f}, goal {SCRAPE_GOAL_MS:.0f})  {verdict}")
    return verdict


def _print_latencies(results: Results, names: Sequence[str]) -> None:
    for scenario in ("latency", "latency beside 1 MB"):
        if scenario not in results.figures:
            continue
        title = scenario.replace("1 MB", "bodies of 1 MB")
        print("\n" + _row([f"{title}: us", "direct", *(f"+ {name}" for name in names)]))
        for what, figure in LATENCIES:
            direct = median(results, scenario, "direct", figure)
            through = [median(results, scenario, name, figure) for name in names]
            added = [None if value is None or direct is None else value - direct for value in through]
            print(_row([what, _shown(direct, "{:.0f}"), *(_shown(value, "{:+.0f}") for value in added)]))
    print(f"\n(open loop: 50 streams a second of 50 events 20 ms apart. Goal: {GAP_GOAL})")


def _built() -> str:
    return "optimised" if is_optimised() else "NOT optimised, a tenth slower: docs/OPERATIONS.md tells why"


def _said(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def write_report(results: Results, proxies: Sequence[Proxy], folder: Path) -> None:
    """Write everything measured as JSON, named by the time."""
    cpus = Path("/proc/cpuinfo").read_text().split("\n\n")
    model = next((line.partition(":")[2].strip() for line in cpus[0].splitlines() if "model name" in line), "unknown")
    now = datetime.now(UTC)
    ratios = {bar.scenario: ratio_to_nginx(results, bar) for bar in BARS}
    record = {
        "at": now.isoformat(timespec="seconds"),
        "commit": _said("git", "describe", "--always", "--dirty", "--abbrev=12"),
        "machine": {"cpu": model, "cores": os.cpu_count(), "kernel": platform.release(), "load": os.getloadavg()},
        "pinned": {"proxy": results.cores.proxy, "load and upstream": results.cores.others},
        "versions": {proxy.name: proxy.version() for proxy in proxies} | {"python": platform.python_version()},
        "python is optimised": is_optimised(),
        "quick": results.quick,
        "ratios to nginx": {name: spread and asdict(spread) for name, spread in ratios.items()},
        "us added by accounting": (added := added_by_accounting(results)) and asdict(added),
        "scrape": results.scrape,
        "figures": results.figures,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{now:%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(f"written to {path}")
