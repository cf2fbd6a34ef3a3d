"""What an operator orders of keys from afar: one JSON object in, one out, whatever comes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from sluicegate.access.register import Refused, Register, with_register

if TYPE_CHECKING:
    from sluicegate.config import Settings
    from sluicegate.store.keys import KeyStore


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Do something with the keys, or with the one of this ``name``; ``said`` is the request's JSON."""

    what: Literal["list", "show", "create", "change", "rotate", "revoke"]
    name: str = ""
    said: dict[str, Any] = {}


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an order: an HTTP status, and a key or a list of them, or an error's code, words and problems."""

    status: int
    body: msgspec.Raw = msgspec.Raw(b"null")
    code: str = ""
    message: str = ""
    problems: list[dict[str, str]] = []


def carry_out(settings: Settings, store: KeyStore | None, order: bytes) -> bytes:
    """Do what an order says, with the keys of a store. Blocks."""
    asked = msgspec.json.decode(order, type=Order)
    try:
        found = with_register(settings, store, lambda register: _do(register, asked))
    except Refused as refused:
        problems = [{"path": problem.path, "message": problem.message} for problem in refused.problems]
        done = Done(status=refused.status, code=refused.code, message=refused.message, problems=problems)
    else:
        status = 201 if asked.what == "create" else 200
        done = Done(status=status, body=msgspec.Raw(msgspec.json.encode(found)))
    return msgspec.json.encode(done)


def _do(register: Register, order: Order) -> Any:  # noqa: ANN401  # what is answered as JSON
    match order.what:
        case "list":
            return register.listed()
        case "show":
            return register.one(order.name)
        case "create":
            return register.create(order.said)
        case "change":
            return register.change(order.name, order.said)
        case "rotate":
            if unknown := sorted(order.said.keys() - {"overlap"}):
                raise Refused(400, "invalid_key", f"{unknown[0]} is nothing that a rotation knows; it knows: overlap")
            return register.rotate(order.name, order.said.get("overlap", 0))
        case "revoke":
            return register.revoke(order.name)
