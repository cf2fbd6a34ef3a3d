"""The typed record of one request's life.

An :class:`Exchange` is made by the edge when a request's head has arrived, filled by :mod:`sluicegate.gateway` on the
way, and read by ``rust/src/python/rows.rs`` when it ends, which makes the row of it. Nobody keeps a dict beside it. All
are msgspec structs: a dataclass of 30 fields costs ten times as much to make.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec

Provenance = Literal["provider", "partial", "estimated", "none"]


class Endpoint(msgspec.Struct, frozen=True):
    """One way in: its name, its operation as OpenTelemetry calls it, the wire dialect, the path below the mount."""

    name: str
    operation: str
    dialect: str
    path: str

    @property
    def family(self) -> str:
        """Whose dialects its own belongs to: ``openai`` of ``openai-chat``."""
        return self.dialect.partition("-")[0]


class Profile(msgspec.Struct, frozen=True):
    """Which API page a mount imitates: one row of design section 4's table."""

    name: str
    #: Whose model name stands in answers.
    model_in_answers: Literal["provider", "requested"] = "provider"
    #: ``asked``: only who asked gets the usage event; ``pass``: as the upstream sends it; ``always``.
    usage_event: Literal["asked", "pass", "always"] = "asked"
    #: ``choices: []`` of a usage event becomes one empty choice.
    fill_choices: bool = False
    #: A finished stream without ``[DONE]`` gets one, and an open event its line ends.
    ensure_done: bool = True
    #: BOM, ``id:`` and ``retry:`` lines are dropped on chat routes.
    tidy: bool = True
    #: Comments break a stream's silence.
    heartbeats: bool = True
    #: ``stream_options`` without ``stream`` is refused by us.
    strict_stream_options: bool = False
    #: ``$schema`` stands in whole answers, and its document below the mount.
    schema: bool = False
    #: The body's ``fallbacks`` name further models, and do not go up.
    consumes_fallbacks: bool = False
    #: Whose errors, field rules and additions to answers; empty: the dialect's own errors and nothing else.
    page: str = ""
    #: A header in which a key may come, beside the two that all mounts read; in lower case.
    key_header: str = ""
    #: The header that asks, by ``true``, for the upstream's own text in an answer; in lower case.
    raw_header: str = ""
    #: Usage names the credits of the row.
    credits: bool = False
    #: The models served below the mount begin so.
    models: str = ""

    @property
    def own_headers(self) -> tuple[str, ...]:
        """The headers that only this profile reads."""
        return tuple(header for header in (self.key_header, self.raw_header) if header)


class Mount(msgspec.Struct, frozen=True):
    """A path prefix and how it speaks."""

    prefix: str
    profile: Profile
    public_url: str | None = None


class Sink(msgspec.Struct, frozen=True):
    """Where Rust writes the client's bytes.

    ``head`` is the message's and leaves with the first of them, empty if it has left; ``write`` and ``buffered`` are
    bound methods of the transport; ``framed`` asks for HTTP chunks.
    """

    head: bytes
    write: Callable[[bytes], None]
    buffered: Callable[[], int]
    framed: bool


class Client(Protocol):
    """The client's message: unopened, opened, committed, ended. :mod:`sluicegate.web.message` is the real one."""

    @property
    def credentials(self) -> tuple[Sequence[str], Sequence[str]]:
        """Every ``Authorization`` and every ``x-api-key`` header's value."""

    @property
    def headers(self) -> str:
        """The request's headers that an upstream may see, each as ``name: value`` and LF."""

    @property
    def bytes_in(self) -> int:
        """Body bytes read from the client."""

    async def body(self) -> bytes:
        """The whole request body. Raises BodyTooLarge, BodyTooSlow, BodyUnsupported or ClientLeft."""

    def reply(self, status: int, headers: Sequence[tuple[str, str]], body: bytes, lines: str = "") -> None:
        """The answer is this, whole. Only while unopened. ``lines`` are headers as :meth:`open` takes them."""

    def open(self, lines: str) -> Sink:
        """Opens a 200 event stream; its head leaves with the first bytes. Raises ClientLeft.

        Once open, the same message is given again, and ``lines`` say nothing.
        """

    def say(self, event: bytes) -> None:
        """Writes an event or a comment of ours into the open message, while nobody relays. Raises ClientLeft."""

    async def drain(self) -> None:
        """Waits until the client has read. Raises TimeoutError after the write timeout."""

    async def end(self, *, reusable: bool) -> None:
        """Ends an opened message; the connection is closed after it unless ``reusable``."""

    def abort(self) -> None:
        """Drops the client's connection without ending the message (RST: its buffer is full anyway)."""


class Tokens(msgspec.Struct, frozen=True, gc=False):
    """Counts with one meaning everywhere: cached and cache-write are parts of input, reasoning of output."""

    input: int = 0
    output: int = 0
    cached_input: int = 0
    cache_write: int = 0
    reasoning: int = 0


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens with where each direction's figure came from; ``reported`` is the provider's own spelling of it."""

    tokens: Tokens = Tokens()
    input_provenance: Provenance = "none"
    output_provenance: Provenance = "none"
    reported: tuple[tuple[str, int], ...] = ()


NO_USAGE = Usage()


class Tariff(Protocol):
    """How a request's cost is worked out: the native core's."""

    def bill(
        self, prompt: int, answer: int, cached: int, cache_write: int, reasoning: int, /
    ) -> tuple[int, int | None]:
        """Nano-dollars, and credits if they are billed."""


class Priced(msgspec.Struct, frozen=True):
    """The price that holds for a request, and the name it is kept under."""

    version: str
    tariff: Tariff


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """One try at one target and how it ended.

    ``outcome`` is ``completed`` or an error's code, ``status`` the upstream's own, 0 if none came. ``credential`` is a
    name. ``started`` counts from the request's arrival, ``duration`` from there; both in seconds. ``decisive``: the
    row's target, error and usage are this attempt's; what others reported is beside the row's usage, not in it. Those
    have a ``price`` (its version) and a ``cost`` in nano-dollars of their own, None without one; it is in the row's.
    """

    target: str
    outcome: str
    status: int
    usage: Usage = NO_USAGE
    credential: str = ""
    started: float = 0.0
    duration: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
    decisive: bool = True
    upstream_request_id: str = ""
    price: str = ""
    cost: int | None = None


class Reservation(Protocol):
    """What a request has reserved of its limits; :mod:`sluicegate.limits.limiter` has the real one."""

    @property
    def tokens(self) -> int:
        """Tokens reserved."""

    def headers(self, now: float, /) -> list[tuple[str, str]]:
        """How the limits stand, for the client."""


class Exchange(msgspec.Struct, eq=False):
    """One request's life. Times are monotonic seconds but for ``received_at`` (Unix time)."""

    id: str
    endpoint: Endpoint
    mount: Mount
    client: Client
    received: float
    received_at: float
    caller: str = ""
    group: str = ""
    requested_model: str = ""
    stream: bool = False
    #: In which shape its errors are written.
    shape: str = ""
    #: The client wants the upstream's own text repeated.
    raw_response: bool = False
    #: The request's parameters as answers repeat them: JSON. Empty where the page does not.
    model_params: bytes = b""
    #: The configured model's name: the ``model`` label. ``_other`` until a model is found.
    model: str = "_other"
    #: ``upstream/model`` as metrics say it: bounded by the configuration.
    target: str = ""
    upstream: str = ""
    upstream_model: str = ""
    upstream_request_id: str = ""
    #: The name of the credential used there.
    credential: str = ""
    #: The upstream's own status of the attempt under way; 0 until one came.
    upstream_status: int = 0
    #: When the attempt under way began; None between attempts.
    attempt_started: float | None = None
    #: Those that were left; in a row the one under way joins them, which is the decisive one.
    attempts: list[Attempt] = []  # a struct makes a new list for each
    status: int = 0
    error_code: str = ""
    outcome: str = ""
    usage: Usage = NO_USAGE
    time_to_first_content: float | None = None
    #: Seconds of silence after which a stream that is not committed gets a comment; 0 for never.
    heartbeat: float = 0.0
    #: When the last one was due; monotonic seconds.
    last_heartbeat: float = 0.0
    #: Comments written, how many of them before the commit, and their bytes.
    heartbeats: int = 0
    heartbeats_before: int = 0
    bytes_before: int = 0
    #: A target's answer has become the client's.
    committed: bool = False
    #: When the request was handed to the upstream, and when its answer's last byte came: what is not ours is between.
    dispatched: float | None = None
    answered: float | None = None
    #: When all attempts together must have ended; monotonic seconds.
    deadline: float = 0.0
    #: Seconds between attempts.
    between: float = 0.0
    bytes_out: int = 0
    upstream_bytes_in: int = 0
    upstream_bytes_out: int = 0
    events: int = 0
    #: The tokens that the stream's content is likely to be.
    written: int = 0
    malformed_events: int = 0
    #: The price of the target, if it has one; then what the request cost: nano-dollars, attempts that were left
    #: included, and credits if they are billed.
    priced: Priced | None = None
    cost: int | None = None
    credits: int | None = None
    #: What its records in the spool are known by; 0 before it was admitted.
    sequence: int = 0
    #: Its row has been left.
    recorded: bool = False
    #: What it has reserved of its limits, if it has any.
    reservation: Reservation | None = None
    #: Where the client left, if it did: before_head, before_commit, streaming.
    left: str = ""

    @property
    def attempts_made(self) -> int:
        """How many attempts there have been, the one under way among them."""
        return len(self.attempts) + (self.attempt_started is not None)


class Rows(Protocol):
    """What makes the records of exchanges: the native core's."""

    def admit(self, exchange: Exchange, /) -> int:
        """Write down that one may be served: its sequence in the spool, 0 if that is the spool's to do."""

    def admitted(self, exchange: Exchange, sequence: int, /) -> bytes:
        """The spool's record of it."""
