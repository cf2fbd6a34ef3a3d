"""What the soak mixes: one table of ways to ask and to be answered, each with how it must end at every observer.

A case of weight 1 is one request in a hundred; the good ones fill the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from tests.kit.words import ANSWER, DONE, FINISH, HELLO, WORLD, event
from tests.soak import clients
from tests.soak.words import Words

from sluicegate.demo import faults
from sluicegate.demo.scripts import Pause, Script, raw, respond, seeded

Ending = tuple[int, str]
"""A status and an error code as rows and metrics have them."""
Answering = Callable[[Words], Script]
"""What an upstream does to a request, in the words of that answer."""

GOOD_END: Ending = (200, "")
LEFT_BEFORE: Ending = (499, "client_disconnected")
LEFT_INSIDE: Ending = (200, "client_disconnected")

BLOCK = event("A" * 30_000)
IN_BAND = b'data: {"error":{"message":"The server had an error","type":"server_error","param":null,"code":null}}\n\n'
LIMITED = b'{"error":{"message":"Slow down","type":"requests","param":null,"code":"rate_limit_exceeded"}}'
FAILED = b'{"error":{"message":"Oops","type":"server_error","param":null,"code":null}}'
BAD = b'{"error":{"message":"No","type":"invalid_request_error","param":"messages","code":null}}'


@dataclass(frozen=True)
class Case:
    """One way a request may go. ``script``: what the upstream does; None: it never gets there.

    ``ends``: the endings that the row may have; empty: it leaves no row, and ``refused`` is its ending instead.
    ``whole``: the client is told that ending, too; else it has left, or is cut off. ``usage``: the provider's figures
    are in the row. ``maybe``: whether it becomes a request at all is chance. ``again``: the upstream may see it
    twice, the first time on a connection that had been kept.
    """

    name: str
    ends: frozenset[Ending]
    script: Answering | None = None
    client: clients.Behaviour = clients.reads
    stream: bool = True
    weight: float = 1.0
    by: tuple[str, ...] = ("plain", "secure")
    whole: bool = True
    usage: bool = False
    refused: Ending | None = None
    maybe: bool = False
    again: bool = False
    asks: str = ""

    @property
    def model(self) -> str:
        """The model it asks for below its upstream's name: its own name, unless ``asks`` says another."""
        return self.asks or self.name.replace(" ", "-")


def ending(status: int, code: str) -> frozenset[Ending]:
    """The one ending there is."""
    return frozenset({(status, code)})


def wordless(script: Callable[[], Script]) -> Answering:
    """What an upstream does that says nothing of usage."""
    return lambda _: script()


def good(name: str, script: Answering, client: clients.Behaviour = clients.reads, *, stream: bool = True) -> Case:
    """A case that ends well, with usage."""
    return Case(name, frozenset({GOOD_END}), script, client, stream=stream, usage=True)


def upstream(name: str, code: str, script: Callable[[], Script], *, status: int = 502, stream: bool = True) -> Case:
    """A case in which the upstream's fault is the client's error status."""
    return Case(name, ending(status, code), wordless(script), stream=stream)


def cut(name: str, code: str, script: Callable[[], Script]) -> Case:
    """A case in which the upstream's fault ends a stream that was the client's already."""
    return Case(name, ending(200, code), wordless(script))


def caller(name: str, status: int, code: str, client: clients.Behaviour) -> Case:
    """A case in which the caller's fault is told before any upstream is asked."""
    return Case(name, ending(status, code), None, client, by=("plain",))


def unasked(name: str, status: int, code: str, client: clients.Behaviour, *, whole: bool = True) -> Case:
    """A case that is refused before it has a row."""
    return Case(name, frozenset(), None, client, by=("plain",), refused=(status, code), whole=whole)


def left(
    name: str, end: Ending, script: Callable[[], Script], client: clients.Behaviour, *, stream: bool = True
) -> Case:
    """A case in which the client leaves, or is dropped."""
    return Case(name, frozenset({end}), wordless(script), client, stream=stream, whole=False)


def big(words: Words) -> Script:
    """A stream of half a megabyte with its usage."""
    return respond(HELLO, *[BLOCK] * 16, FINISH, *words.usage, DONE)


def paced(words: Words) -> Script:
    """A stream at a human pace."""
    return respond(HELLO, *(piece for _ in range(20) for piece in (WORLD, Pause(0.02))), FINISH, *words.usage, DONE)


GOOD_CASES = (
    replace(good("stream", lambda words: respond(*words.good)), weight=25),
    replace(good("whole", Words.whole, stream=False), weight=15),
    replace(good("paced", paced), weight=8),
    replace(good("kept", Words.whole, clients.keeps, stream=False), weight=5),
)

FAULTS = (
    # Upstreams before the first content
    replace(upstream("closes", "upstream_lost", faults.closes_before_head), again=True),
    replace(upstream("resets", "upstream_lost", faults.resets_before_head), again=True),
    upstream("ends after its head", "upstream_truncated", faults.closes_after_head),
    upstream("silent", "upstream_timeout", faults.stalls_before_head, status=504),
    upstream("empty stream", "upstream_ended_without_content", respond),
    upstream("page", "upstream_not_stream", faults.html_page),
    upstream("empty", "upstream_empty", faults.empty_answer, stream=False),
    upstream("gzip", "upstream_encoded", partial(faults.gzipped, ANSWER), stream=False),
    upstream("redirect", "upstream_redirect", partial(faults.redirect, "/v1/elsewhere")),
    upstream("short body", "upstream_truncated", partial(faults.short_body, ANSWER[:50], 100), stream=False),
    upstream("two framings", "upstream_protocol", faults.two_framings, stream=False),
    upstream("NUL", "upstream_protocol", faults.nul_in_header, stream=False),
    upstream("bad chunk", "upstream_protocol", partial(faults.bad_chunk_size, b"xyz")),
    upstream("rate limit", "upstream_rate_limited", partial(faults.failure, 429, LIMITED), status=429),
    upstream("failed", "upstream_error", partial(faults.failure, 500, FAILED)),
    upstream("refused key", "upstream_auth", partial(faults.failure, 401, b"{}"), stream=False),
    upstream("rejected", "upstream_rejected", partial(faults.failure, 400, BAD), status=400, stream=False),
    upstream("error first", "upstream_error", lambda: respond(IN_BAND)),
    Case("error after usage", ending(502, "upstream_error"), lambda words: respond(*words.usage, IN_BAND)),
    # and after it
    cut("FIN", "upstream_truncated", partial(faults.cut_stream, HELLO, WORLD)),
    cut("RST", "upstream_truncated", partial(faults.cut_stream, HELLO, WORLD, reset=True)),
    cut("stalls", "upstream_stalled", partial(faults.stalled_stream, HELLO)),
    cut("error inside", "upstream_error_in_band", lambda: respond(HELLO, IN_BAND)),
    cut("bad chunk inside", "upstream_protocol", lambda: raw(*respond_open(HELLO), b"xyz\r\n")),
    Case("FIN after usage", ending(200, "upstream_truncated"), lambda words: faults.cut_stream(*words.early, WORLD)),
    # that still end well
    good("in crumbs", lambda words: respond(*words.good).recut(seeded(3, longest=9))),
    good("odd pieces", lambda words: respond(*words.good).recut(seeded(7))),
    good("no DONE", lambda words: respond(*words.good[:-1])),
    good("malformed", lambda words: respond(HELLO, b"data: {oops\n\n", *words.good[1:])),
    good("closes when asked again", lambda words: faults.closes_on_next_request(respond(*words.good))),
    good("big", big),
    *(
        Case(
            f"falls back: {asks}",
            frozenset({GOOD_END}),
            by=("fallback",),
            usage=True,
            again=True,
            asks=asks.replace(" ", "-"),
        )
        for asks in ("closes", "silent", "failed", "page", "error after usage")
    ),
    # Clients
    good("slow reader", big, clients.reads_slowly),
    good("pipelined", Words.whole, clients.pipelines, stream=False),
    good("leaves at the end", lambda words: respond(*words.good), clients.leaves_at_the_end),
    left("stalled reader", (200, "client_stalled"), partial(faults.endless_stream, BLOCK), clients.stalls),
    left("leaves early", LEFT_BEFORE, faults.stalls_before_head, clients.leaves_once_asked),
    left("resets early", LEFT_BEFORE, faults.stalls_before_head, clients.resets_once_asked, stream=False),
    left("leaves inside", LEFT_INSIDE, partial(faults.stalled_stream, HELLO), clients.leaves_inside),
    left("resets inside", LEFT_INSIDE, partial(faults.endless_stream, WORLD), clients.resets_inside),
    replace(
        left("leaves somewhere", LEFT_BEFORE, respond, clients.leaves_somewhere),
        script=paced,
        ends=frozenset({LEFT_BEFORE, LEFT_INSIDE, GOOD_END}),
        maybe=True,
    ),
    replace(left("half a body", LEFT_BEFORE, faults.stalls_before_head, clients.sends_half), maybe=True),
    caller("wrong key", 401, "invalid_api_key", clients.has_a_wrong_key),
    caller("no JSON", 400, "invalid_json", clients.sends_no_json),
    caller("unknown model", 404, "model_not_found", clients.asks_for_the_unknown),
    caller("too large", 413, "request_too_large", clients.announces_too_much),
    unasked("no HTTP", 400, "invalid_http", clients.sends_no_http),
    unasked("no path", 404, "unknown_path", clients.asks_elsewhere),
    unasked("half a head", 408, "request_timeout", clients.sends_half_a_head),
    unasked("nothing", 0, "request_timeout", clients.says_nothing, whole=False),
)

CASES = (*GOOD_CASES, *FAULTS)


def respond_open(*events: bytes) -> tuple[bytes, ...]:
    """A chunked stream's bytes without its end."""
    return tuple(step.data for step in respond(*events).steps[:-1] if hasattr(step, "data"))
