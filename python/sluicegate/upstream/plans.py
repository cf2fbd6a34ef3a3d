"""The plan of a request: the profile's table row, the target's settings and the request, turned into what Rust follows.

Plans are made once per kind of request and kept: a request that wants nothing of its own costs one look-up. There are
as many as mounts x dialects x targets of models x 4; one that shows the caller's own name of a model is made anew.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import orjson

from sluicegate._native import Plan, Tariff
from sluicegate.dialects import pages, speech
from sluicegate.dialects.wire import wire
from sluicegate.errors import STREAM_ENDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from sluicegate._native import Bank
    from sluicegate.config import Settings, Timeouts
    from sluicegate.exchange import Exchange, Mount, Priced

#: Where a mount that says `$schema` serves it.
SCHEMA_PATH = "/schemas/ChatCompletion.json"


class Plans:
    """All plans of one configuration. ``event_gap`` is the slot in which gaps between events are counted.

    ``price`` gives what a target, by its upstream's and its model's name, costs at a time (Unix seconds).
    """

    def __init__(
        self, settings: Settings, bank: Bank, event_gap: int, price: Callable[[str, str, float], Priced | None]
    ) -> None:
        limits = settings.limits
        self._limits = (limits.head, limits.event, limits.held, limits.error_body, limits.answer)
        self._models = settings.models
        self._bank = bank
        self._gaps = event_gap
        self._price = price
        self._kept: dict[tuple[str, str, str, int, bool, bool], Plan] = {}

    def of(self, exchange: Exchange, model: str, times: Timeouts, *, asked: bool) -> Plan:
        """The plan for an exchange's next attempt, which goes to configured model ``model``.

        ``times`` are the target's own object in the settings: by being that it tells targets apart. ``asked``: the
        client asked for the usage event itself.
        """
        mount, dialect, stream = exchange.mount, exchange.endpoint.dialect, exchange.stream
        key = (mount.prefix, dialect, model, id(times), stream, asked)
        plan = self._kept.get(key)
        if plan is None:
            shown = exchange.requested_model if self._shows_requested(mount, model) else None
            plan = self._make(mount, dialect, model, shown, times, stream=stream, asked=asked)
            if shown is None:
                self._kept[key] = plan
        return self._for_one(plan, exchange, model) if mount.profile.page else plan

    def _for_one(self, plan: Plan, exchange: Exchange, model: str) -> Plan:
        """The same plan with what the mount's page says of this request's answer by configured model ``model``."""
        tariff: object = None
        if exchange.mount.profile.credits:
            # The row's own price: it is looked up for the same target and the same moment.
            priced = self._price(exchange.upstream, exchange.upstream_model, exchange.received_at)
            tariff = priced.tariff if priced is not None else None
        note = pages.note(exchange)
        if note is None:
            return plan.for_one(tariff=tariff) if isinstance(tariff, Tariff) else plan
        # Who hides the provider's model name does not want it told here.
        raw = exchange.raw_response and not self._shows_requested(exchange.mount, model)
        return plan.for_one(note=(*note, raw))

    def _shows_requested(self, mount: Mount, model: str) -> bool:
        chosen = self._models[model].model_in_response or mount.profile.model_in_answers
        return chosen == "requested"

    def _make(
        self,
        mount: Mount,
        dialect: str,
        model: str,
        shown: str | None,
        times: Timeouts,
        *,
        stream: bool,
        asked: bool,
    ) -> Plan:
        profile, override = mount.profile, self._models[model]
        usage_event = override.usage_event or profile.usage_event
        ensure = override.done == "ensure" if override.done else profile.ensure_done
        spoken = wire(dialect)
        chat = bool(spoken.done)
        heartbeat = times.heartbeat if profile.heartbeats and times.heartbeat else math.inf
        schema = f"{mount.public_url}{SCHEMA_PATH}" if profile.schema and mount.public_url and chat else ""
        return Plan(
            dialect=dialect,
            stream=stream,
            model=orjson.dumps(shown) if shown is not None else None,
            strip_usage=chat and usage_event == "asked" and not asked,
            fill_choices=chat and profile.fill_choices,
            tidy=spoken.tidy and profile.tidy,
            ensure_done=ensure,
            insert=b'"$schema":' + orjson.dumps(schema) if schema else None,
            finishes=pages.finishes(profile.page) if chat else None,
            done=spoken.done,
            errors={
                code: speech.error_event(dialect, code, words, profile.page) for code, words in STREAM_ENDS.items()
            },
            heartbeat=speech.HEARTBEAT,
            limits=self._limits,
            times=(times.first_content, times.idle, times.done_grace, heartbeat),
            bank=self._bank,
            gaps=self._gaps,
        )
