"""What whoever supervises workers must know of their configuration, and what a running gateway can take over from one.

A supervisor may be older than the workers it has started since (an upgrade replaces them, not it) and then cannot read
their settings: they tell it these.
"""

from __future__ import annotations

import msgspec

from sluicegate.config.model import Settings
from sluicegate.config.read import Problem


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration in a few figures. Durations in seconds, ``head_size`` in bytes."""

    listen: str
    admin: str
    tls: bool
    workers: int
    admin_token: str | None
    head_size: int
    head_time: float
    drain: float
    drain_delay: float
    version: str
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Facts({self.version})"


def facts(settings: Settings) -> Facts:
    """Tell a configuration's facts."""
    return Facts(
        listen=str(settings.listen),
        admin=str(settings.admin),
        tls=settings.tls is not None,
        workers=settings.workers,
        admin_token=settings.admin_token.reveal() if settings.admin_token is not None else None,
        head_size=settings.limits.head,
        head_time=settings.timeouts.header,
        drain=settings.timeouts.drain,
        drain_delay=settings.timeouts.drain_delay,
        version=settings.version,
        warnings=settings.warnings,
    )


def check_upgrade(running: Facts, read: Facts) -> tuple[Problem, ...]:
    """Say what new workers on bound sockets cannot take over from a configuration that is otherwise right."""
    problems = [
        Problem(name, f"{before} is bound and stays so until a restart; restart for {after}")
        for name in ("listen", "admin")
        if (before := getattr(running, name)) != (after := getattr(read, name))
    ]
    if running.tls != read.tls:
        problems.append(Problem("tls", "begins or ends with a restart alone; certificates may change"))
    return tuple(problems)


def check_reload(running: Settings, read: Settings) -> tuple[Problem, ...]:
    """Say what running workers cannot take over from a configuration that is otherwise right."""
    problems = list(check_upgrade(facts(running), facts(read)))
    if running.workers != read.workers:
        message = f"a reload keeps {running.workers}; upgrade (SIGUSR2) or restart for {read.workers}"
        problems.append(Problem("workers", message))
    problems += [
        Problem(name, "a reload keeps what is open; upgrade (SIGUSR2) or restart for another")
        for name in ("store", "ledger", "shared")
        if getattr(running, name) != getattr(read, name)
    ]
    return tuple(problems)
