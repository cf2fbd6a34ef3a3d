"""Settings of what is written down about requests, and of what they cost."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from sluicegate.config.money import dollars, moment, per_dollar, price_name
from sluicegate.config.readers import choice, seconds, size, text, whole
from sluicegate.config.setting import Setting
from sluicegate.config.values import StoreUrl

DEFAULT_STORE = StoreUrl("sqlite", "sluicegate.db")


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """How rows get from a request into the store."""

    folder: Annotated[
        str, Setting("where rows wait for the store: a folder on a local disk, not shared by machines", text, "folder")
    ] = "sluicegate.spool"
    size: Annotated[
        int, Setting("what a worker's waiting rows may take there; then see `when_full`", size(1 << 20), "bytes")
    ] = 1 << 30
    when_full: Annotated[
        Literal["refuse", "drop"],
        Setting(
            "no room there, or the disk refuses: `refuse` answers 503 `ledger_unavailable`; `drop` serves, and counts "
            "the rows that are lost",
            choice("choice", "refuse", "drop"),
        ),
    ] = "refuse"
    fsync: Annotated[
        Literal["never", "interval", "each"],
        Setting(
            "when rows are forced to the disk, which matters at a power cut alone; `each` holds up every request",
            choice("choice", "never", "interval", "each"),
        ),
    ] = "interval"
    fsync_interval: Annotated[float, Setting("the most that a power cut takes under `interval`", seconds(), "s")] = 1.0
    retention: Annotated[
        int, Setting("how long rows are kept; the sums of each day stay", whole(1, 36_500), "days")
    ] = 400


class PriceTier(msgspec.Struct, frozen=True, kw_only=True):
    """The rates of requests with a long input. What it does not say is the price's own."""

    above: Annotated[int, Setting("input tokens; requests with more have these rates, whole", whole(1, 1 << 40))]
    input: Annotated[int | None, Setting("as the price's", dollars, "$ per million", "the price's")] = None
    output: Annotated[int | None, Setting("as the price's", dollars, "$ per million", "the price's")] = None
    cached_input: Annotated[int | None, Setting("as the price's", dollars, "$ per million", "the price's")] = None
    cache_write: Annotated[int | None, Setting("as the price's", dollars, "$ per million", "the price's")] = None
    reasoning: Annotated[int | None, Setting("as the price's", dollars, "$ per million", "the price's")] = None


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What a target costs from a moment on. Rates are nano-dollars per million tokens."""

    model: Annotated[
        str,
        Setting(
            "`upstream/model`, or the model's name at any upstream, or either with a `*` at its end; "
            "the first of these that there is, and the longest before its `*`",
            price_name,
        ),
    ]
    since: Annotated[
        int,
        Setting(
            "from when it holds: a date or a time, UTC; a request has the price of its admission",
            moment,
            default="always",
        ),
    ] = 0
    input: Annotated[int, Setting("input tokens", dollars, "$ per million")]
    output: Annotated[int, Setting("output tokens", dollars, "$ per million", "0")] = 0
    cached_input: Annotated[int | None, Setting("input read from a cache", dollars, "$ per million", "`input`")] = None
    cache_write: Annotated[int | None, Setting("input written to a cache", dollars, "$ per million", "`input`")] = None
    reasoning: Annotated[int | None, Setting("reasoning tokens", dollars, "$ per million", "`output`")] = None
    request: Annotated[int, Setting("each request", dollars, "$", "0")] = 0
    tiers: Annotated[tuple[PriceTier, ...], Setting("rates of requests with a long input", default="none")] = ()


class PriceFile(msgspec.Struct, frozen=True, kw_only=True):
    """What ``sluicegate prices import`` writes and ``price_file`` names."""

    source: Annotated[str, Setting("what it was made from", text)] = ""
    prices: Annotated[tuple[Price, ...], Setting("as the setting of this name")] = ()


class Credits(msgspec.Struct, frozen=True, kw_only=True):
    """A unit of account that is a whole number for each request."""

    per_dollar: Annotated[int, Setting("how many a dollar is", per_dollar, "credits")]
    rounding: Annotated[
        Literal["up", "half_up", "down"],
        Setting("how a request's cost becomes whole credits", choice("choice", "up", "half_up", "down")),
    ] = "up"
