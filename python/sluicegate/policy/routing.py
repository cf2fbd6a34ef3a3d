"""Where a request goes: from the model's name to its targets.

Rules: an exact name wins, then the longest ``prefix/*``. The names in a :class:`Route` and the labels in a
:class:`Target` are the configuration's, never the client's, so that metrics stay bounded. What the configuration allows
by ``*`` is not listed as a model: it is a rule, and who sends it literally gets a 404 from a provider.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from sluicegate.config import Model, Settings, Timeouts, Upstream
from sluicegate.errors import NotFound
from sluicegate.policy.keys import Caller, fits

#: Fallbacks of one request that are looked at.
MOST_FALLBACKS = 16


@dataclass(frozen=True, slots=True)
class Target:
    """Where an attempt goes.

    ``model`` is the name sent there. ``label`` is ``upstream/model`` as the configuration writes it, for metrics.
    ``passed_through``: the client chose the name below a ``*``, so that an unknown one (404) is its own mistake.
    ``recoverable`` are refusals that send a request on to the next target. ``weight`` is its share of the requests,
    ``times`` are its own.
    """

    upstream: Upstream
    model: str
    label: str
    passed_through: bool
    times: Timeouts
    recoverable: tuple[str, ...] = ()
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Route:
    """What a model's name leads to: the configured name (the ``model`` label), its settings, its targets in order."""

    name: str
    model: Model
    targets: tuple[Target, ...]


class Routes:
    """The models of one configuration."""

    def __init__(self, settings: Settings) -> None:
        self._upstreams = settings.upstreams
        self._exact: Mapping[str, Route] = MappingProxyType(
            {
                name: Route(name, model, self._targets(model, None))
                for name, model in settings.models.items()
                if not name.endswith("*")
            }
        )
        wild = sorted((name for name in settings.models if name.endswith("*")), key=len, reverse=True)
        self._wild = tuple((name, settings.models[name]) for name in wild)

    def route(self, requested: str) -> Route | None:
        """Return where a model's requests go, or None if there is no such model."""
        if (exact := self._exact.get(requested)) is not None:
            return exact
        for name, model in self._wild:
            if fits(name, requested):
                return Route(name, model, self._targets(model, requested[len(name) - 1 :]))
        return None

    def fallbacks(self, names: Sequence[str], caller: Caller, dialect: str) -> tuple[list[Route], list[str]]:
        """Return the routes of the fallbacks that a caller names, and why each of the others is skipped.

        At most :data:`MOST_FALLBACKS` names are looked at. ``dialect`` is the one their upstreams must have, since
        nothing is translated.
        """
        found: list[Route] = []
        skipped = ["too_many"] * (len(names) - MOST_FALLBACKS)
        for name in names[:MOST_FALLBACKS]:
            route = self.route(name)
            if route is None:
                skipped.append("unknown_model")
            elif not caller.may_use(name):
                skipped.append("not_allowed")
            elif all(target.upstream.dialect != dialect for target in route.targets):
                skipped.append("other_dialect")
            else:
                found.append(route)
        return found, skipped

    def visible_models(self, caller: Caller) -> tuple[str, ...]:
        """Return the models a caller may be shown: exact names, and exact names in its own key that a ``*`` serves."""
        named = (name for name in caller.models if not name.endswith("*") and self.route(name) is not None)
        return tuple(dict.fromkeys([*(name for name in self._exact if caller.may_use(name)), *named]))

    def _targets(self, model: Model, rest: str | None) -> tuple[Target, ...]:
        return tuple(
            Target(
                upstream=self._upstreams[target.upstream],
                model=target.model if rest is None else target.model.replace("*", rest),
                label=f"{target.upstream}/{target.model}",
                passed_through=rest is not None and "*" in target.model,
                recoverable=target.recoverable,
                times=target.times,
                weight=target.weight,
            )
            for target in model.targets
        )


def no_such_model(model: str) -> NotFound:
    """Make the answer to who asks for a model that is not configured; its name is shown if it is one."""
    shown = model if len(model) <= 64 and model.isprintable() else "that name"  # noqa: PLR2004  # what is repeated to a caller stays short
    return NotFound(
        "model_not_found", f"There is no model {shown!r} here; GET /models lists those there are.", param="model"
    )
