"""Listening sockets: an address as configured becomes sockets that are bound and do not listen yet."""

from __future__ import annotations

from collections.abc import Mapping
import contextlib
import errno
import resource
import socket
from types import MappingProxyType

from sluicegate.config import Address

_REASONS: Mapping[int, str] = MappingProxyType(
    {
        errno.EADDRINUSE: "is in use by another process; stop it, or choose another port",
        errno.EACCES: "may not be bound by this user; choose a port above 1023",
        errno.EADDRNOTAVAIL: "is no address of this machine",
    }
)


class BindError(Exception):
    """An address that cannot be bound; the text names the setting, the address and the reason."""


def bind(setting: str, address: Address) -> list[socket.socket]:
    """Bind every address that the host stands for (``localhost`` may be two), all on one port.

    Port 0 picks a free one. ``::`` takes IPv4 too. Raises :class:`BindError`, and leaves nothing bound then.
    """
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise BindError(f"{setting}: {address}: the host has no address ({error.strerror})") from None
    bound: list[socket.socket] = []
    try:
        port = address.port
        for family, kind, protocol, _, where in dict.fromkeys(found):
            made = socket.socket(family, kind, protocol)
            bound.append(made)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(where[0] != "::"))
            made.bind((where[0], port, *where[2:]))
            made.settimeout(0)
            port = made.getsockname()[1]
    except OSError as error:
        for one in bound:
            one.close()
        reason = _REASONS.get(error.errno or 0, f"cannot be bound: {error.strerror}")
        raise BindError(f"{setting}: {address} {reason}") from None
    return bound


def raise_descriptor_limit() -> None:
    """Raise the soft limit of open files to the hard one: each stream holds two."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Some kernels refuse a hard limit above fs.nr_open; then the soft limit stays.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
