"""Telling a service manager how it stands: systemd's notification protocol, sd_notify(3), without a library.

Rules: nothing here fails or waits; whoever is not run by a service manager tells nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time

from sluicegate.config import notifications_wanted


class Notifier:
    """Who started the gateway and wants to know how it stands, if anybody does. To be made inside a running loop."""

    def __init__(self) -> None:
        address, watchdog = notifications_wanted()
        self._address = f"\0{address[1:]}" if address is not None and address.startswith("@") else address
        self._interval = watchdog / 2 if watchdog is not None else None
        self._sign: asyncio.TimerHandle | None = None

    def ready(self) -> None:
        """All workers accept, after the start or a reload."""
        self._tell("READY=1", f"MAINPID={os.getpid()}", "STATUS=serving")
        if self._interval is not None and self._sign is None:
            self._show_life(self._interval)

    def reloading(self) -> None:
        """A reload has begun; :meth:`ready` tells its end."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, seconds: float) -> None:
        """It drains, and takes so long at most."""
        self._tell("STOPPING=1", "STATUS=draining", f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def status(self, words: str) -> None:
        """Say in words what it does."""
        self._tell(f"STATUS={words}")

    def close(self) -> None:
        """Show no more signs of life."""
        if self._sign is not None:
            self._sign.cancel()

    def _show_life(self, interval: float) -> None:
        self._tell("WATCHDOG=1")
        self._sign = asyncio.get_running_loop().call_later(interval, self._show_life, interval)

    def _tell(self, *assignments: str) -> None:
        if self._address is None:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notes:
            notes.settimeout(0)
            notes.sendto("\n".join(assignments).encode(), self._address)
