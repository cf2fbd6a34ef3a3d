"""The whole configuration as one struct; its parts: ``routes``, ``retries``, ``bounds``, ``health``.

Rules: a field with a :class:`~sluicegate.config.setting.Setting` may stand in the file; a field without one is worked
out from the others when the file is loaded. All structs are frozen; :class:`Settings` is the one immutable snapshot
that a request keeps from its start to its end. The settings table of the README is printed from here
(:mod:`sluicegate.config.table`).
"""

from __future__ import annotations

from collections.abc import Mapping
import ssl
from types import MappingProxyType
from typing import Annotated, Literal

import msgspec

from sluicegate.config.accounts import DEFAULT_STORE, Credits, Ledger, Price
from sluicegate.config.allowances import Allowance
from sluicegate.config.bounds import Limits, Timeouts
from sluicegate.config.health import Health
from sluicegate.config.keys import DEFAULT_KEY_PREFIX, Key, key_prefix
from sluicegate.config.readers import (
    access_key,
    address,
    choice,
    flag,
    label,
    model_name,
    redis_url,
    seconds,
    store_url,
    text,
    whole,
)
from sluicegate.config.retries import Retries
from sluicegate.config.routes import Model, Mount, Upstream
from sluicegate.config.setting import Setting
from sluicegate.config.values import Address, Secret, StoreUrl, Written


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """TLS towards clients."""

    cert: Annotated[str, Setting("PEM file of the certificate and its chain", text, "file")]
    key: Annotated[str, Setting("PEM file of its key, without a password", text, "file")]
    context: ssl.SSLContext | None = None
    """The two files as loaded."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration: one immutable snapshot."""

    listen: Annotated[
        Address,
        Setting("where clients connect; port 0 picks a free one; off loopback only with `keys`", address, "address"),
    ] = Address("127.0.0.1", 8080)
    admin: Annotated[
        Address, Setting("metrics, health and the admin API; off loopback only with `admin_token`", address, "address")
    ] = Address("127.0.0.1", 9090)
    admin_token: Annotated[
        Secret | None,
        Setting(
            "what the admin address wants as a bearer token, health apart; 8 visible characters at least",
            access_key,
            "secret",
        ),
    ] = None
    tls: Annotated[Tls | None, Setting("TLS towards clients; without it plain HTTP")] = None
    workers: Annotated[
        int,
        Setting(
            "processes that serve; with more than 1 a supervisor starts them, replaces those that die and has `admin`",
            whole(1, 1024),
            "processes",
        ),
    ] = 1
    store: Annotated[
        StoreUrl,
        Setting(
            "where the rows of admitted requests are kept: `sqlite:///FILE`, `postgresql://...`, or `none`; "
            "without a configuration file it is `none`",
            store_url,
            "URL",
        ),
    ] = DEFAULT_STORE
    ledger: Annotated[Ledger, Setting("how rows get there", default="below")] = Ledger()
    shared: Annotated[
        Secret | None,
        Setting(
            "the Redis server that keeps the limits of several machines, `redis://...`; needs the extra `redis`; "
            "read at the start",
            redis_url,
            "URL",
        ),
    ] = None
    upstreams: Annotated[
        Mapping[str, Upstream], Setting("where requests may go, by name", default="required in a file", name=label)
    ] = MappingProxyType({})
    models: Annotated[
        Mapping[str, Model],
        Setting(
            "what callers may ask for: exact names, and `prefix/*` for all below; "
            "an exact name wins, then the longest prefix",
            default="required in a file",
            name=model_name,
        ),
    ] = MappingProxyType({})
    mounts: Annotated[
        tuple[Mount, ...], Setting("path prefixes and the API page each speaks as", default="`/v1` as openai")
    ] = (Mount(prefix="/v1"),)
    keys: Annotated[
        tuple[Key, ...],
        Setting("who may ask; without keys everyone on this machine may, and only loopback is bound", default="none"),
    ] = ()
    key_prefix: Annotated[
        str, Setting("what keys begin with that `sluicegate keys create` and the admin API make", key_prefix)
    ] = DEFAULT_KEY_PREFIX
    require_key: Annotated[
        bool,
        Setting(
            "nobody may ask without a key, though `keys` is empty and the store never had one; allows a wider `listen`",
            flag,
        ),
    ] = False
    keys_max_stale: Annotated[
        float,
        Setting(
            "how long the store's keys stay good while it does not answer; then `keys_unavailable`", seconds(), "s"
        ),
    ] = 3600.0
    keys_unavailable: Annotated[
        Literal["allow", "deny"],
        Setting(
            "what becomes of the store's keys then: `allow` goes on with those last read; `deny` answers 503 "
            "`keys_unavailable`. Keys of this file are good at any time",
            choice("choice", "allow", "deny"),
        ),
    ] = "deny"
    retries: Annotated[
        Retries, Setting("further attempts, as far as `sluicegate explain fallback` allows any", default="below")
    ] = Retries()
    prices: Annotated[
        tuple[Price, ...], Setting("what targets cost; without a price a row's cost is unknown", default="none")
    ] = ()
    price_file: Annotated[
        str | None, Setting("more `prices`: a file that `sluicegate prices import` wrote; `prices` win", text, "file")
    ] = None
    require_price: Annotated[
        bool, Setting("refuse targets without a price: at the start, and below a `*` with 400 `model_not_priced`", flag)
    ] = False
    credits: Annotated[Credits | None, Setting("a unit for `usage.credits_consumed` and rows; without it none")] = None
    groups: Annotated[
        Mapping[str, Allowance],
        Setting("limits that several keys have together, by name", default="none", name=label),
    ] = MappingProxyType({})
    reserve_default: Annotated[
        int,
        Setting(
            "output tokens reserved for a request that says no `max_tokens`, where its model says no `max_output`",
            whole(1, 1 << 40),
            "tokens",
        ),
    ] = 4096
    limits_unavailable: Annotated[
        Literal["allow", "deny"],
        Setting(
            "who keeps the limits does not answer within 50 ms: `allow` lets each process enforce them by what it has "
            "admitted itself; `deny` answers 503 `limits_unavailable` to whoever is limited",
            choice("choice", "allow", "deny"),
        ),
    ] = "allow"
    timeouts: Annotated[Timeouts, Setting("durations", default="below")] = Timeouts()
    limits: Annotated[Limits, Setting("sizes and counts", default="below")] = Limits()
    health: Annotated[Health, Setting("when a target is left alone", default="below")] = Health()
    on_disconnect: Annotated[
        Literal["cancel", "finish"],
        Setting(
            "what becomes of the upstream's answer when the client leaves: `cancel` drops it; "
            "`finish` reads on without the client, within all timeouts, to learn the exact usage",
            choice("choice", "cancel", "finish"),
        ),
    ] = "cancel"
    heartbeat_early: Annotated[
        bool,
        Setting(
            "heartbeats also before an upstream has answered 2xx; every later error is then told inside a 200 stream",
            flag,
        ),
    ] = False
    version: str = ""
    """Twelve hexadecimal digits of the SHA-256 of the file as written: which configuration a row was made under."""
    warnings: tuple[str, ...] = ()
    """What may be meant, and is worth a second look."""
    written: Written = Written()
    """The files it was read from: who loads these again gets the same settings, whatever has become of the files."""
