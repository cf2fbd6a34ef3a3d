"""Scripts: what the upstream does to one request, step by step and byte by byte.

A script is a tuple of steps. Nothing in it waits for a guessed time: `Wait` waits for an event the test sets, `Mark`
tells the test how far the script has come, and `Pause` (seconds) is for a human pace only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
import itertools
import json
import random
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import asyncio

Framing = Literal["chunked", "length", "close"]
Headers = Sequence[tuple[str, str]]
Cut = Callable[[bytes], Iterable[bytes]]

EVENT_STREAM = "text/event-stream; charset=utf-8"
JSON = "application/json"
LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True)
class Send:
    """Write these bytes with one write and wait while the transport's buffer is above its high-water mark."""

    data: bytes


@dataclass(frozen=True)
class Wait:
    """Go on once the event is set."""

    event: asyncio.Event


@dataclass(frozen=True)
class Mark:
    """Set the event: the script has come this far, and everything before it is in the kernel's hands."""

    event: asyncio.Event


@dataclass(frozen=True)
class Pause:
    """Do nothing for so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Reset:
    """Send a TCP reset (SO_LINGER 0)."""


@dataclass(frozen=True)
class Close:
    """Close the connection in good order once what was written has left."""


@dataclass(frozen=True)
class Stall:
    """Say nothing more until the peer closes or the upstream shuts down."""


@dataclass(frozen=True)
class Repeat:
    """Write these bytes again and again, as fast as the peer takes them, until it closes (or `times` is reached)."""

    data: bytes
    times: int | None = None


@dataclass(frozen=True)
class ReadBody:
    """Read the request's body to its end: for scripts that began before it was read."""


@dataclass(frozen=True)
class PauseReading:
    """Take no more bytes off the socket: the peer's writes back up. Its close is not seen meanwhile."""


@dataclass(frozen=True)
class ResumeReading:
    """Take bytes off the socket again."""


@dataclass(frozen=True)
class CloseOnNextRequest:
    """Keep the connection open after this answer, and close it without a byte once it brings more bytes."""


Deed = Send | Wait | Mark | Pause | Reset | Close | Stall | Repeat | PauseReading | ResumeReading | CloseOnNextRequest
Step = Deed | ReadBody
Piece = bytes | Step


@dataclass(frozen=True)
class Script:
    """What to do to one request. `early`: begin once the head was read, before the body."""

    steps: tuple[Step, ...]
    early: bool = False

    def then(self, *steps: Step) -> Script:
        """The same script with more steps at its end."""
        return replace(self, steps=self.steps + steps)

    def before(self, *steps: Step) -> Script:
        """The same script with more steps at its start."""
        return replace(self, steps=steps + self.steps)

    def recut(self, cut: Cut) -> Script:
        """The same bytes on the wire, framing included, in other writes: every run of `Send` is joined and cut anew."""
        steps: list[Step] = []
        run = b""
        for step in (*self.steps, None):
            if isinstance(step, Send):
                run += step.data
                continue
            steps.extend(Send(piece) for piece in cut(run) if piece)
            run = b""
            if step is not None:
                steps.append(step)
        return replace(self, steps=tuple(steps))


def whole(data: bytes) -> Iterable[bytes]:
    """One piece."""
    return (data,)


def bytewise(data: bytes) -> Iterable[bytes]:
    """A piece per byte."""
    return (data[i : i + 1] for i in range(len(data)))


def seeded(seed: int, longest: int = 200) -> Cut:
    """Pieces of 1 to `longest` bytes, the same for the same seed."""

    def cut(data: bytes) -> Iterable[bytes]:
        chance = random.Random(seed)  # noqa: S311 - the same cuts each time
        start = 0
        while start < len(data):
            end = start + chance.randint(1, longest)
            yield data[start:end]
            start = end

    return cut


def at(*positions: int) -> Cut:
    """Pieces that end at the given offsets, and the rest."""

    def cut(data: bytes) -> Iterable[bytes]:
        edges = [0, *sorted(positions), len(data)]
        return (data[start:end] for start, end in itertools.pairwise(edges))

    return cut


def head(status: int = 200, headers: Headers = (), reason: str = "OK") -> bytes:
    """A response head, its blank line included, with exactly these headers."""
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def chunk(data: bytes) -> bytes:
    """One HTTP chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def respond(
    *pieces: Piece,
    status: int = 200,
    content_type: str = EVENT_STREAM,
    headers: Headers = (),
    framing: Framing = "chunked",
) -> Script:
    """A well-formed answer: each bytes piece is one write (and one chunk), steps between them are kept as they are."""
    payload = sum(len(piece) for piece in pieces if isinstance(piece, bytes))
    every = [("content-type", content_type), *headers] if content_type else list(headers)
    if framing == "chunked":
        every.append(("transfer-encoding", "chunked"))
    elif framing == "length":
        every.append(("content-length", str(payload)))
    else:
        every.append(("connection", "close"))
    steps: list[Step] = [Send(head(status, every))]
    for piece in pieces:
        if not isinstance(piece, bytes):
            steps.append(piece)
        elif piece:
            steps.append(Send(chunk(piece) if framing == "chunked" else piece))
    if framing == "chunked":
        steps.append(Send(LAST_CHUNK))
    elif framing == "close":
        steps.append(Close())
    return Script(tuple(steps))


def replay(
    recording: bytes, cut: Cut = whole, framing: Framing = "chunked", content_type: str = EVENT_STREAM
) -> Script:
    """A recorded stream: each piece of `cut` is one write (and one chunk). For cuts through the framing: `recut`."""
    return respond(*cut(recording), content_type=content_type, framing=framing)


def json_answer(body: object, *, status: int = 200, headers: Headers = (), content_type: str = JSON) -> Script:
    """A whole body with its length; anything but bytes is encoded as JSON first."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return respond(data, status=status, content_type=content_type, headers=headers, framing="length")


def raw(*pieces: Piece) -> Script:
    """Exactly these bytes and steps, framing and all."""
    return Script(tuple(Send(piece) if isinstance(piece, bytes) else piece for piece in pieces))
