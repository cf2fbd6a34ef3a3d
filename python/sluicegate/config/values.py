"""The values that settings are made of: secrets, addresses, URLs; and how a value is shown in a message.

Rules: secrets are never shown, and a value that came from ``${...}`` is shown as it was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from hmac import compare_digest
import ipaddress
import json
from types import MappingProxyType, NoneType
from typing import Final, NoReturn, Self, SupportsIndex

import msgspec

_LONGEST_SHOWN: Final = 80
DEFAULT_PORTS: Final = MappingProxyType({"http": 80, "https": 443})


class Written:
    """The texts of the files that a configuration was read from, by path. They hold secrets: ``repr`` is a count."""

    __slots__ = ("texts",)

    def __init__(self, texts: Mapping[str, str] = MappingProxyType({})) -> None:
        self.texts = dict(texts)

    def __repr__(self) -> str:
        return f"Written({len(self.texts)} files)"


class Secret:
    """Text that must not be seen: its ``repr``, ``str`` and ``format`` are masks, and it refuses to be pickled."""

    __slots__ = ("__text",)

    def __init__(self, text: str) -> None:
        self.__text = text

    def reveal(self) -> str:
        """Return the text itself, for the one place that sends or compares it."""
        return self.__text

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return compare_digest(
            self.__text.encode("utf-8", "surrogatepass"), other.reveal().encode("utf-8", "surrogatepass")
        )

    def __hash__(self) -> int:
        return hash((Secret, self.__text))

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("a Secret is not written anywhere")


class Expanded(str):
    """Text that came out of ``${...}``; ``written`` is what stands in the file, and all that messages may show."""

    __slots__ = ("written",)
    written: str

    def __new__(cls, text: str, written: str) -> Self:
        """Make it from its value and from what stands in the file."""
        made = super().__new__(cls, text)
        made.written = written
        return made


_KINDS: Final = MappingProxyType(
    {
        Expanded: "text",
        NoneType: "nothing",
        bool: "true or false",
        dict: "a mapping",
        float: "a number",
        int: "a number",
        list: "a list",
        str: "text",
    }
)


class Address(msgspec.Struct, frozen=True):
    """Where to listen: a host (a name or an IP literal without brackets) and a port, 0 for any free one."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    def __str__(self) -> str:
        return f"{bracketed(self.host)}:{self.port}"


class BaseUrl(msgspec.Struct, frozen=True):
    """Where an upstream is: scheme http or https, host in lower case, port, and a path prefix without end slash."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def tls(self) -> bool:
        """Whether it is spoken to over TLS."""
        return self.scheme == "https"

    @property
    def loopback(self) -> bool:
        """Whether it is this machine."""
        return is_loopback(self.host)

    @property
    def authority(self) -> str:
        """What a ``Host`` header says: the scheme's own port is left out (RFC 9110 4.2.3)."""
        host = bracketed(self.host)
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


class StoreUrl(msgspec.Struct, frozen=True):
    """Where rows are kept: ``kind`` none, sqlite (the file ``path``) or postgresql (``dsn``, with its password)."""

    kind: str
    path: str = ""
    dsn: Secret | None = None

    def __str__(self) -> str:
        return f"sqlite:///{self.path}" if self.kind == "sqlite" else self.kind


def is_loopback(host: str) -> bool:
    """Whether a host is this machine whatever a resolver says: ``localhost``, 127.0.0.0/8 or ::1."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def bracketed(host: str) -> str:
    """Return the host as URLs write it: IPv6 literals in brackets."""
    return f"[{host}]" if ":" in host else host


def shown(value: object) -> str:
    """Return a value for a message: quoted, escaped, cut at 80 characters; never what came out of ``${...}``."""
    if isinstance(value, str):
        text = value.written if isinstance(value, Expanded) else value
        return json.dumps(text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "...")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)[:_LONGEST_SHOWN]
    return kind_of(value)


def kind_of(value: object) -> str:
    """Return what kind of value it is, in words, without showing it."""
    return _KINDS.get(type(value), f"a {type(value).__name__}")
