"""From a file, or none, to one :class:`~sluicegate.config.model.Settings`, or to every problem at once.

Rules: nothing else in the package opens a configuration file or looks at the environment. Messages about a file that
cannot be parsed name the line, and never show it: it may hold a key.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
import contextlib
import hashlib
import os
from pathlib import Path
import ssl
import tomllib
from types import MappingProxyType
from typing import Any, Final

import msgspec
import yaml

from sluicegate.config.accounts import Price, PriceFile
from sluicegate.config.bounds import Timeouts, narrowed
from sluicegate.config.check import check
from sluicegate.config.check_allowances import warnings
from sluicegate.config.expand import Sources, expand_tree
from sluicegate.config.model import Settings, Tls
from sluicegate.config.read import Problem, Problems, child, is_read, read_struct
from sluicegate.config.readers import Wrong
from sluicegate.config.routes import LOOPBACK_POOL_IDLE, Model, Upstream
from sluicegate.config.values import StoreUrl, Written, kind_of, shown

_LARGEST_FILE: Final = 4 << 20
_DEFAULT_POOL_IDLE: Final = 30.0
#: Name look-ups and file reads run on libuv's threads; with its 4 a slow resolver would stop them all.
_THREADS: Final = "16"
#: What is served without a file, in words and as a file would say it.
WITHOUT_FILE: Final = "openai/* by OPENAI_API_KEY, on loopback"
_ZERO: Final = MappingProxyType(
    {
        "store": "none",
        "upstreams": {
            "openai": {"dialect": "openai", "base_url": "https://api.openai.com/v1", "api_key": "${OPENAI_API_KEY}"},
        },
        "models": {"openai/*": {"targets": [{"upstream": "openai", "model": "*"}]}},
    }
)


class ConfigError(Exception):
    """A configuration that cannot be used. ``source`` is what was read; ``problems`` is everything wrong with it."""

    def __init__(self, source: str, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.source = source
        self.problems = problems


def load(path: Path | None, environ: Mapping[str, str] | None = None, written: Written | None = None) -> Settings:
    """Read, expand and check a configuration whole.

    ``path`` ends in .yaml, .yml, .json or .toml; paths inside the file are relative to its folder. Without a path,
    ``openai/*`` is served with the environment's ``OPENAI_API_KEY``. ``environ`` is the process's unless given. With
    ``written`` no file is read: these are their texts, as an earlier :attr:`Settings.written` kept them.
    Raises :class:`ConfigError`.
    """
    problems = Problems()
    files = Files(path.parent if path else Path(), written)
    sources = Sources(os.environ if environ is None else environ, files.text)
    tree, version = _parse(path.name, files, problems) if path else _zero(sources.environ, problems)
    source = str(path or "the environment")
    if problems:
        raise ConfigError(source, tuple(problems))
    settings = read_struct(Settings, _expand(tree, sources, source, problems), "", problems)
    settings = _resolve(settings, files, problems)
    check(settings, problems)
    if problems:
        raise ConfigError(source, tuple(problems))
    return msgspec.structs.replace(settings, version=version, warnings=tuple(warnings(settings)), written=files.written)


def notifications_wanted(environ: Mapping[str, str] | None = None) -> tuple[str | None, float | None]:
    """Tell where a service manager wants to be notified, and how many seconds apart it wants signs of life, if so."""
    environ = os.environ if environ is None else environ
    interval = environ.get("WATCHDOG_USEC", "")
    wanted = interval.isdecimal() and environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return environ.get("NOTIFY_SOCKET") or None, int(interval) / 1e6 if wanted else None


def prepare_environment() -> None:
    """Set what libraries read from the environment at start: 16 threads for libuv, unless the operator said otherwise.

    To be called before the loop is made.
    """
    os.environ.setdefault("UV_THREADPOOL_SIZE", _THREADS)


class Files:
    """The files that a configuration is read from: itself and those it names by paths relative to its folder.

    Their texts are kept in :attr:`written` as they are read; with ``known`` they come from there instead.
    """

    def __init__(self, folder: Path, known: Written | None = None) -> None:
        self._folder = folder
        self._known = known
        self.written = Written()

    def path(self, name: str) -> Path:
        """Return where a file is."""
        return self._folder / name

    def text(self, name: str) -> str:
        """Return a file's text. Raises Wrong: unreadable, above 4 MiB, or not UTF-8."""
        path = str(self.path(name))
        if path not in self.written.texts:
            if self._known is None:
                self.written.texts[path] = read_text(Path(path))
            elif path in self._known.texts:
                self.written.texts[path] = self._known.texts[path]
            else:
                raise Wrong(f"the file {shown(path)} was not read when the configuration was")
        return self.written.texts[path]


def read_text(path: Path) -> str:
    """Return a file's text. Raises Wrong: unreadable, above 4 MiB, or not UTF-8."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise Wrong(f"cannot read the file {shown(str(path))}: {reason}") from None
    if len(data) > _LARGEST_FILE:
        raise Wrong(f"the file {shown(str(path))} is larger than 4 MiB")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Wrong(f"the file {shown(str(path))} is not UTF-8 text") from None


def _expand(tree: object, sources: Sources, source: str, problems: Problems) -> object:
    try:
        return expand_tree(tree, sources, problems)
    except RecursionError:
        raise ConfigError(source, (Problem(source, "is nested too deep, or a YAML alias contains itself"),)) from None


def _zero(environ: Mapping[str, str], problems: Problems) -> tuple[Mapping[str, Any], str]:
    if not environ.get("OPENAI_API_KEY"):
        problems.add("OPENAI_API_KEY", "is not set; set it, or name a configuration file with --config FILE")
    return dict(_ZERO), "default"


def _parse(name: str, files: Files, problems: Problems) -> tuple[object, str]:
    path = files.path(name)
    try:
        text = files.text(name)
        tree: object = _parse_text(text, path.suffix)
    except Wrong as wrong:
        problems.add(str(path), str(wrong))
        return {}, ""
    if tree is not None and not isinstance(tree, dict):
        problems.add(str(path), f"must be a mapping of names to values, not {kind_of(tree)}")
    return tree or {}, hashlib.sha256(text.encode()).hexdigest()[:12]


def _parse_text(text: str, suffix: str) -> object:
    if suffix == ".toml":
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise Wrong(f"is not TOML: {error}") from None
    if suffix not in {".yaml", ".yml", ".json"}:
        raise Wrong("is of no known kind; name it .yaml, .yml, .json or .toml")
    try:
        return yaml.load(text, _Loader)  # noqa: S506 it is a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise Wrong(f"is not YAML: {where}{error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError):
        raise Wrong("is not YAML: it holds characters or values that YAML does not allow") from None
    except RecursionError:
        raise Wrong("is nested too deep") from None


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses what it would silently drop: a name that stands twice in one mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002  # its base's signature
        """Build a mapping; the signature is its base's."""
        seen: set[object] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    problem = f"the name {shown(key.value)} stands here for the second time"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def _resolve(settings: Settings, files: Files, problems: Problems) -> Settings:
    """Fill in what follows from the settings: names, the contents of files, the times that hold where."""
    return msgspec.structs.replace(
        settings,
        upstreams=MappingProxyType(
            {
                name: _resolve_upstream(name, upstream, settings.timeouts.pool_idle, files, problems)
                for name, upstream in settings.upstreams.items()
            }
        ),
        models=MappingProxyType(
            {name: _resolve_model(model, settings.timeouts) for name, model in settings.models.items()}
        ),
        tls=_resolve_tls(settings.tls, files, problems) if settings.tls else None,
        store=_resolve_store(settings.store, files),
        ledger=msgspec.structs.replace(settings.ledger, folder=str(files.path(settings.ledger.folder))),
        prices=_all_prices(settings, files, problems),
    )


def _resolve_store(store: StoreUrl, files: Files) -> StoreUrl:
    return msgspec.structs.replace(store, path=str(files.path(store.path))) if store.kind == "sqlite" else store


def _all_prices(settings: Settings, files: Files, problems: Problems) -> tuple[Price, ...]:
    """Give the prices, and those of ``price_file`` for whatever they do not name."""
    if settings.price_file is None:
        return settings.prices
    path = files.path(settings.price_file)
    inside = Problems()
    tree, _ = _parse(settings.price_file, files, inside)
    listed = read_struct(PriceFile, tree, "", inside)
    for problem in inside:
        problems.add("price_file", f"{path.name}: {problem}" if problem.path != str(path) else problem.message)
    own = {price.model for price in settings.prices}
    return (*settings.prices, *(price for price in listed.prices if price.model not in own))


def _resolve_upstream(
    name: str, upstream: Upstream, pool_idle: float | None, files: Files, problems: Problems
) -> Upstream:
    url = upstream.base_url
    near = is_read(url) and url.loopback and not url.tls
    return msgspec.structs.replace(
        upstream,
        name=name,
        ca_pem=_authorities(upstream.ca_file, child("upstreams", name), files, problems) if upstream.ca_file else b"",
        pool_idle=pool_idle if pool_idle is not None else LOOPBACK_POOL_IDLE if near else _DEFAULT_POOL_IDLE,
    )


def _resolve_model(model: Model, everywhere: Timeouts) -> Model:
    times = narrowed(everywhere, model.timeouts)
    targets = tuple(msgspec.structs.replace(target, times=narrowed(times, target.timeouts)) for target in model.targets)
    return msgspec.structs.replace(model, times=times, targets=targets)


def _authorities(written: str, path: str, files: Files, problems: Problems) -> bytes:
    try:
        text = files.text(written)
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except Wrong as wrong:
        problems.add(f"{path}.ca_file", str(wrong))
    except (ssl.SSLError, ValueError):
        problems.add(f"{path}.ca_file", f"the file {shown(written)} holds no PEM certificate that can be read")
    else:
        return text.encode()
    return b""


def _resolve_tls(tls: Tls, files: Files, problems: Problems) -> Tls:
    texts = {}
    for name in ("cert", "key"):
        if is_read(named := getattr(tls, name)):
            try:
                texts[name] = files.text(named)
            except Wrong as wrong:
                problems.add(f"tls.{name}", str(wrong))
    if problems.below("tls"):
        return tls
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        with _as_file(texts["cert"]) as cert, _as_file(texts["key"]) as key:
            # With an empty password a protected key fails here; without one OpenSSL would ask on the terminal.
            context.load_cert_chain(cert, key, password="")
    except (ssl.SSLError, OSError) as error:
        reason = getattr(error, "reason", None) or "not PEM, or protected by a password"
        problems.add("tls", f"the certificate and key cannot be used together: {reason}")
    return msgspec.structs.replace(tls, context=context)


@contextlib.contextmanager
def _as_file(text: str) -> Iterator[str]:
    """Give a path at which a text can be read, in memory: OpenSSL reads certificates and keys from files alone."""
    descriptor = os.memfd_create("pem")
    try:
        os.write(descriptor, text.encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
