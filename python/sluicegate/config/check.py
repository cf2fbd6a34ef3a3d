"""What one setting must not say because of another, and what is not built yet.

Rules: pure; every check notes all it finds. Messages name what stands in the file, but never keys and credentials. A
setting whose feature is not built yet is an error unless it stands at its default, so that nobody relies on what does
not happen. What is allowed but may not be meant is a warning.
"""

from __future__ import annotations

from sluicegate.config.check_allowances import check_allowances
from sluicegate.config.check_prices import check_prices
from sluicegate.config.model import Settings
from sluicegate.config.read import Problems, child, is_read
from sluicegate.config.readers import bytes_text, unknown
from sluicegate.config.routes import DEFAULT_WEIGHT, RELAYED, Model, Upstream
from sluicegate.config.values import Address, shown

_EXAMPLE_UPSTREAM = '{openai: {dialect: openai, base_url: "https://api.openai.com/v1", api_key: "${OPENAI_API_KEY}"}}'
_EXAMPLE_MODEL = '{"openai/*": {targets: [{upstream: openai, model: "*"}]}}'


def check(settings: Settings, problems: Problems) -> None:
    """Note everything that is wrong across settings."""
    _check_binds(settings, problems)
    _check_upstreams(settings, problems)
    _check_models(settings, problems)
    _check_mounts(settings, problems)
    _check_keys(settings, problems)
    _check_limits(settings, problems)
    check_prices(settings, problems)
    check_allowances(settings, problems)
    _check_health(settings, problems)


def _check_binds(settings: Settings, problems: Problems) -> None:
    listen, admin = settings.listen, settings.admin
    if not settings.keys and not settings.require_key and not listen.loopback:
        problems.add(
            "listen",
            f'"{listen}" can be reached from elsewhere and there are no keys; add some, or require_key: true, '
            f'or write "{_local(listen)}"',
        )
    if settings.admin_token is None and not admin.loopback:
        problems.add(
            "admin",
            f'"{admin}" can be reached from elsewhere; set admin_token, or write "{_local(admin)}"',
        )
    if listen == admin and listen.port != 0:
        problems.add("admin", f'"{admin}" is also `listen`; the admin API never stands on the public port')


def _check_upstreams(settings: Settings, problems: Problems) -> None:
    if not settings.upstreams and not problems.below("upstreams"):
        problems.add("upstreams", f"none is configured; write one, such as {_EXAMPLE_UPSTREAM}")
    for name, upstream in settings.upstreams.items():
        path = child("upstreams", name)
        if (upstream.api_key or upstream.credentials) and (header := _credential_header(upstream)) in upstream.headers:
            problems.add(child(f"{path}.headers", header), "is set by api_key; leave one of them out")
        _check_credentials(upstream, path, problems)
        if upstream.ca_file is not None and is_read(upstream.base_url) and not upstream.base_url.tls:
            problems.add(f"{path}.ca_file", "is of no use without TLS; write base_url with https, or leave it out")


def _check_credentials(upstream: Upstream, path: str, problems: Problems) -> None:
    if upstream.api_key is not None and upstream.credentials:
        problems.add(f"{path}.credentials", "stand beside api_key; write it as one of them, and leave api_key out")
    names: dict[str, int] = {}
    for i, credential in enumerate(upstream.credentials):
        if (before := names.setdefault(credential.name, i)) != i:
            problems.add(
                f"{path}.credentials[{i}].name", f"{shown(credential.name)} is credentials[{before}]'s already"
            )


def _check_models(settings: Settings, problems: Problems) -> None:
    if not settings.models and not problems.below("models"):
        problems.add("models", f"none is configured; write one, such as {_EXAMPLE_MODEL}")
    for name, model in settings.models.items():
        path = child("models", name)
        if not model.targets and not problems.below(path):
            problems.add(f"{path}.targets", "is empty; name one, such as [{upstream: openai, model: gpt-4o-mini}]")
        for i, target in enumerate(model.targets):
            at = f"{path}.targets[{i}]"
            upstream = settings.upstreams.get(target.upstream)
            if upstream is None:
                problems.add(f"{at}.upstream", unknown("upstream", target.upstream, settings.upstreams))
            elif is_read(upstream.dialect) and upstream.dialect not in RELAYED:
                problems.add(
                    f"{at}.upstream",
                    f"{shown(target.upstream)} speaks {upstream.dialect}, which no endpoint relays yet; "
                    f"upstreams of these dialects can be named: {', '.join(RELAYED)}",
                )
            if is_read(target.model):
                _check_star(name, target.model, f"{at}.model", problems)
        _check_weights(path, model, problems)


def _check_weights(path: str, model: Model, problems: Problems) -> None:
    weights = [(i, target.weight) for i, target in enumerate(model.targets) if is_read(target.weight)]
    if not is_read(model.routing) or not weights:
        return
    if model.routing == "weight":
        if not any(weight for _, weight in weights):
            problems.add(f"{path}.targets", "all have the weight 0, so that none would be tried first; give one more")
        return
    for i, weight in weights:
        if weight != DEFAULT_WEIGHT:
            problems.add(
                f"{path}.targets[{i}].weight",
                f'{weight} has no effect under `routing: {model.routing}`; write "routing: weight", or leave it out',
            )


def _check_star(name: str, model: str, path: str, problems: Problems) -> None:
    if model.count("*") > 1:
        problems.add(path, f"{shown(model)} has more than one `*`; one stands for what the name's `*` matched")
    elif "*" in model and not name.endswith("*"):
        problems.add(path, f"{shown(model)} has a `*`, but the name {shown(name)} has none that it could stand for")


def _check_mounts(settings: Settings, problems: Problems) -> None:
    if not settings.mounts:
        problems.add("mounts", "is empty; leave it out, or write one, such as [{prefix: /v1, profile: openai}]")
    first: dict[str, int] = {}
    for i, mount in enumerate(settings.mounts):
        if mount.profile == "caicaini":
            _check_caicaini(settings, f"mounts[{i}].profile", problems)
        if (before := first.setdefault(mount.prefix, i)) != i:
            problems.add(f"mounts[{i}].prefix", f"{shown(mount.prefix or '/')} is mounts[{before}]'s already")


def _check_caicaini(settings: Settings, path: str, problems: Problems) -> None:
    """Note what its page needs: each answer names credits, and its models are named as the page names them."""
    if settings.credits is None and not problems.below("credits"):
        problems.add(path, '"caicaini" names the credits of each answer; write `credits`, such as {per_dollar: 1000}')
    if settings.models and not any(name.startswith("caicaini/") for name in settings.models):
        problems.add("models", f'{path} "caicaini" serves those whose names begin with "caicaini/", and there is none')


def _check_keys(settings: Settings, problems: Problems) -> None:
    names: dict[str, int] = {}
    secrets: dict[object, int] = {}
    for i, key in enumerate(settings.keys):
        if (before := names.setdefault(key.name, i)) != i:
            problems.add(f"keys[{i}].name", f"{shown(key.name)} is keys[{before}]'s already")
        if (before := secrets.setdefault(key.key, i)) != i:
            problems.add(f"keys[{i}].key", f"is the same key as keys[{before}]'s; each caller has its own")
        if key.group is not None and is_read(key.group) and key.group not in settings.groups:
            problems.add(f"keys[{i}].group", unknown("group", key.group, settings.groups))
        if not key.models:
            problems.add(f"keys[{i}].models", "is empty; leave it out for all models, or name some")
        for j, pattern in enumerate(key.models):
            if is_read(pattern) and not any(_overlap(pattern, name) for name in settings.models):
                problems.add(f"keys[{i}].models[{j}]", unknown("model", pattern, settings.models))


def _check_limits(settings: Settings, problems: Problems) -> None:
    limits = settings.limits
    if limits.body > limits.bodies_total:
        problems.add(
            "limits.bodies_total",
            f"{bytes_text(limits.bodies_total)} is less than limits.body, {bytes_text(limits.body)}",
        )
    for name in ("held", "event", "error_body"):
        if (one := getattr(limits, name)) > limits.held_total:
            problems.add(
                f"limits.{name}", f"{bytes_text(one)} is more than limits.held_total, {bytes_text(limits.held_total)}"
            )


def _check_health(settings: Settings, problems: Problems) -> None:
    health = settings.health
    times = (health.cooldown, health.cooldown_max)
    if all(map(is_read, times)) and health.cooldown > health.cooldown_max:
        problems.add(
            "health.cooldown_max",
            f"{health.cooldown_max:g} s is less than health.cooldown, {health.cooldown:g} s; write as much at least",
        )


def _credential_header(upstream: Upstream) -> str:
    return {"anthropic": "x-api-key", "gemini": "x-goog-api-key"}.get(upstream.dialect, "authorization")


def _local(address: Address) -> str:
    return f"127.0.0.1:{address.port}"


def _overlap(pattern: str, name: str) -> bool:
    """Whether some model fits both: each is an exact name, or a prefix followed by ``*``."""
    one, other = pattern.removesuffix("*"), name.removesuffix("*")
    if one == pattern and other == name:
        return one == other
    if one == pattern:
        return one.startswith(other)
    if other == name:
        return other.startswith(one)
    return one.startswith(other) or other.startswith(one)
