"""The command line: serve, check, explain, demo, usage, reconcile, keys, prices.

Rules: what a command needs is loaded when it runs, by name, so that ``check`` and ``--version`` pay for no server, and
``serve`` for no demo. (click itself costs 10 ms and 1 MB beside aiohttp.) Exit codes: 0 done, 1 the configuration or an
address cannot be used, 2 the command line is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import import_module
import json
from pathlib import Path
import sys
from types import MappingProxyType, ModuleType
from typing import Any, NoReturn

import click

from sluicegate import __version__
from sluicegate.config import WITHOUT_FILE, ConfigError, Settings, load, prepare_environment

_config = click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"YAML or TOML; without it {WITHOUT_FILE} is served.",
)
_shape = click.option("--format", "shape", type=click.Choice(["table", "json"]), default="table", show_default=True)
_TOPICS = MappingProxyType({"fallback": "sluicegate.policy.retries"})


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="sluicegate %(version)s")
def main() -> None:
    """Run a streaming gateway for LLM APIs: bytes in = bytes out, every token counted."""


@main.command()
@_config
def serve(path: Path | None) -> None:
    """Serve until SIGTERM, then drain. SIGHUP reloads the configuration, SIGUSR2 upgrades.

    Prints one line on standard output when it accepts: ready listen=URL admin=URL.
    """
    settings = _load(path)
    prepare_environment()
    server, app = _lazily("sluicegate.server.serve"), _lazily("sluicegate.web.app")
    sys.exit(server.serve(path, settings, app.start, app.start_admin))


@main.command()
@_config
def check(path: Path | None) -> None:
    """Say whether a configuration can be used: all that is wrong with it, or what it serves."""
    settings = _load(path)
    click.echo(f"ok: {path or WITHOUT_FILE}")
    click.echo(f"listen {settings.listen}{' (TLS)' if settings.tls else ''}, admin {settings.admin}")
    for title, names in (
        ("upstreams", settings.upstreams),
        ("models", settings.models),
        ("mounts", [f"{mount.prefix or '/'} as {mount.profile}" for mount in settings.mounts]),
        ("keys", [key.name for key in settings.keys]),
    ):
        click.echo(f"{title}: {', '.join(names) or 'none'}")


@main.command()
@click.argument("topic", type=click.Choice(list(_TOPICS)))
def explain(topic: str) -> None:
    """Print a table that the gateway decides by: fallback (when a failed attempt is made again, and where)."""
    click.echo(_lazily(_TOPICS[topic]).table(), nl=False)


@main.command()
@click.option("--once", is_flag=True, help="Exit after the show instead of serving on.")
def demo(*, once: bool) -> None:
    """Show it at work: a scripted upstream over TLS, the gateway, one streamed and one plain request."""
    prepare_environment()
    sys.exit(_lazily("sluicegate.demo.show").main(once=once))


@main.command()
@_config
@click.option("--by", default="model,day", show_default=True, metavar="NAMES", help="day, model, key, group, target.")
@click.option("--since", default="0001-01-01", metavar="DAY", help="The first day (UTC), such as 2026-01-31.")
@click.option("--until", default="9999-12-31", metavar="DAY", help="The last day (UTC).")
@click.option("--format", "shape", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
@click.option("--recompute", "again", is_flag=True, help="Work every row's cost out again; list the rows that differ.")
def usage(path: Path | None, by: str, since: str, until: str, shape: str, *, again: bool) -> None:
    """Sum what was used: requests, tokens, cost in dollars, credits.

    With --recompute: whether each row's cost is what its tokens and its price come to; exit code 1 if one is not.
    """
    settings = _load(path)
    report = _lazily("sluicegate.ledger.report")
    names = by.split(",")
    if not set(names) <= report.GROUPINGS.keys() or len(set(names)) < len(names):
        raise click.BadParameter(f"{by} is not made of {', '.join(report.GROUPINGS)}, each once", param_hint="--by")
    if again:
        _recompute(settings, _day(since, "--since"), _day(until, "--until"), shape)
    with _reading(settings) as store:
        found = report.usage(store, names, since, until)
    if shape == "json":
        click.echo(report.as_json(found))
    else:
        click.echo((report.as_csv if shape == "csv" else report.as_table)(found, names))


def _recompute(settings: Settings, since: datetime, until: datetime, shape: str) -> NoReturn:
    again, report = _lazily("sluicegate.ledger.recompute"), _lazily("sluicegate.ledger.report")
    with _reading(settings) as store:
        done = again.recompute(store, max(0, _micros(since) or 0), _micros(until, 1))
    if shape == "json" or done.differences:
        click.echo(getattr(report, f"structs_as_{shape}")(done.differences))
    click.echo(again.summary(done), err=True)
    sys.exit(1 if done.differences else 0)


def _day(text: str, option: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d")  # noqa: DTZ007  # _micros says that it is UTC
    except ValueError:
        raise click.BadParameter(f"{text} is no day such as 2026-01-31", param_hint=option) from None


@contextmanager
def _reading(settings: Settings) -> Iterator[Any]:
    """Open the store that is configured, which must be there; says so and exits where it cannot be read."""
    store = None
    try:
        store = _lazily("sluicegate.store.open").make_store(settings.store, create=False)
        if store is None:
            _stop("there is no ledger: `store` is `none`")
        store.open()
        yield store
    except _lazily("sluicegate.store.interface").StoreError as error:
        _stop(f"the store cannot be read: {error}")
    finally:
        if store is not None:
            store.close()


@main.command()
@click.argument("export", type=click.Path(path_type=Path))
@_config
@click.option("--upstream", required=True, metavar="NAME", help="Whose export it is, as configured.")
@click.option("--field", "fields", multiple=True, metavar="WHAT=COLUMN", help="id, input, output, cost or time.")
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), metavar="DAY", help="The first day (UTC) to compare.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), metavar="DAY", help="The last day (UTC) to compare.")
@_shape
def reconcile(
    export: Path,
    path: Path | None,
    upstream: str,
    fields: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    shape: str,
) -> None:
    """Compare the ledger with EXPORT, an upstream's usage export or log (.csv, .json, .jsonl), by its request ids.

    Lists what differs; exit code 1 if anything does.
    """
    settings = _load(path)
    books, report = _lazily("sluicegate.ledger.reconcile"), _lazily("sluicegate.ledger.report")
    named = dict(field.partition("=")[::2] for field in fields)
    if not named.keys() <= books.NAMES.keys() or not all(named.values()):
        raise click.BadParameter(f"say WHAT=COLUMN, WHAT one of {', '.join(books.NAMES)}", param_hint="--field")
    kind = export.suffix.lower().removeprefix(".")
    if kind not in ("csv", "json", "jsonl"):
        raise click.BadParameter(f"{export} ends in none of .csv, .json, .jsonl", param_hint="EXPORT")
    if upstream not in settings.upstreams:
        raise click.BadParameter(f"{upstream} is not configured", param_hint="--upstream")
    try:
        there = books.read_export(export.read_text("utf-8-sig"), kind, named)
    except (OSError, UnicodeDecodeError) as error:
        _stop(f"cannot read {export}: {getattr(error, 'strerror', None) or 'not UTF-8'}")
    except books.NotAnExport as error:
        _stop(f"{export}: {error}")
    with _reading(settings) as store:
        agree, found = books.compare(store, upstream, there, _micros(since), _micros(until, 1))
    if shape == "json" or found:
        click.echo(getattr(report, f"structs_as_{shape}")(found))
    click.echo(f"{agree} requests agree, {len(found)} differences", err=True)
    sys.exit(1 if found else 0)


def _micros(day: datetime | None, more: int = 0) -> int | None:
    return None if day is None else int((day.replace(tzinfo=UTC).timestamp() + 86_400 * more) * 1e6)


@main.group()
def prices() -> None:
    """Bring prices from elsewhere."""


@prices.command(name="import")
@click.argument("kind", type=click.Choice(["litellm"]))
@click.argument("file", type=click.Path(path_type=Path))
def import_prices(kind: str, file: Path) -> None:
    """Print a price file made from FILE, for the setting price_file.

    litellm: model_prices_and_context_window.json.
    """
    importer = _lazily(f"sluicegate.ledger.{kind}")
    try:
        text, count, left_out = importer.convert(file.read_text("utf-8"), file.name)
    except (OSError, UnicodeDecodeError) as error:
        _stop(f"cannot read {file}: {getattr(error, 'strerror', None) or 'not UTF-8'}")
    except importer.NotATable as error:
        _stop(f"{file} {error}")
    click.echo(text)
    click.echo(f"{count} prices; {left_out} entries without a price of tokens left out", err=True)


@main.group()
def keys() -> None:
    """Make, list, rotate and revoke keys in the store. What serves follows within 5 seconds."""


@keys.command()
@click.argument("name")
@_config
@click.option("--models", metavar="NAMES", help="What it may use: names, prefix/*, *; all without it.")
@click.option("--group", metavar="NAME", help="A name under `groups`.")
@click.option("--limit", "limits", multiple=True, metavar="NAME=VALUE", help="As under `keys`: requests_per_minute=60.")
@click.option("--expires", metavar="TIME", help="A date or a time, UTC, such as 2026-12-31.")
@_shape
def create(
    name: str,
    path: Path | None,
    models: str | None,
    group: str | None,
    limits: tuple[str, ...],
    expires: str | None,
    shape: str,
) -> None:
    """Make a key and print it, once: it is kept as a digest alone."""
    said: dict[str, object] = {"name": name, "group": group, "expires": expires}
    if models is not None:
        said["models"] = models.split(",")
    for limit in limits:
        field, sign, value = limit.partition("=")
        if not sign:
            raise click.BadParameter(f"{limit} is not NAME=VALUE", param_hint="--limit")
        said[field] = _json(value)
    _with_keys(path, shape, lambda register: register.create({k: v for k, v in said.items() if v is not None}))


@keys.command(name="list")
@_config
@_shape
def list_keys(path: Path | None, shape: str) -> None:
    """List the keys of the store, also those that are revoked."""
    _with_keys(path, shape, lambda register: register.listed())


@keys.command()
@click.argument("name")
@_config
@click.option("--overlap", type=float, default=0, show_default=True, help="Seconds that the former key is still good.")
@_shape
def rotate(name: str, path: Path | None, overlap: float, shape: str) -> None:
    """Give a key another text and print it, once."""
    _with_keys(path, shape, lambda register: register.rotate(name, overlap))


@keys.command()
@click.argument("name")
@_config
@_shape
def revoke(name: str, path: Path | None, shape: str) -> None:
    """Make a key nobody's, for good."""
    _with_keys(path, shape, lambda register: register.revoke(name))


def _with_keys(path: Path | None, shape: str, work: Callable[[Any], Any]) -> None:
    """Do something with the store's keys and print what came of it."""
    settings = _load(path)
    register, interface = _lazily("sluicegate.access.register"), _lazily("sluicegate.store.interface")
    try:
        found = register.with_register(settings, _lazily("sluicegate.store.open").make_store(settings.store), work)
    except (register.Refused, interface.StoreError) as error:
        _stop(str(error))
    click.echo(_lazily("sluicegate.access.page").written(found, shape))


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _stop(message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(1)


def _load(path: Path | None) -> Settings:
    """Read the configuration; print its warnings, or all that is wrong with it and exit 1."""
    try:
        settings = load(path)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        count = len(error.problems)
        click.echo(f"{count} error{'s' if count > 1 else ''} in {error.source}", err=True)
        sys.exit(1)
    for warning in settings.warnings:
        click.echo(f"warning: {warning}", err=True)
    return settings


def _lazily(name: str) -> ModuleType:
    return import_module(name)
