"""On which terms an edge serves its connections: all of it may change while they are open."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sluicegate._native import Heads, Plain
    from sluicegate.errors import RequestFailed
    from sluicegate.web.opened import Opened
    from sluicegate.web.request import Parsed
    from sluicegate.web.whole import Whole


@dataclass(frozen=True, slots=True)
class Terms:
    """What an edge does with requests. New connections follow the latest wholly, those there are from the next request.

    ``answer`` serves one request and raises nothing but CancelledError; ``refuse`` writes an error for a request that
    never became one; ``dropped`` is told the code of why a connection ends without an answer. ``head_time`` in seconds,
    ``head_size`` in bytes, ``connections`` at most at a time. ``plain`` reads plain requests, and serves one; without
    it aiohttp's parser reads all.
    """

    answer: Callable[[Parsed], Awaitable[Whole | Opened]]
    refuse: Callable[[Parsed | None, RequestFailed], Whole]
    dropped: Callable[[str], None]
    head_time: float
    head_size: int
    connections: int
    plain: tuple[Heads, Callable[[Plain], Awaitable[Whole | Opened]]] | None = None
