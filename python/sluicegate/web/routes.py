"""Which requests there are: exact paths below the mounts, nothing else.

The path as it was sent is compared with the paths as they are written: no decoding, no cleaning, no redirects. What is
authorised is what is routed, and ``//v1``, ``/v1/%2e%2e/x``, ``/v1%2fmodels``, an absolute-form target or a trailing
slash are unknown paths. The one part that is decoded is a model's id, at the end of its path.
"""

from __future__ import annotations

from dataclasses import dataclass
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes, urlsplit

from sluicegate.dialects import speech
from sluicegate.errors import MethodNotAllowed, NotFound
from sluicegate.web.profiles import DEFAULT_DIALECT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sluicegate.exchange import Endpoint, Mount

_SCHEMA = "/schemas/ChatCompletion.json"
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class Relay:
    """A request that goes to an upstream."""

    mount: Mount
    endpoint: Endpoint
    #: The dialect its errors are written in.
    errors: str


@dataclass(frozen=True, slots=True)
class ModelList:
    """``GET {prefix}/models``."""

    mount: Mount


@dataclass(frozen=True, slots=True)
class OneModel:
    """``GET {prefix}/models/{id}``; ids contain slashes, escaped or not."""

    mount: Mount
    model: str


@dataclass(frozen=True, slots=True)
class Schema:
    """The document that ``$schema`` of a mount's answers points to; ``address`` is its URL where one is configured."""

    address: str | None


@dataclass(frozen=True, slots=True)
class OwnUsage:
    """``GET {prefix}/usage``: what the caller's key has used."""

    mount: Mount


Route = Relay | ModelList | OneModel | Schema | OwnUsage


class Routes:
    """The table of paths, made once from the mounts and the endpoints below each of them."""

    def __init__(self, mounts: Sequence[Mount], endpoints: Sequence[Endpoint]) -> None:
        exact: dict[str, tuple[str, Route]] = {}
        for mount in mounts:
            prefix = mount.prefix.rstrip("/")
            for endpoint in endpoints:
                exact[prefix + endpoint.path] = (
                    "POST",
                    Relay(mount, endpoint, speech.shape(mount.profile.page, endpoint.dialect)),
                )
            exact[f"{prefix}/models"] = ("GET", ModelList(mount))
            exact[f"{prefix}/usage"] = ("GET", OwnUsage(mount))
            if mount.profile.schema:
                address = schema_address(mount)
                for path in (f"{prefix}{_SCHEMA}", urlsplit(address or "").path):
                    exact[path] = ("GET", Schema(address))
        self._exact: Mapping[str, tuple[str, Route]] = exact
        self._relays = {path: route for path, (_, route) in exact.items() if isinstance(route, Relay)}
        self._mounts = tuple((mount.prefix.rstrip("/"), mount) for mount in mounts)

    def relay(self, path: str) -> Relay | None:
        """Give where a POST to a path is relayed to, or None."""
        return self._relays.get(path)

    def find(self, method: str, path: str) -> Route:
        """Give the route of a path. Raises NotFound, or MethodNotAllowed with ``Allow``."""
        allowed, route = self._exact.get(path) or self._model(path)
        if method != allowed:
            raise MethodNotAllowed("method_not_allowed", f"Please use {allowed} here.", headers={"Allow": allowed})
        return route

    def dialect(self, path: str) -> str:
        """Tell in which shape an error about a path is written."""
        _, route = self._exact.get(path, ("", None))
        if isinstance(route, Relay):
            return route.errors
        page, longest = "", -1
        for prefix, mount in self._mounts:
            if path.startswith(f"{prefix}/") and len(prefix) > longest:
                page, longest = mount.profile.page, len(prefix)
        return speech.shape(page, DEFAULT_DIALECT)

    def _model(self, path: str) -> tuple[str, Route]:
        for prefix, mount in self._mounts:
            model = path.removeprefix(f"{prefix}/models/")
            if model and model != path and not _BROKEN_ESCAPE.search(model):
                return "GET", OneModel(mount, unquote_to_bytes(model).decode("utf-8", "replace"))
        raise NotFound("unknown_path", "There is nothing at this path.")


def schema_address(mount: Mount) -> str | None:
    """Give the URL that ``$schema`` of a mount's answers names; None without a public URL. Never built from Host."""
    return mount.public_url + _SCHEMA if mount.public_url and mount.profile.schema else None
