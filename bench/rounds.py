"""What is measured, and the alternating rounds of it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
import json
import math
import subprocess
import time
from typing import TYPE_CHECKING, Any

from bench.servers import KEY, BenchError, Cores, Proxy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Figures = dict[str, Any]
Load = dict[str, str | int | float]
IDLE_STREAMS = 2000
WARM_UP = 1.5
# What a proxy still does when the load has gone: ends streams that were cut, closes connections.
PAUSE = 0.1


@dataclass(frozen=True)
class Scenario:
    """One load. `direct`: also without a proxy, to know what a proxy adds. `beside`: another load at the same time.

    `seconds` are a proxy's in each round, cut in turns of at most `turn` seconds: a noisy second of a shared core then
    meets every proxy alike.
    """

    name: str
    upstream: str
    load: Load
    seconds: float
    turn: float = math.inf
    direct: bool = False
    beside: Load | None = None


PACED: Load = {"connections": 200, "events": 200, "gap-us": 20_000, "warm": 1.5}
BURST: Load = {"connections": 16, "events": 400, "gap-us": 0, "warm": 1}
LATENCY: Load = {"rate": 50, "events": 50, "gap-us": 20_000, "warm": 1.2}
LARGE_BODIES: Load = {"answer": "json", "pad": 1_000_000, "rate": 20, "warm": 0}
# The window opens and closes with no request under way, so its CPU is that of its requests.
CLOSED_LOOP: Load = {
    "answer": "json",
    "connections": 32,
    "spread": 0.02,
    "warm": 0.05,
    "drained": 1,
    "requests": 2000,
}
SCENARIOS = (
    Scenario("paced plain", "plain", PACED, 6),
    Scenario("paced tls", "tls", PACED, 6),
    Scenario("burst plain", "plain", BURST, 3, turn=1.5),
    Scenario("burst tls", "tls", BURST, 3, turn=1.5),
    Scenario("json plain", "plain", CLOSED_LOOP, 4, turn=0.4),
    Scenario("json paced", "plain", {"answer": "json", "rate": 500, "warm": 0.2}, 3, turn=0.5),
    Scenario("latency", "plain", LATENCY, 5, direct=True),
    Scenario("latency beside 1 MB", "plain", LATENCY, 5, direct=True, beside=LARGE_BODIES),
)
IDLE_LOAD: Load = {"connections": IDLE_STREAMS, "events": 2, "hold": 1, "warm": 0}


@dataclass
class Results:
    """Everything measured: scenario, then proxy, then one set of figures a round."""

    load: Path
    cores: Cores
    quick: bool
    only: tuple[str, ...] = ()
    figures: dict[str, dict[str, list[Figures]]] = field(default_factory=dict)
    scrape: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def wants(self, name: str) -> bool:
        return not self.only or any(name.startswith(wanted) for wanted in self.only)

    def run(self, proxy: Proxy, upstream: str, load: Load, seconds: float) -> Figures:
        """Drive a proxy once and give what the load printed."""
        return self._finish(self._begin(proxy, upstream, load, seconds), seconds)

    def run_scenario(self, proxy: Proxy, scenario: Scenario, seconds: float) -> Figures:
        """Drive a proxy once as a scenario says; errors of the load beside it count too."""
        beside = None
        if scenario.beside is not None:
            # It lasts longer than the window, which begins after the other's warm-up.
            beside = self._begin(proxy, scenario.upstream, scenario.beside, seconds + 2)
        figures = self.run(proxy, scenario.upstream, scenario.load, seconds)
        if beside is not None:
            other = self._finish(beside, seconds)
            figures["errors"] += other["errors"]
            figures["first_errors"] += other["first_errors"]
            figures["beside"] = other
        return figures

    def _begin(self, proxy: Proxy, upstream: str, load: Load, seconds: float) -> subprocess.Popen[str]:
        address, model = proxy.targets[upstream]
        options: Load = {"target": address, "model": model, "key": KEY, "path": proxy.path, "seconds": seconds, **load}
        options["pids"] = ",".join(str(pid) for pid in proxy.pids())
        command = [str(self.load), "load"]
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        for header in proxy.headers:
            command += ["--header", header]
        pinned = self.cores.pinned(self.cores.others, command)
        return subprocess.Popen(pinned, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    @staticmethod
    def _finish(child: subprocess.Popen[str], seconds: float) -> Figures:
        try:
            printed, complaints = child.communicate(timeout=seconds + 60)
        finally:
            child.kill()
        if child.returncode != 0:
            raise BenchError(f"the load failed: {complaints}")
        figures: Figures = json.loads(printed)
        return figures

    def keep(self, scenario: str, proxy: Proxy, figures: Figures) -> None:
        self.figures.setdefault(scenario, {}).setdefault(proxy.name, []).append(figures)
        if figures["errors"]:
            print(f"  ! {scenario}: {proxy.name}: {figures['errors']} wrong answers: {figures['first_errors']}")


def measure_rounds(results: Results, proxies: Sequence[Proxy], rounds: int) -> None:
    """Every scenario, `rounds` times, in processes started for the round.

    Where a process happens to lie in memory is worth a tenth of its CPU: four that were alike took 127, 136, 153 and
    154 us a request, each the same figure turn after turn.
    """
    scenarios = [scenario for scenario in SCENARIOS if results.wants(scenario.name)]
    for number in range(1, rounds + 1 if scenarios else 1):
        with contextlib.ExitStack() as running:
            for proxy in proxies:
                running.enter_context(proxy)
                # Some load half of themselves with the first request.
                for answer in ("json", "stream"):
                    results.run(proxy, "plain", {"answer": answer, "events": 5, "connections": 4, "warm": 0}, WARM_UP)
            for scenario in scenarios:
                present = [proxy for proxy in proxies if takes_part(proxy, scenario)]
                for proxy, figures in zip(present, measure_round(results, present, scenario), strict=True):
                    results.keep(scenario.name, proxy, figures)
                    of = f"round {number}/{rounds}  {scenario.name:<20} {proxy.name:<12}"
                    print(of, glance(figures), flush=True)


def takes_part(proxy: Proxy, scenario: Scenario) -> bool:
    if scenario.upstream not in proxy.targets or (proxy.name == "direct" and not scenario.direct):
        return False
    return not proxy.takes_part or scenario.name in proxy.takes_part


def measure_round(results: Results, proxies: Sequence[Proxy], scenario: Scenario) -> list[Figures]:
    """One round of a scenario: the proxies take turns, and what each turn brought is summed up.

    `cpu_whole_us` is a proxy's CPU from the beginning of each turn until its rows have arrived and a pause is over: all
    that it does behind its answers, but not what it does while others have their turns.
    """
    seconds = min(scenario.seconds, 2.5) if results.quick else scenario.seconds
    turns = max(1, round(seconds / scenario.turn))
    taken: list[list[Figures]] = [[] for _ in proxies]
    whole = [0.0 for _ in proxies]
    for _ in range(turns):
        for place, proxy in enumerate(proxies):
            rows, before = proxy.rows(), proxy.cpu_us()
            figures = results.run_scenario(proxy, scenario, seconds / turns)
            proxy.wait_for_rows(rows + figures["answered"])
            time.sleep(PAUSE)
            taken[place].append(figures)
            whole[place] += proxy.cpu_us() - before
    return [summed(figures) | {"cpu_whole_us": cpu} for figures, cpu in zip(taken, whole, strict=True)]


SUMS = ("seconds", "answered", "requests", "events", "bytes", "errors", "cpu_us")


def summed(turns: Sequence[Figures]) -> Figures:
    """The turns of a round as one; percentiles only if there was one alone."""
    if len(turns) == 1:
        return turns[0]
    first_errors = [error for turn in turns for error in turn["first_errors"]][:3]
    kept = [{name: turn[name] for name in SUMS} for turn in turns]
    return {name: sum(turn[name] for turn in turns) for name in SUMS} | {"first_errors": first_errors, "turns": kept}


def measure_idle(results: Results, proxies: Sequence[Proxy], rounds: int) -> None:
    """Memory of idle streams, each time in a fresh process: what an earlier load left behind would hide it."""
    for number in range(1, rounds + 1):
        for kind in ("plain", "tls"):
            if not results.wants(f"idle {kind}"):
                continue
            for proxy in (proxy for proxy in proxies if not proxy.takes_part):
                with proxy:
                    if kind not in proxy.targets:
                        continue
                    results.run(proxy, kind, {"answer": "stream", "events": 5, "connections": 8, "warm": 0}, 0.5)
                    figures = results.run(proxy, kind, IDLE_LOAD, 30)
                if figures["begun"] != IDLE_STREAMS:
                    figures["errors"] += IDLE_STREAMS - figures["begun"]
                results.keep(f"idle {kind}", proxy, figures)
                kilobytes = idle_bytes(figures) / 1024
                print(f"idle {number}/{rounds}   {kind:<20} {proxy.name:<12} {kilobytes:.1f} KB a stream", flush=True)


def cpu_per_event(figures: Figures) -> float:
    """Microseconds of CPU for each event relayed."""
    return float(figures["cpu_us"]) / max(1.0, float(figures["events"]))


def cpu_per_request(figures: Figures) -> float:
    """Microseconds of CPU for each request answered."""
    return float(figures["cpu_us"]) / max(1.0, float(figures["requests"]))


def whole_cpu_per_request(figures: Figures) -> float:
    """Microseconds of CPU for each request answered, what is done later included."""
    return float(figures["cpu_whole_us"]) / max(1.0, float(figures["answered"]))


def idle_bytes(figures: Figures) -> float:
    """Resident bytes for each idle stream."""
    return float(figures["resident"] - figures["resident_before"]) / max(1.0, float(figures["begun"]))


def glance(figures: Figures) -> str:
    if figures["events"]:
        gap = f"  gap p99 {figures['gap_us']['p99']} us" if "gap_us" in figures else ""
        return f"{cpu_per_event(figures):7.2f} us/event  {figures['events']} events{gap}"
    return f"{cpu_per_request(figures):7.1f} us/request  {figures['requests']} requests"
