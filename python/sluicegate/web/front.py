"""The clients' address: each request becomes an exchange, an answer of our own, or an error in its dialect's shape."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Protocol

from sluicegate.dialects.speech import error_body, error_headers, status
from sluicegate.errors import FAULTS, Draining, Internal, NotAllowed, NotFound, Overloaded, RequestFailed, where
from sluicegate.exchange import Exchange
from sluicegate.web import head
from sluicegate.web.message import Message, credentials
from sluicegate.web.models import model_list, one_model
from sluicegate.web.profiles import DEFAULT_DIALECT
from sluicegate.web.request import Parsed
from sluicegate.web.routes import ModelList, OneModel, OwnUsage, Relay, Schema
from sluicegate.web.schema import chat_completion_schema
from sluicegate.web.whole import Whole

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sluicegate._native import Plain
    from sluicegate.policy.keys import Caller
    from sluicegate.web.message import Bounds
    from sluicegate.web.opened import Opened
    from sluicegate.web.own_usage import UsageDesk
    from sluicegate.web.request import Request
    from sluicegate.web.routes import Route, Routes

log = logging.getLogger("sluicegate.web")


class Gateway(Protocol):
    """What the edge asks of the gateway."""

    async def answer(self, exchange: Exchange) -> None:
        """Serve one exchange: reply, or open and end. Raises nothing but CancelledError."""

    def caller(self, authorization: Sequence[str], x_api_key: Sequence[str]) -> Caller:
        """Say whose credential this is. Raises NotAuthenticated, BadRequest or KeysUnavailable."""

    def visible_models(self, authorizations: Sequence[str], api_keys: Sequence[str]) -> Sequence[str]:
        """Name the models that the presented credentials may use. Raises NotAuthenticated or BadRequest."""

    def may_use(self, authorizations: Sequence[str], api_keys: Sequence[str], model: str) -> bool:
        """Tell whether there is such a model for the presented credentials. Raises as :meth:`visible_models`."""

    def begin_drain(self) -> None:
        """Refuse new exchanges from now on."""

    async def drained(self, timeout: float | None) -> bool:  # noqa: ASYNC109  # a wait that ends, not one that fails
        """Wait until no exchange runs; False if some still do after ``timeout`` seconds, if that is not None."""

    def end_streams(self) -> None:
        """Make running streams end with ``gateway_draining``."""

    async def close(self) -> None:
        """Close the upstreams' connections."""


class Front:
    """Answers the clients' requests; the handler of their :class:`~sluicegate.web.protocol.Edge`.

    ``open_to_all``: no keys are configured, so whoever reaches this address may ask, but no web page may. ``refused``
    is told the status and code of each request that is refused without a row.
    """

    def __init__(
        self,
        gateway: Gateway,
        routes: Routes,
        bounds: Bounds,
        *,
        head_size: int,
        open_to_all: bool,
        refused: Callable[[int, str], None],
        usage: UsageDesk,
    ) -> None:
        self._gateway = gateway
        self._routes = routes
        self._bounds = bounds
        self._head_size = head_size
        self._open_to_all = open_to_all
        self._refused = refused
        self._usage = usage
        self._created = int(time.time())
        self._ids = head.RequestIds()
        #: From now on each answer ends its connection.
        self.leaving = False
        #: From now on nothing new is served: a request on a kept connection gets 503.
        self.draining = False

    async def answer(self, request: Request) -> Whole | Opened:
        """Serve one request. Raises nothing but CancelledError: the client left."""
        received, received_at = time.monotonic(), time.time()
        request_id = self._ids.of(request)
        response: Whole | Opened
        try:
            route = self._route(request)
            if isinstance(route, Relay):
                exchange, message = self._exchange(request, route, request_id, received, received_at)
                response = await self._relay(request, exchange, message)
            elif isinstance(route, OwnUsage):
                response = await self._own_usage(request, route, request_id)
            else:
                response = self._ours(request, route, request_id)
        except RequestFailed as error:
            response = self.refuse(request, error, request_id)
        except asyncio.CancelledError:
            raise
        except FAULTS as error:  # the last stop before the connection's end
            log.error("request %s failed: %s", request_id, where(error))  # noqa: TRY400  # its words may quote content
            response = self.refuse(request, Internal(), request_id)
        if self.leaving or request.upgrades:
            response.force_close()
        return response

    async def answer_plain(self, request: Plain) -> Whole | Opened:
        """Serve a plain request as :meth:`answer` does; what is to be relayed at once, in fewer steps."""
        relay = self._routes.relay(request.path)
        if relay is None or request.surplus or self.draining:
            return await self.answer(request)
        request_id = request.given_id or self._ids.new()
        exchange, message = self._exchange(request, relay, request_id, time.monotonic(), time.time())
        try:
            await self._gateway.answer(exchange)
        finally:
            settled = message.settle()
        response = settled if settled is not None else self._unanswered(request, exchange)
        if self.leaving:
            response.force_close()
        return response

    def refuse(self, request: Request | None, error: RequestFailed, request_id: str = "") -> Whole:
        """Refuse what will have no row, in the request's dialect; without a request, in the default one."""
        error.status = status(self._shape(request), error)
        self._refused(error.status, error.code)
        return self._told(request, error, request_id)

    def _told(self, request: Request | None, error: RequestFailed, request_id: str) -> Whole:
        shape = self._shape(request)
        request_id = request_id or self._ids.new()
        return Whole.of(
            request_id,
            error.status,
            [*error.headers.items(), *error_headers(shape, request_id)],
            error_body(shape, error, request_id),
            close=error.close or request is None or request.unread,
        )

    def _shape(self, request: Request | None) -> str:
        return DEFAULT_DIALECT if request is None else self._routes.dialect(request.path)

    def _route(self, request: Request) -> Route:
        if isinstance(request, Parsed):
            head.check(request, self._head_size)
        if request.surplus:
            message = "The gateway has as many connections as it may; please try again."
            raise Overloaded("gateway_overloaded", message, headers={"Retry-After": "1"}, close=True)
        if self.draining:
            message = "The gateway is shutting down; please try again."
            raise Draining("gateway_draining", message, headers={"Retry-After": "1"}, close=True)
        route = self._routes.find(request.method, request.path)
        if self._open_to_all and request.from_page:
            message = "Web pages may not use this gateway: it has no keys configured."
            raise NotAllowed("origin_not_allowed", message)
        return route

    def _exchange(
        self, request: Request, route: Relay, request_id: str, received: float, received_at: float
    ) -> tuple[Exchange, Message]:
        own_headers = error_headers(route.errors, request_id)
        profile = route.mount.profile
        message = Message(request, self._bounds, request_id, received, own_headers, profile.key_header)
        exchange = Exchange(
            id=request_id,
            endpoint=route.endpoint,
            mount=route.mount,
            client=message,
            received=received,
            received_at=received_at,
            shape=route.errors,
            raw_response=bool(profile.raw_header) and isinstance(request, Parsed) and request.says(profile.raw_header),
        )
        return exchange, message

    async def _relay(self, request: Request, exchange: Exchange, message: Message) -> Whole | Opened:
        try:
            await self._gateway.answer(exchange)
        finally:
            response = message.settle()
        return response if response is not None else self._unanswered(request, exchange)

    def _unanswered(self, request: Request, exchange: Exchange) -> Whole:
        """Nobody answered a client that has left; its row is there, and this goes nowhere."""
        return self._told(request, Internal(), exchange.id)

    def _ours(self, request: Request, route: ModelList | OneModel | Schema, request_id: str) -> Whole:
        if isinstance(route, Schema):
            body = chat_completion_schema(route.address)
        else:
            body = self._models(route, *credentials(request, route.mount.profile.key_header))
        return Whole(request_id, 200, body, close=request.unread)

    async def _own_usage(self, request: Request, route: OwnUsage, request_id: str) -> Whole:
        caller = self._gateway.caller(*credentials(request, route.mount.profile.key_header))
        query = request.target.partition("?")[2] if isinstance(request, Parsed) else ""
        return Whole(request_id, 200, await self._usage.answer(caller.name, query), close=request.unread)

    def _models(self, route: ModelList | OneModel, authorizations: Sequence[str], api_keys: Sequence[str]) -> bytes:
        served = route.mount.profile.models
        if isinstance(route, ModelList):
            names = self._gateway.visible_models(authorizations, api_keys)
            return model_list((name for name in names if name.startswith(served)), self._created)
        if self._gateway.may_use(authorizations, api_keys, route.model) and route.model.startswith(served):
            return one_model(route.model, self._created)
        raise NotFound("model_not_found", "There is no such model, or your key may not use it.", param="model")
