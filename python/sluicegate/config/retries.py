"""Settings of second tries: how many, how soon, and how much of an upstream's load they may be."""

from __future__ import annotations

from typing import Annotated

import msgspec

from sluicegate.config.readers import ratio, seconds, whole
from sluicegate.config.setting import Setting


class Retries(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of what the table of `sluicegate explain fallback` allows."""

    attempts: Annotated[
        int,
        Setting("one request's attempts at all targets together; then the primary's error", whole(1, 100), "attempts"),
    ] = 6
    here: Annotated[
        int,
        Setting("further attempts in place, for each target, where the table allows any", whole(0, 20), "attempts"),
    ] = 1
    backoff: Annotated[
        float, Setting("the wait before a retry in place; doubled each time, a half of it by chance", seconds(), "s")
    ] = 0.5
    backoff_max: Annotated[float, Setting("the longest such wait", seconds(), "s")] = 5.0
    wait: Annotated[
        float,
        Setting("the longest `Retry-After` that is waited for; a longer one is passed on", seconds(zero=True), "s"),
    ] = 2.0
    budget: Annotated[
        float,
        Setting(
            "further attempts at an upstream, as a part of the requests it gets, and 10; "
            "beyond it requests move on, or fail; 0: none",
            ratio,
        ),
    ] = 0.2
    credential_rest: Annotated[
        float,
        Setting("how long a credential that was refused (401) is left out before a request probes it", seconds(), "s"),
    ] = 60.0
