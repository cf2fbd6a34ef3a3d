"""How long a scrape takes once every model of the bench has been asked."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING
import urllib.request

from bench.servers import KEY, PATH, SCRAPED_MODELS

if TYPE_CHECKING:
    from bench.servers import Sluicegate

SCRAPES = 30


def ask(address: str, model: str, *, stream: bool) -> None:
    body = f'{{"model":"{model}","messages":[{{"role":"user","content":"events=3"}}],"stream":{str(stream).lower()}}}'
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    request = urllib.request.Request(f"http://{address}{PATH}", body.encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback
        answer.read()


def measure(gateway: Sluicegate) -> dict[str, float]:
    """Median milliseconds of a scrape over loopback, HTTP included, and how many series it brought."""
    for number in range(SCRAPED_MODELS):
        for stream in (False, True):
            ask(gateway.targets["plain"][0], f"scrape-{number}", stream=stream)
    times, text = [], ""
    for _ in range(SCRAPES):
        begun = time.perf_counter()
        text = gateway.metrics()
        times.append((time.perf_counter() - begun) * 1000)
    series = sum(1 for line in text.splitlines() if line and not line.startswith("#"))
    return {"ms": statistics.median(times), "series": series}
