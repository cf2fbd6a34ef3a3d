"""A worker in a process of its own, as its supervisor sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
import contextlib
from itertools import count
import os
from pathlib import Path
import signal
import socket
import subprocess
import sys
from typing import Final, Self

from sluicegate.config import ConfigError, Facts, Problem, Written
from sluicegate.limits.line import Service as Limits
from sluicegate.server.control import VERSION, Answer, Ask, Channel, Drain, End, Failed, Ready, Start
from sluicegate.server.worker import AT_ONCE
from sluicegate.telemetry.gathered import Gathered, read_from, shared_memory

#: How a worker's process is started; a socket's descriptor follows. ``-P``: what is installed, not what lies about.
COMMAND: Final = (sys.executable, "-P", "-m", "sluicegate.server.child")
#: Seconds that a worker may take until it accepts, and to answer.
_START = 60.0
_ANSWER = 10.0
#: Seconds beyond its own deadlines after which a worker that should have ended is killed.
_PATIENCE = 15.0


class Silent(ConfigError):
    """A worker that was asked and did not answer: whether it has done what it was asked to is unknown."""


class Remote:
    """A worker's process: it serves from :meth:`start` on."""

    def __init__(self, process: subprocess.Popen[bytes], channel: Channel, ready: Ready, memory: int) -> None:
        self._process = process
        self._channel = channel
        self._table = ready.table
        self._bank = read_from(memory, ready.table)
        self._numbers = count(1)
        self._asked: dict[int, asyncio.Future[Answer]] = {}
        self._exited = asyncio.Event()
        self._last_rows = b"[]"
        self._killing: asyncio.TimerHandle | None = None
        self._draining = False
        self.pid = process.pid
        self.facts: Facts = ready.facts
        self.written = Written(ready.written)
        self._listening = asyncio.get_running_loop().create_task(self._listen(), name=f"worker {self.pid}")

    @classmethod
    async def start(
        cls,
        path: Path | None,
        written: Written | None,
        listen: Sequence[socket.socket],
        limits: Limits,
        command: Sequence[str] = COMMAND,
    ) -> Self:
        """Start a process on sockets that are bound; returns when it accepts.

        Without ``written`` it reads the files itself. What its requests may use is granted by ``limits``. Raises
        ConfigError if it cannot start, for whatever reason.
        """
        ours, theirs = socket.socketpair()
        granting, asking = socket.socketpair()
        for each in (ours, granting):
            each.settimeout(0)
        memory = shared_memory()
        inherited = (theirs.fileno(), asking.fileno(), memory, *(each.fileno() for each in listen))
        with theirs, asking:
            process = subprocess.Popen(  # noqa: S603, ASYNC220 our own interpreter; it returns at once
                [*command, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),
                pass_fds=inherited,
            )
            asks_at = asking.fileno()
        channel = await Channel.over(ours)
        order = Start(
            version=VERSION,
            path=str(path) if path is not None else None,
            written=written.texts if written is not None else None,
            listen=tuple(each.fileno() for each in listen),
            memory=memory,
            limits=asks_at,
        )
        limits.serve(granting)
        try:
            ready = await _first_word(process, channel, order)
            return cls(process, channel, ready, memory)
        except BaseException:
            await channel.close()
            await _reap(process)
            raise
        finally:
            os.close(memory)

    def join(self, gathered: Gathered) -> None:
        """Show what it counts from now on."""
        gathered.add(self._bank, self.pid)

    def leave(self, gathered: Gathered) -> None:
        """Keep what it has counted; it has ended."""
        gathered.end(self._bank, self.pid, self._table)

    async def reload(self, written: Written | None) -> None:
        """Take over what the configuration's files say, or these texts of theirs. Raises ConfigError."""
        answer = await self._ask("reload", written=written.texts if written is not None else None)
        if answer.problems or answer.facts is None or answer.written is None:
            raise ConfigError(answer.source, answer.problems)
        self.facts, self.written = answer.facts, Written(answer.written)

    async def report(self, name: str) -> bytes:
        """Give its report of this name, a JSON array; of one that has ended the last one, if that is ``requests``."""
        if self._exited.is_set():
            return self._last_rows if name == "requests" else b"[]"
        try:
            return (await self._ask("report", name)).body or b"[]"
        except Silent:
            return b"[]"

    async def order(self, name: str, body: bytes) -> bytes:
        """Have it do something and give its answer, both JSON. Raises ConfigError: it cannot, or did not answer."""
        answer = await self._ask("order", name, body=body)
        if answer.problems:
            raise ConfigError(answer.source, answer.problems)
        return answer.body

    async def refresh(self) -> None:
        """Have every gauge brought up to date, if it answers."""
        with contextlib.suppress(Silent):
            await self._ask("refresh")

    def drain(self, *, hand_over: bool = False) -> None:
        """Begin to end. It is killed if it has not ended when everything in it must have."""
        self._channel.send(Drain(hand_over=hand_over))
        if not (self._draining and hand_over):
            self._draining = True
            self._kill_after(self.facts.drain_delay + self.facts.drain + _PATIENCE)

    async def end(self) -> None:
        """End at once; what runs is cut."""
        self._channel.send(End())
        self._kill_after(2 * AT_ONCE)
        await self._exited.wait()

    async def ended(self) -> int:
        """Wait until it has ended; gives its exit code, less than 0 for a signal."""
        await self._exited.wait()
        return self._process.returncode

    async def _ask(
        self, what: str, name: str = "", written: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        number = next(self._numbers)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            self._channel.send(Ask(number=number, what=what, name=name, written=written, body=body))
            async with asyncio.timeout(_ANSWER):
                given: Answer = await answer
                return given
        except TimeoutError:
            raise self._silent(f"did not answer within {_ANSWER:.0f} s") from None
        finally:
            del self._asked[number]

    async def _listen(self) -> None:
        """Hear what it says until it has ended, and reap it."""
        while (word := await self._channel.word()) is not None:
            if not isinstance(word, Answer):
                continue
            if word.number == 0:
                self._last_rows = word.body
            elif (asked := self._asked.get(word.number)) is not None and not asked.done():
                asked.set_result(word)
        if self._killing is None:
            self._kill_after(_PATIENCE)
        await _exit_of(self._process)
        if self._killing is not None:
            self._killing.cancel()
        self._exited.set()
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(self._silent("has ended"))
        await self._channel.close()

    def _silent(self, what: str) -> Silent:
        return Silent("a worker", (Problem(f"worker {self.pid}", what),))

    def _kill_after(self, seconds: float) -> None:
        if self._killing is not None:
            self._killing.cancel()
        self._killing = asyncio.get_running_loop().call_later(seconds, self._process.send_signal, signal.SIGKILL)


async def _first_word(process: subprocess.Popen[bytes], channel: Channel, order: Start) -> Ready:
    """Tell a process to start. Raises ConfigError in its own words, or by how it ended."""
    channel.send(order)
    try:
        async with asyncio.timeout(_START):
            word = await channel.word()
    except TimeoutError:
        process.kill()
        problem = Problem(f"worker {process.pid}", f"did not accept within {_START:.0f} s; it was killed")
        raise ConfigError("this machine", (problem,)) from None
    if isinstance(word, Ready):
        return word
    if isinstance(word, Failed):
        raise ConfigError(word.source, word.problems)
    how = how_it_ended(await _reap(process))
    problem = Problem(f"worker {process.pid}", f"{how} before it accepted; what it said of that stands above")
    raise ConfigError("this machine", (problem,))


def how_it_ended(code: int) -> str:
    """Say in words what an exit code means."""
    if code >= 0:
        return f"exited with {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


async def _reap(process: subprocess.Popen[bytes]) -> int:
    """Give a process that has closed its socket a moment to end, then kill it; gives its exit code."""
    try:
        async with asyncio.timeout(AT_ONCE):
            return await _exit_of(process)
    except TimeoutError:
        process.kill()
        return await _exit_of(process)


async def _exit_of(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process's end without a signal handler or a thread: its descriptor becomes readable then."""
    if process.poll() is None:
        loop = asyncio.get_running_loop()
        exited = asyncio.Event()
        descriptor = os.pidfd_open(process.pid)
        loop.add_reader(descriptor, exited.set)
        try:
            await exited.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
    return process.wait()
