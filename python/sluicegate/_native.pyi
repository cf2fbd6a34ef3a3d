"""The core in Rust, as Python sees it. What it does is told in ``rust/src``; this is the contract at the seam."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, final

from aiohttp.web import RequestHandler

from sluicegate.exchange import Exchange, Tokens, Usage
from typing_extensions import Buffer, Self, disjoint_base

__all__ = [
    "Ask",
    "Bank",
    "Connection",
    "Database",
    "DatabaseError",
    "Ends",
    "Head",
    "Heads",
    "Outcome",
    "Panic",
    "Plain",
    "Plan",
    "Purse",
    "Refused",
    "Reservation",
    "Rows",
    "Segments",
    "Share",
    "Tail",
    "Tariff",
    "TlsConfig",
    "World",
    "answer_bytes",
    "answer_lines",
    "build_profile",
    "exposition",
    "request_lines",
    "units",
    "version",
]

build_profile: Literal["release", "debug"]
"""How the core was compiled. A benchmark refuses ``debug``."""

version: str
"""The version of the crate, which is the package's."""

class Panic(BaseException):
    """A fault of the core's own, from a call that was not a connection's callback: `pyo3_runtime.PanicException`."""

class Refused(ValueError):
    """A request body that cannot be served; its arguments are a code, the parameter or None, and words."""

class DatabaseError(Exception):
    """SQLite did not do it; its own words."""

@final
class Ask:
    """What a request's body asks, as far as the gateway must know."""

    def __new__(cls, body: bytes, max_depth: int) -> Ask:
        """Reads a whole body, nested at most ``max_depth`` deep. Raises Refused."""

    @property
    def model(self) -> str:
        """The model's name, escapes resolved; never empty."""

    @property
    def stream(self) -> bool:
        """An answer in pieces is asked for."""

    @property
    def wants_usage(self) -> bool:
        """The caller itself asked for the usage event."""

    @property
    def has_stream_options(self) -> bool:
        """``stream_options`` stands in the body and is not null."""

    @property
    def max_tokens(self) -> int | None:
        """The most tokens it may write, if it says so."""

    @property
    def choices(self) -> int:
        """How many answers it asks for; 1 if it does not say."""

    def splice(self, model: str | None, include_usage: bool, consumed: Sequence[str]) -> Segments:
        """The body for a target: ``model`` put in place, usage asked for if ``include_usage``, ``consumed`` left out."""

@final
class Segments:
    """A request body with its replacements, as slices: the caller's bytes are not copied."""

    @property
    def length(self) -> int:
        """Bytes in all."""

def units(figure: object) -> int:
    """A count of units from whatever an upstream or a price table came to: never negative, never above 2**53 - 1.

    What is no number at all (NaN, text, nothing) is 0.
    """

def request_lines(target: str, host: str, headers: Sequence[tuple[str, str]]) -> bytes:
    """The lines of a POST's head but for its length, which ``Connection.send`` adds.

    Raises ValueError for what would break out of its line.
    """

@final
class Tariff:
    """The price of a target while it holds, and how it is billed in credits; ``rust/src/tariff.rs`` has the rules."""

    def __new__(
        cls,
        six: tuple[int, int, int, int, int, int],
        tiers: Sequence[tuple[int, tuple[int, int, int, int, int, int]]],
        credits: tuple[int, str] | None,
    ) -> Tariff:
        """``six``: input, output, cached input, cache write and reasoning in nano-dollars per million tokens, then
        nano-dollars per request. ``tiers``: the same for inputs above so many tokens. ``credits``: nano-credits per
        dollar, and ``up``, ``half_up`` or ``down``; raises ValueError for another rule.
        """

    def bill(
        self, input: int, output: int, cached_input: int, cache_write: int, reasoning: int
    ) -> tuple[int, int | None]:
        """Nano-dollars and credits of a request of so many tokens; None where no credits are billed."""

@disjoint_base
class Share:
    """A holder's part in one limit; ``rust/src/lease.rs`` has the rules. Times are monotonic seconds."""

    def __new__(cls, kind: str, capacity: int, *, level: bool, whole: bool) -> Self:
        """A part of which nothing is known yet.

        ``level``: it has no window, what is taken is given back. ``whole``: it is the only holder, and leases all there
        is. Raises ValueError for a kind that there is not.
        """

    @property
    def window(self) -> int:
        """Start of the window that all figures belong to; 0 while none is known, and of a level always."""

    @property
    def ends(self) -> float:
        """When that window ends."""

    @property
    def free(self) -> int:
        """Units on lease that no request has."""

    @property
    def drawn(self) -> int:
        """Units that requests have taken in this window; of a level: that are in use."""

    @property
    def busy(self) -> bool:
        """Whether the authority must hear of it from time to time: it holds a lease, or has drawn unreported."""

    @property
    def watched(self) -> bool:
        """Whether somebody reports it from time to time, as whoever does says here."""

    @watched.setter
    def watched(self, watched: bool) -> None: ...
    def resize(self, capacity: int) -> None:
        """Takes over the same limit with another capacity; what is drawn stays drawn."""

    def remaining(self, now: float) -> int:
        """Units left for everybody, as far as this holder knows."""

    def report(self, lacking: int | None, now: float) -> tuple[int, int, int, int]:
        """What to tell the authority: the window, drawn in it, kept on lease, and wanted because so much is lacking.

        None is lacking in the last report, which gives the lease back.
        """

    def heard(
        self, window: int, ends: float, granted: int, left: int, lasts: float, drawn: int, asked: float
    ) -> None:
        """Takes the authority's answer to a question of the moment ``asked``, from which ``ends`` and ``lasts`` count."""

    def alone(self, ends: float, window: int) -> None:
        """Goes on without the authority until ``ends``: only what this holder itself has drawn counts."""

@disjoint_base
class Purse:
    """All that one caller's requests for one model draw from. Shares are named by their places in it."""

    def __new__(
        cls,
        shares: Sequence[Share],
        most: int | None,
        default: int,
        hear: Callable[[list[tuple[int, int | None]]], object] | None = None,
    ) -> Self:
        """Of these shares, which other purses may hold too.

        A request may write ``most`` tokens; ``default``, if neither that nor the request says how many.
        ``hear`` is told, after an admission or a settlement, of which shares whoever talks with the authority has to
        know. With units: to ask for these now, 0 only to report; with None: to report it from time to time from now on.
        """

    def reserve(self, now: float, ask: Ask, tariff: Tariff | None, /) -> Reservation | None:
        """Reserves all that a request may need, or nothing: then the reservation waits. None if there are no shares."""

@final
class Reservation:
    """What one request needs of its limits: reserved when it is admitted, settled when it has ended."""

    @property
    def tokens(self) -> int:
        """Tokens of its prompt, by estimate, and of the longest answer."""

    @property
    def waits(self) -> bool:
        """Nothing of it is reserved: something was lacking."""

    def take(self, now: float) -> bool:
        """Reserves all of it, or nothing and false."""

    def lacking(self, now: float) -> list[tuple[int, int]]:
        """Which shares must be filled up before, and by how many units."""

    def refuse(self, now: float) -> list[int]:
        """Notes that the request was refused, so that what was not enough goes back; says which shares were not."""

    def headers(self, now: float, /) -> list[tuple[str, str]]:
        """``x-ratelimit-{limit,remaining,reset}-{requests,tokens}`` and what they say.

        Of several limits, the one with least left. A reset is written as a Go duration of whole seconds.
        """

    def settle(self, tokens: object, dollars: object, credits: object, now: float, /) -> None:
        """Puts what was used, as :func:`units` reads it, in the place of what was reserved, once.

        :meth:`Rows.ended` does it by the row.
        """

@final
class TlsConfig:
    """Roots, sessions and versions of TLS towards upstreams; shared by all connections that trust the same."""

    def __new__(cls, extra_ca: bytes | None = None) -> TlsConfig:
        """The system's roots and those of ``extra_ca`` (PEM). Raises ValueError if there is no root at all."""

@final
class Plan:
    """What to do to the bytes of one kind of request; ``rust/src/plan.rs`` tells each member's meaning."""

    def __new__(
        cls,
        *,
        dialect: str,
        stream: bool,
        model: bytes | None,
        strip_usage: bool,
        fill_choices: bool,
        tidy: bool,
        ensure_done: bool,
        insert: bytes | None,
        finishes: tuple[dict[str, str], str] | None,
        done: bytes,
        heartbeat: bytes,
        errors: dict[str, bytes],
        limits: tuple[int, int, int, int, int],
        times: tuple[float, float, float, float],
        bank: Bank,
        gaps: int,
    ) -> Plan:
        """``limits`` in bytes: head, event, held, error body, answer. ``times`` in seconds: first content, idle, grace,
        heartbeat; infinity for never.

        ``errors`` are the dialect's error events by the ends of ``STREAM_ENDS``; ``gaps`` is a slot of ``bank``.
        ``finishes``: what the page says for each finish reason of upstreams, and for all others.
        Raises ValueError for a dialect or an end that there is not.
        """

    def for_one(self, *, note: tuple[str, bytes, bool] | None = None, tariff: Tariff | None = None) -> Plan:
        """The same plan for one request.

        ``note``: a member's name, its value (an object that is not empty, without its closing brace) and whether the
        upstream's text is repeated in it; it stands at the end of the answer's body or last event. ``tariff``: by what
        usage is billed in credits.
        """

@final
class Head:
    """The first word on an attempt."""

    @property
    def verdict(
        self,
    ) -> Literal[
        "committed", "body", "error_status", "in_band_error", "ended_without_content", "timed_out", "lost", "unfit"
    ]:
        """What it came to."""

    @property
    def code(self) -> str:
        """A code of ``errors.py``; empty if nothing went wrong."""

    @property
    def detail(self) -> str:
        """What exactly broke, for logs."""

    @property
    def status(self) -> int:
        """The upstream's status; 0 if none came."""

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The upstream's headers, names in lower case."""

    @property
    def request_id(self) -> str:
        """The upstream's own id of the request, at most 128 bytes of it; empty if it gave none."""

    @property
    def body(self) -> bytes:
        """The whole answer, the error's body, or the data of an in-band error."""

    @property
    def usage(self) -> tuple[tuple[int, int, int, int, int], bool, bool, tuple[tuple[str, int], ...]] | None:
        """What the provider said of usage, if it said anything.

        Input, output, cached input, cache write and reasoning with their one meaning; whether it spoke of the input and
        of the output; and its own figures by name, before they were folded.
        """

    @property
    def untouched(self) -> bool:
        """Not one byte of an answer came."""

    @property
    def bytes_in(self) -> int:
        """Body bytes that came."""

@final
class Outcome:
    """How a stream ended and what it brought."""

    @property
    def end(self) -> str:
        """``completed``, or a code of ``errors.py``."""

    @property
    def complete(self) -> bool:
        """By the dialect's own rule the answer has finished."""

    @property
    def error(self) -> bool:
        """An error was seen inside the stream."""

    @property
    def usage(self) -> tuple[tuple[int, int, int, int, int], bool, bool, tuple[tuple[str, int], ...]] | None:
        """What the provider said of usage, if it said anything.

        Input, output, cached input, cache write and reasoning with their one meaning; whether it spoke of the input and
        of the output; and its own figures by name, before they were folded.
        """

    @property
    def first_content(self) -> float | None:
        """Seconds from the request to the first content."""

    @property
    def events(self) -> int:
        """Events with data."""

    @property
    def written(self) -> int:
        """The tokens that the content is likely to be, by its bytes."""

    @property
    def malformed(self) -> int:
        """Events that are not valid JSON or UTF-8, or were too large to be parsed."""

    @property
    def bytes_in(self) -> int:
        """Body bytes from the upstream."""

    @property
    def bytes_out(self) -> int:
        """Body bytes towards the client, without HTTP's framing."""

    @property
    def heartbeats(self) -> int:
        """Comments of ours among them."""

@final
class Heads:
    """Reads the plainest of clients' requests, which is what nearly all are."""

    def __new__(cls, limit: int, forwarded: Sequence[str], left: Sequence[str]) -> Heads:
        """``limit`` bytes of a head at most; ``forwarded`` are the headers that go through, ``left`` those with which a
        request is not plain, in lower case.
        """

    def read(self, data: bytes, connection: RequestHandler, surplus: bool, /) -> Plain | None:
        """The request that ``data`` is, if it is one plain request and nothing else; None: have it parsed.

        ``connection`` is the one it came on; ``surplus``: that is above the limit.
        """

@final
class Plain:
    """A plain request: a POST over HTTP/1.1, its body with it, no header that asks for anything special.

    It answers what :class:`sluicegate.web.request.Parsed` answers, so the two are served alike.
    """

    method: Final = "POST"
    http10: Final = False
    keep_alive: Final = True
    unread: Final = False
    from_page: Final = False
    upgrades: Final = False

    @property
    def connection(self) -> RequestHandler:
        """The connection it came on."""

    @property
    def surplus(self) -> bool:
        """That connection is above the limit."""

    @property
    def path(self) -> str:
        """The path as it was sent, without the query."""

    @property
    def body(self) -> bytes:
        """The body."""

    @property
    def credentials(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Every ``Authorization`` and every ``x-api-key`` header's value."""

    @property
    def given_id(self) -> str | None:
        """The caller's ``x-request-id``, if it is one: 1 to 128 visible ASCII characters."""

    @property
    def json(self) -> bool:
        """The body is declared as JSON."""

    @property
    def forwarded(self) -> str:
        """The headers that an upstream may see, a line each: the name in lower case, ``: ``, the value, LF."""

def answer_bytes(
    status: int,
    reason: str,
    lines: str,
    request_id: str,
    typed: bool,
    date: str,
    http10: bool,
    keep_alive: bool,
    body: bytes,
    bodiless: bool,
    /,
) -> bytes:
    """A whole answer of ours. ``rust/src/http1/whole.rs`` tells each argument's meaning."""

@final
class World:
    """What all connections of a process share."""

    def __new__(cls, create_future: Callable[[], asyncio.Future[object]]) -> World:
        """``create_future`` is the loop's."""

    @property
    def held(self) -> int:
        """Bytes that all exchanges together keep in memory."""

@final
class Connection(asyncio.Protocol):
    """One connection to an upstream: an asyncio protocol. After the socket is connected, its bytes are Rust's."""

    def __new__(cls, world: World, tls: TlsConfig | None = None, server_name: str = "") -> Connection:
        """Raises ValueError for a name that no certificate can be for."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> bool: ...
    def connection_lost(self, _exc: Exception | None = None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
    def ready(self) -> asyncio.Future[tuple[str, str] | None]:
        """``None`` once TCP and TLS are up, else a code and what exactly went wrong."""

    def send(
        self, lines: bytes, segments: Segments, plan: Plan, choices: int, total: float
    ) -> asyncio.Future[Head]:
        """The first word on a request. ``total`` seconds are left for the whole exchange."""

    def relay(
        self, head: bytes, write: Callable[[bytes], None], buffered: Callable[[], int], framed: bool
    ) -> asyncio.Future[bool]:
        """True once the stream has ended; False when the client reads too slowly: wait for it, then ``resume``.

        ``write`` and ``buffered`` are bound methods of the client's transport; ``framed`` asks for HTTP chunks; ``head``
        leaves in one write with what was held; it is empty if the message has begun already.
        """

    def resume(self) -> asyncio.Future[bool]:
        """The client has read: relays on. As ``relay``."""

    def detach(self) -> None:
        """Nobody waits any more: no byte goes to the client, and an unfinished exchange's connection is closed."""

    def forsake(self) -> None:
        """The client left, and the upstream is read on without it: what comes is counted, and goes nowhere."""

    def outcome(self) -> Outcome:
        """How the last stream ended, or how it stands."""

    def settle(self) -> asyncio.Future[bool]:
        """True once the connection can take the next request, False if it never will."""

    def check(self) -> None:
        """The sweep: looks at every timer. Once a second is enough."""

    def end(self, code: str) -> None:
        """Ends the exchange with a code of ``STREAM_ENDS``, told in-band. Raises ValueError for another code."""

    def abort(self) -> None:
        """Closes the connection at once, whatever it is doing."""

    @property
    def answering(self) -> bool:
        """A stream has begun, and nothing of it is the client's yet."""

    @property
    def idle(self) -> bool:
        """It can take a request."""

    @property
    def closed(self) -> bool:
        """It will never take a request again."""

@final
class Bank:
    """Every metric of a process: fixed arrays of atomics, rendered without the interpreter lock.

    A *slot* is one label set of one family, as an int. It stays good for the bank's life; asking for it takes a lock
    and allocates, so keep it. Counting on a slot takes neither. A slot that this bank never gave counts nothing.
    """

    def __new__(
        cls,
        families: Sequence[tuple[str, str, str, Sequence[str], Sequence[float], int]],
        memory: Buffer,
        *,
        dropped: str | None = None,
    ) -> Bank:
        """A bank of ``families``: name, kind, help, labels, buckets, cap on label sets.

        ``kind`` is counter, gauge, level (a gauge that all banks say alike) or histogram. ``memory`` holds zeros,
        :meth:`memory_needed` bytes at least, in a writable mapping that nobody else counts in; it cannot be closed
        while the bank lives.

        Histograms whose name ends in ``_seconds`` are kept in microseconds, with buckets in seconds; others are kept in
        whole units. A family without labels has its one series from the start. ``dropped`` names the counter, with one
        label, of look-ups beyond the caps of the others. Raises ValueError for a table that cannot be served.
        """

    def slot(self, family: str, *labels: str) -> int:
        """The slot of a label set; beyond the family's cap the one whose every label is ``_other``.

        Raises KeyError for a family that is not in the table, ValueError for another number of labels than it has.
        """

    def add(self, slot: int, n: int, /) -> None:
        """Adds to a counter, or moves a gauge up or down."""

    def set(self, slot: int, value: int, /) -> None:
        """Sets a gauge."""

    def observe(self, slot: int, value: int, /) -> None:
        """Counts one observation of a histogram: microseconds, or whole units."""

    def observe_seconds(self, slot: int, seconds: float, /) -> None:
        """Counts one observation of a histogram of times."""

    def value(self, slot: int, /) -> int:
        """A counter's or gauge's value, a histogram's number of observations. Raises KeyError for a foreign slot."""

    @staticmethod
    def memory_needed(families: Sequence[tuple[str, str, str, Sequence[str], Sequence[float], int]]) -> int:
        """How many bytes a bank of these families counts in. Raises ValueError for an unknown kind."""

    @staticmethod
    def reader(
        families: Sequence[tuple[str, str, str, Sequence[str], Sequence[float], int]], memory: Buffer
    ) -> Bank:
        """A bank that shows what another of the same families counts, or has counted, in ``memory``.

        It counts nothing itself and has no slots to give. Raises ValueError for memory that is too small.
        """

    def absorb(self, ended: Bank) -> None:
        """Adds the counters and histograms of a bank that counts no longer, as far as this one has such families."""

def exposition(banks: Sequence[Bank]) -> bytes:
    """What all banks hold together, in the Prometheus text format 0.0.4.

    Counters, gauges and histograms are summed by label set; of a level the largest is shown. The interpreter lock is
    not held meanwhile.
    """

@final
class Rows:
    """Makes what is left of each request of one configuration, and counts it; ``rust/src/row.rs`` has the rules."""

    def __new__(
        cls,
        bank: Bank,
        families: Mapping[str, str],
        providers: Mapping[str, str],
        configuration: str,
        fields: Sequence[Sequence[str]],
        astuple: Callable[[Exchange | Usage | Tokens], tuple[object, ...]],
        tail: Tail | None,
    ) -> Rows:
        """``families``: the names of the series that rows move; ``providers``: what ``gen_ai_provider_name`` is for an
        upstream, if not its own name. ``fields`` are those of an exchange, a usage and its tokens, in the order in which
        ``astuple`` gives them. Records go to the ``tail``, if there is one. Raises ValueError for a bank without such a
        series, or a struct without such a field.
        """

    def admit(self, exchange: Exchange, /) -> int:
        """Appends the record of an exchange that may be served.

        Gives its sequence, or 0: it could not simply be appended, and is the spool's to do.
        """

    def admitted(self, exchange: Exchange, sequence: int, /) -> bytes:
        """That record."""

    def ended(self, exchange: Exchange, now: float, /) -> tuple[bytes, bytes | None]:
        """Counts an exchange that ended at ``now`` (monotonic seconds), and appends its record if it was admitted.

        Gives its line for the access log, without a line end, and the record if it could not simply be appended: then
        it is the spool's to do.
        """

@final
class Tail:
    """Where a spool grows: its last segment, and what its bounds leave; ``ledger/spool.py`` has the rules."""

    def __new__(cls, *, size: int, segment: int, reserved: int) -> Tail:
        """Of a spool of ``size`` bytes in segments of ``segment``, which keeps ``reserved`` free for each end to come."""

    def begin(self, path: Path, /) -> int:
        """Goes on in a new file: the descriptor of the one before, which is the caller's to close, or -1.

        Raises OSError, and then nothing has changed.
        """

    def end(self) -> int:
        """Lets go of the file: its descriptor, which is the caller's to close, or -1."""

    def append(self, record: bytes, /) -> None:
        """Appends a record, whether or not there is room for it. Raises OSError, and then nothing was appended."""

    def fits(self, length: int, /) -> bool:
        """Whether so many bytes may be appended to this segment."""

    def has_room(self, length: int, /) -> bool:
        """Whether an admission of so many bytes may be, so that the ends of all that are open have room too."""

    def next_sequence(self) -> int:
        """The next request's sequence, which nobody else gets."""

    @property
    def descriptor(self) -> int:
        """The file's; -1 once it has ended."""

    @property
    def offset(self) -> int:
        """Bytes of this segment."""

    @property
    def others(self) -> int:
        """Bytes of the others."""

    @others.setter
    def others(self, bytes: int, /) -> None: ...
    @property
    def open(self) -> int:
        """Requests that were admitted and have not ended; never below 0."""

    @open.setter
    def open(self, open: int, /) -> None: ...
    @property
    def waits(self) -> bool:
        """Ends wait for the disk, or did when last asked: every record is the spool's to do."""

    @waits.setter
    def waits(self, waits: bool, /) -> None: ...

@final
class Ends:
    """What a piece of a spool holds: requests that ended, each one row of the store, and what stood beside them."""

    def __new__(cls, data: bytes, instance: str) -> Ends:
        """Reads the whole frames at the beginning of ``data``, which is of the spool called ``instance``."""

    @staticmethod
    def unseen(admitted: Sequence[tuple[int, bytes]], instance: str, /) -> Ends:
        """Makes ends of requests that nobody saw end, by the sequences and records of their admissions."""

    def __len__(self) -> int: ...
    @property
    def damaged(self) -> int:
        """How many frames could not be read."""

    @property
    def end(self) -> int:
        """Where the last whole frame ends."""

    @property
    def unbelievable(self) -> bool:
        """Whether what stands there can never become a frame."""

    def among(self, sequences: Sequence[int], /) -> list[int]:
        """Those of these sequences that ended here."""

    @property
    def admitted(self) -> dict[int, bytes]:
        """The records of admissions that have no end here, by their sequences."""

    def rows(self) -> list[tuple[str | int | None, ...]]:
        """The rows, each with all columns of the store."""

    def sums(self, sequences: set[int], /) -> list[tuple[str | int, ...]]:
        """The sums of those with one of these sequences: days since 1970, then the rest of GROUPS, then FIGURES."""

@final
class Database:
    """An SQLite database. Methods block, without the interpreter's lock, and raise DatabaseError."""

    def __new__(cls, path: Path, create: bool, patience: float) -> Database:
        """Opens a file; ``patience`` in seconds of waiting for somebody else's transaction."""

    def ask(self, statement: str, values: Sequence[str | int | None] = ..., /) -> list[tuple[Any, ...]]:
        """Does what one statement says, and gives the rows that it gives. Raises TypeError for other values."""

    def insert(self, ends: Ends, of_kind: str, of_row: str, /) -> list[tuple[str | int, ...]]:
        """Inserts ends and gives the sums of those that were new, as :meth:`Ends.sums` does.

        ``of_kind`` is given the day since 1970 and what rows have in common, and gives a number; ``of_row`` is given
        instance, sequence, that number, and what each row has of its own.
        """

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction was begun and has not ended."""

    def close(self) -> None:
        """Disconnects."""

def answer_lines(gateway: float, upstream: float, attempts: int, reservation: object, now: float, /) -> str:
    """Headers that tell how many seconds a request took here and up there, how often it was tried, and how the limits
    of its :class:`Reservation` stand at ``now``, if that is not None.

    Each line has its CRLF before it. Of the limits, as :meth:`Reservation.headers`.
    """
