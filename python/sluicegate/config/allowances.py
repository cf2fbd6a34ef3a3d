"""Settings of how much somebody may use: a key, a group of keys, a model."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from sluicegate.config.money import dollars
from sluicegate.config.readers import choice, whole
from sluicegate.config.setting import Setting

#: Above what anybody needs, below what a JSON number holds exactly.
_MOST = 1 << 50


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What may be spent in a window: dollars or credits."""

    dollars: Annotated[
        int | None,
        Setting(
            "dollars, by the rows' cost; a target without a price costs nothing; then 402 `budget_exceeded`",
            dollars,
            "$",
        ),
    ] = None
    credits: Annotated[
        int | None,
        Setting("credits, by the rows' figure; then 402 `budget_exceeded`", whole(1, _MOST), "credits"),
    ] = None
    per: Annotated[
        Literal["day", "week", "month"],
        Setting("the window, in UTC; weeks begin on Monday", choice("window", "day", "week", "month")),
    ] = "month"


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """How much may be used. What is not said is not limited."""

    requests_per_minute: Annotated[
        int | None,
        Setting(
            "requests in each minute of UTC; then 429 `requests_per_minute_exceeded`", whole(1, 1 << 40), "requests"
        ),
    ] = None
    tokens_per_minute: Annotated[
        int | None,
        Setting(
            "tokens in each minute of UTC, input and output: reserved at admission (the prompt by its bytes, and "
            "`max_tokens`, else `max_output`, else `reserve_default`), settled at the end with what was used; "
            "then 429 `tokens_per_minute_exceeded`",
            whole(1, _MOST),
            "tokens",
        ),
    ] = None
    concurrent_streams: Annotated[
        int | None,
        Setting(
            "requests with `stream: true` at a time; then 429 `concurrent_streams_exceeded`",
            whole(1, 1 << 40),
            "streams",
        ),
    ] = None
    budgets: Annotated[
        tuple[Budget, ...],
        Setting(
            "what may be spent: reserved at admission as tokens are, settled with the row's figure", default="none"
        ),
    ] = ()


#: What stands where nothing is limited.
UNLIMITED = Allowance()
