"""Settings of when a target is left alone, for how long, and what happens when all of a model's are."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from sluicegate.config.readers import choice, seconds, whole
from sluicegate.config.setting import Setting


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """When a target is left alone. Only what is the target's own fault counts: see docs/CONTRACT.md."""

    failures: Annotated[
        int,
        Setting(
            "failures of a target within `health.window`, and more than its successes since the first of them; "
            "then it is left alone; 0 for never",
            whole(0),
            "failures",
        ),
    ] = 5
    window: Annotated[
        float, Setting("how long a failure counts, from the first one on; then they are forgotten", seconds(), "s")
    ] = 30.0
    cooldown: Annotated[
        float,
        Setting(
            "how long a target is left alone; then one request probes it, and each failing probe doubles the time",
            seconds(),
            "s",
        ),
    ] = 5.0
    cooldown_max: Annotated[
        float, Setting("the longest it is left alone, unless the upstream's Retry-After says more", seconds(), "s")
    ] = 60.0
    slow: Annotated[
        float | None,
        Setting("a stream whose first content comes later than this counts as a failure of its target", seconds(), "s"),
    ] = None
    latency_decay: Annotated[
        float,
        Setting(
            "how long a slow answer is remembered by `routing: least_loaded`: two thirds are forgotten in this time",
            seconds(),
            "s",
        ),
    ] = 10.0
    all_down: Annotated[
        Literal["fail", "wait"],
        Setting(
            "when all targets of a model are left alone: `fail` answers 503 `targets_down` with the time to the next "
            "probe as Retry-After; `wait` lets the request wait for it",
            choice("choice", "fail", "wait"),
        ),
    ] = "fail"
    wait: Annotated[
        float, Setting("how long a request waits for a target under `wait`; then 503 `targets_down`", seconds(), "s")
    ] = 10.0
    waiting: Annotated[
        int,
        Setting("requests waiting for a target under `wait`; then 503 `targets_queue_full`", whole(0), "requests"),
    ] = 100
