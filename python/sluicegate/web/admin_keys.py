"""Keys at the admin address: ``/admin/keys``, ``/admin/keys/NAME``, ``/admin/keys/NAME/rotate``."""

from __future__ import annotations

import asyncio
import logging
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import msgspec
import orjson

from sluicegate.access.orders import Done
from sluicegate.config import ConfigError
from sluicegate.errors import BadRequest, BodyTooLarge, BodyTooSlow, MethodNotAllowed, NotFound
from sluicegate.web.whole import Whole

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from sluicegate.web.request import Parsed

KEYS: Final = "/admin/keys"
#: Bytes of a request about a key, and seconds that it may take.
_LARGEST, _PATIENCE = 64 << 10, 10.0

#: What the methods mean at ``/admin/keys``, below it and at ``/rotate`` below that.
_AT_ALL: Mapping[str, str] = MappingProxyType({"GET": "list", "POST": "create"})
_AT_ONE: Mapping[str, str] = MappingProxyType({"GET": "show", "PATCH": "change", "DELETE": "revoke"})
_AT_ROTATE: Mapping[str, str] = MappingProxyType({"POST": "rotate"})

_log = logging.getLogger("sluicegate.web")


async def keys_page(request: Parsed, order: Callable[[str, bytes], Awaitable[bytes]]) -> Whole:
    """Have an order about keys carried out. Raises RequestFailed."""
    what, name = _order(request.method, request.path)
    said = await _said(request) if what in ("create", "change", "rotate") else {}
    try:
        answer = await order("keys", msgspec.json.encode({"what": what, "name": name, "said": said}))
    except ConfigError as error:
        return _refused(503, "store_unavailable", f"No worker can do it now: {error}", ())
    done = msgspec.json.decode(answer, type=Done)
    if done.code:
        return _refused(done.status, done.code, done.message, done.problems)
    if what not in ("list", "show"):
        _log.warning("key %s: %s by the admin API", name or said.get("name"), what)
    body = bytes(done.body)
    return Whole("", done.status, b'{"object":"list","data":' + body + b"}" if what == "list" else body)


def _order(method: str, path: str) -> tuple[str, str]:
    name, slash, more = path.removeprefix(KEYS).removeprefix("/").partition("/")
    if path == KEYS:
        methods = _AT_ALL
    elif name and not slash:
        methods = _AT_ONE
    elif name and more == "rotate":
        methods = _AT_ROTATE
    else:
        raise NotFound("unknown_path", "There is nothing at this path.")
    if method not in methods:
        allowed = ", ".join(methods)
        raise MethodNotAllowed("method_not_allowed", f"Please use {allowed} here.", headers={"Allow": allowed})
    return methods[method], name


async def _said(request: Parsed) -> dict[str, Any]:
    """Read a JSON object; none stands for an empty one."""
    gathered = bytearray()
    try:
        async with asyncio.timeout(_PATIENCE):
            async for part in request.content.iter_any():
                gathered += part
                if len(gathered) > _LARGEST:
                    raise BodyTooLarge("request_too_large", f"Please send {_LARGEST} bytes at most.", close=True)
    except TimeoutError:
        raise BodyTooSlow("request_timeout", "The request's body did not arrive in time.", close=True) from None
    try:
        said = orjson.loads(gathered or b"{}")
    except orjson.JSONDecodeError:
        raise BadRequest("invalid_json", "The body is not JSON.") from None
    if not isinstance(said, dict):
        raise BadRequest("invalid_json", "The body is not a JSON object.")
    return said


def _refused(status: int, code: str, message: str, problems: object) -> Whole:
    failure: dict[str, object] = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    if problems:
        failure["problems"] = problems
    return Whole("", status, orjson.dumps({"error": failure}))
