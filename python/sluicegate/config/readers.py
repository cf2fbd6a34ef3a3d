"""How each kind of value is read from what YAML, TOML or an environment variable gives.

Rules: a reader takes what the file says and returns the typed value, or raises :class:`Wrong` with words that name the
value and what would be right. Numbers may be written as text, since that is what an environment variable gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
import ipaddress
import math
import re
from types import MappingProxyType
from typing import Final

from sluicegate.config.values import DEFAULT_PORTS, Address, BaseUrl, Expanded, Secret, StoreUrl, shown

_WEEK: Final = 7 * 24 * 3600
_UNITS: Final = MappingProxyType({"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30})
_HIGHEST_PORT: Final = 65535
_OUR_HEADERS: Final = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)

_SIZE = re.compile(r"(\d{1,15})(|B|KiB|MiB|GiB)", re.ASCII)
_BASE_URL = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?((?:/[!-~]+)?)", re.ASCII)
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})", re.ASCII)
_ENDPOINT = re.compile(r"/(chat/completions|completions|responses|messages|embeddings)$")
_VISIBLE_KEY = re.compile(r"[!-~]{8,1024}", re.ASCII)
_HEADER_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?", re.ASCII)
_REDIS_URL = re.compile(r"(?:rediss?://[!-~]+|unix://[!-~]*/[!-~]+)", re.ASCII)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+", re.ASCII)
_MODEL_NAME = re.compile(r"\*|(?=.{1,256}\Z)[^\s*]+(?:/\*)?")
_POSTGRESQL = re.compile(r"postgres(?:ql)?://[!-~]+\Z", re.ASCII)
_PATH_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)+", re.ASCII)
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


class Wrong(ValueError):
    """A value that cannot stand where it stands; the text says what would be right."""


def text(value: object) -> str:
    """Read text of at least one character, none of them a control character."""
    if not isinstance(value, str):
        hint = f'; quote it: "{value}"' if isinstance(value, int | float) and not isinstance(value, bool) else ""
        raise Wrong(f"{shown(value)} is not text{hint}")
    if not value or not value.isprintable():
        raise Wrong("holds a control character" if value else "is empty")
    return value


def label(value: object) -> str:
    """Read a name that may stand in a metric: 1 to 64 of letters, digits, dot, dash and underscore."""
    if _LABEL.fullmatch(read := text(value)) is None:
        raise Wrong(f"{shown(value)} is not a name; use 1 to 64 letters, digits, dots, dashes and underscores")
    return read


def choice(kind: str, *known: str) -> Callable[[object], str]:
    """Make a reader of one word of a few; ``kind`` is what messages call it."""

    def read(value: object) -> str:
        if value not in known:
            raise Wrong(unknown(kind, value, known))
        return str(value)

    return read


def flag(value: object) -> bool:
    """Read true or false."""
    known = {"true": True, "false": False}
    read = known.get(value) if isinstance(value, str) else value
    if not isinstance(read, bool):
        raise Wrong(f"{shown(value)} is not true or false")
    return read


def whole(at_least: int, at_most: int = 1_000_000) -> Callable[[object], int]:
    """Make a reader of a whole number within bounds."""

    def read(value: object) -> int:
        number = int(value) if isinstance(value, str) and re.fullmatch(r"\d{1,15}", value, re.ASCII) else value
        if isinstance(number, bool) or not isinstance(number, int) or not at_least <= number <= at_most:
            raise Wrong(f"{shown(value)} is not a whole number from {at_least:,} to {at_most:,}")
        return number

    return read


def seconds(*, zero: bool = False) -> Callable[[object], float]:
    """Make a reader of a duration: seconds, whole or not, at most a week; above 0 unless ``zero``."""
    least = "from 0" if zero else "above 0"

    def read(value: object) -> float:
        number = value
        if isinstance(value, str):
            try:
                number = float(value)
            except ValueError:
                number = math.nan
        if (
            isinstance(number, bool)
            or not isinstance(number, int | float)
            or not (number >= 0 if zero else number > 0)
            or not number <= _WEEK
        ):
            raise Wrong(f"{shown(value)} is not a duration; write seconds, {least} to {_WEEK:,}")
        return float(number)

    return read


def ratio(value: object) -> float:
    """Read a part of a whole: a number from 0 to 1."""
    number = value
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            number = math.nan
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= 1:
        raise Wrong(f"{shown(value)} is not a part of a whole; write a number from 0 to 1")
    return float(number)


def size(at_least: int = 1) -> Callable[[object], int]:
    """Make a reader of a number of bytes: plain, or with KiB, MiB or GiB; at most 1 TiB."""

    def read(value: object) -> int:
        number = value
        if isinstance(value, str):
            found = _SIZE.fullmatch(value)
            number = int(found[1]) * _UNITS[found[2]] if found else None
        if isinstance(number, bool) or not isinstance(number, int):
            raise Wrong(f"{shown(value)} is not a size; write bytes, or a whole number with KiB, MiB or GiB (64MiB)")
        if not at_least <= number <= 1 << 40:
            raise Wrong(f"{shown(value)} is out of range; write {bytes_text(at_least)} to 1024GiB")
        return number

    return read


def bytes_text(number: int) -> str:
    """Return a size as the file writes it: the largest unit that divides it."""
    for unit in ("GiB", "MiB", "KiB"):
        if number and number % _UNITS[unit] == 0:
            return f"{number // _UNITS[unit]}{unit}"
    return f"{number}B"


def secret(value: object) -> Secret:
    """Read a secret as it is sent to an upstream: visible ASCII."""
    if not isinstance(value, str):
        raise Wrong("is not text; quote it")
    if not value:
        raise Wrong("is empty")
    if _HEADER_VALUE.fullmatch(value) is None:
        raise Wrong(
            "holds characters that cannot be sent in a header (control characters, spaces at an end, non-ASCII)"
        )
    return Secret(str(value))


def redis_url(value: object) -> Secret:
    """Read where a Redis server is; never shown, since it may hold a password."""
    if not isinstance(value, str) or _REDIS_URL.fullmatch(value) is None:
        raise Wrong("is not redis://HOST:PORT/DB, rediss:// (TLS) or unix:///PATH, with USER:PASSWORD@ if need be")
    return Secret(str(value))


def access_key(value: object) -> Secret:
    """Read a secret that callers send: 8 to 1024 visible ASCII characters, no spaces."""
    if not isinstance(value, str):
        raise Wrong("is not text; quote it")
    if _VISIBLE_KEY.fullmatch(value) is None:
        raise Wrong("is not a key; use 8 to 1024 visible ASCII characters without spaces")
    return Secret(str(value))


def address(value: object) -> Address:
    """Read ``HOST:PORT``; IPv6 literals stand in brackets."""
    found = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise Wrong(f'{shown(value)} is not HOST:PORT; write "127.0.0.1:8080" or "[::1]:8080" (in quotes)')
    host, port = found[1], int(found[2])
    if port > _HIGHEST_PORT:
        raise Wrong(f"{shown(value)} has no such port; write 0 to {_HIGHEST_PORT} (0 picks a free one)")
    return Address(_host(host, value), port)


def base_url(value: object) -> BaseUrl:
    """Read an upstream's address: http or https, host, maybe a port and a path; no user, query or fragment."""
    if not isinstance(value, str):
        raise Wrong(f'{shown(value)} is not a URL; write one such as "https://api.example.com/v1"')
    if "@" in value.partition("://")[2].partition("/")[0]:
        raise Wrong("a URL must not hold a user or password; put the credential into api_key or headers")
    if "?" in value or "#" in value:
        raise Wrong("a URL must not have a query or fragment; end it with the path prefix, such as /v1")
    found = _BASE_URL.fullmatch(value.rstrip("/"))
    if found is None:
        raise Wrong(f"{shown(value)} is not a URL of scheme http or https, a host, maybe a port and a path prefix")
    if value.endswith("/"):
        raise Wrong(f"{shown(value)} ends in a slash; leave it out")
    if endpoint := _ENDPOINT.search(value):
        raise Wrong(f"{shown(value)} names an endpoint; leave out {endpoint[0]}, which the gateway appends")
    scheme, host, port, path = found.groups()
    if port is not None and not 1 <= int(port) <= _HIGHEST_PORT:
        raise Wrong(f"{shown(value)} has no such port; write 1 to {_HIGHEST_PORT}")
    return BaseUrl(scheme, _host(host, value), int(port or DEFAULT_PORTS[scheme]), path)


def store_url(value: object) -> StoreUrl:
    """Read where the ledger is: ``none``, ``sqlite:///FILE`` (``sqlite:////`` for a path from the root), PostgreSQL."""
    if value == "none":
        return StoreUrl("none")
    if isinstance(value, str) and _POSTGRESQL.match(value):
        return StoreUrl("postgresql", dsn=Secret(str(value)))
    if isinstance(value, str) and (path := value.removeprefix("sqlite:///")) != value and path and path.isprintable():
        return StoreUrl("sqlite", path=str(path))
    raise Wrong('is no store; write "sqlite:///FILE", "postgresql://USER:PASSWORD@HOST/DATABASE" or "none"')


def path_prefix(value: object) -> str:
    """Read the path of a mount, such as ``/openai/v1``; ``/`` is read as the empty prefix."""
    path = text(value)
    if path == "/":
        return ""
    if _PATH_PREFIX.fullmatch(path) is None or {".", ".."} & set(path.split("/")):
        raise Wrong(f"{shown(value)} is not a path prefix; write one such as /v1, without a trailing slash")
    return path


def model_name(value: object) -> str:
    """Read a model's name as callers send it: exact, or ending in ``/*`` for all below, or ``*`` for all."""
    name = text(value)
    if _MODEL_NAME.fullmatch(name) is None:
        raise Wrong(
            f"{shown(value)} is not a model name; use up to 256 characters without spaces, "
            "and a `*` only at the end, after a slash"
        )
    return name


def header_name(value: object) -> str:
    """Read the name of a header we may add to a request (RFC 9110 5.1), in lower case."""
    name = text(value).lower()
    if _HEADER_NAME.fullmatch(name) is None:
        raise Wrong(f"{shown(value)} is not a header name")
    if name in _OUR_HEADERS:
        raise Wrong(f"{shown(value)} is set by the gateway itself; leave it out")
    return name


def unknown(kind: str, value: object, known: Iterable[str]) -> str:
    """Return the words for a value that is none of the known ones, with the nearest of them if one is near."""
    words = tuple(known)
    message = f"unknown {kind} {shown(value)}; known: {', '.join(words) or 'none'}"
    if not isinstance(value, str) or isinstance(value, Expanded):
        return message
    near = get_close_matches(value, words, n=1, cutoff=0.75)
    return f"{message}; did you mean {shown(near[0])}?" if near else message


def _host(host: str, value: object) -> str:
    if not host.startswith("["):
        return host.lower()
    try:
        return str(ipaddress.IPv6Address(host[1:-1]))
    except ValueError:
        raise Wrong(f"{shown(value)} holds no IPv6 address between its brackets") from None
