"""Usage for requests whose upstream said nothing of it: counted from bytes, and marked as estimated.

Rules: a direction that a provider spoke of is left alone. An estimate is made of an answer that became the client's,
and of one that was on its way when somebody stopped waiting for it; what an upstream refused or lost used nothing.
Four bytes are taken for a token: the prompt's are those of its request, an answer's those of its text
(``rust/src/relay/written.rs``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluicegate.exchange import Tokens, Usage

if TYPE_CHECKING:
    from sluicegate.exchange import Exchange

_BYTES_PER_TOKEN = 4
_OK = 200
#: Outcomes of whoever no longer waited for an answer.
_GIVEN_UP = frozenset({"client_disconnected", "upstream_timeout", "total_timeout", "gateway_draining"})


def estimated(exchange: Exchange) -> Usage:
    """Give an ended exchange's usage, with an estimate for each direction that nobody spoke of."""
    usage = exchange.usage
    if "none" not in (usage.input_provenance, usage.output_provenance) or not _used_something(exchange):
        return usage
    tokens = usage.tokens
    written = exchange.written if exchange.stream else _tokens(exchange.upstream_bytes_in)
    no_input, no_output = usage.input_provenance == "none", usage.output_provenance == "none"
    return Usage(
        Tokens(
            _tokens(exchange.client.bytes_in) if no_input else tokens.input,
            written if no_output else tokens.output,
            tokens.cached_input,
            tokens.cache_write,
            tokens.reasoning,
        ),
        "estimated" if no_input else usage.input_provenance,
        "estimated" if no_output else usage.output_provenance,
        usage.reported,
    )


def _used_something(exchange: Exchange) -> bool:
    """Whether an upstream has answered, or was about to."""
    if exchange.endpoint.dialect == "unknown" or not exchange.upstream_bytes_out:
        return False
    return exchange.status == _OK or (exchange.outcome in _GIVEN_UP and exchange.upstream_status in (0, _OK))


def _tokens(size: int) -> int:
    return -(-size // _BYTES_PER_TOKEN)
