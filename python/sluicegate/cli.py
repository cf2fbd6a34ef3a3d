"""The command line: serve, check, explain, demo, usage, prices.

Rules: what a command needs is loaded when it runs, by name, so that ``check`` and ``--version`` pay for no server, and
``serve`` for no demo. (click itself costs 10 ms and 1 MB beside aiohttp.) Exit codes: 0 done, 1 the configuration or an
address cannot be used, 2 the command line is wrong.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
import sys
from types import MappingProxyType, ModuleType
from typing import NoReturn

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
def usage(path: Path | None, by: str, since: str, until: str, shape: str) -> None:
    """Sum what was used: requests, tokens, cost in dollars, credits."""
    settings = _load(path)
    report, interface = _lazily("sluicegate.ledger.report"), _lazily("sluicegate.store.interface")
    names = by.split(",")
    if not set(names) <= report.GROUPINGS.keys() or len(set(names)) < len(names):
        raise click.BadParameter(f"{by} is not made of {', '.join(report.GROUPINGS)}, each once", param_hint="--by")
    store = None
    try:
        store = _lazily("sluicegate.store.open").make_store(settings.store, create=False)
        if store is None:
            _stop("there is no ledger: `store` is `none`")
        store.open()
        found = report.usage(store, names, since, until)
    except interface.StoreError as error:
        _stop(f"the store cannot be read: {error}")
    finally:
        if store is not None:
            store.close()
    if shape == "json":
        click.echo(report.as_json(found))
    else:
        click.echo((report.as_csv if shape == "csv" else report.as_table)(found, names))


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
