"""The life of a request, from top to bottom: :meth:`Gateway.answer`, and the steps in the order in which it takes them.

Rules: a request that was admitted leaves a row, whatever happens to it; nothing is awaited between the end of an
attempt and its row; the row of a stream is written before its message is ended.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from sluicegate import errors
from sluicegate.attempts import Journey
from sluicegate.dialects import pages, request, speech
from sluicegate.heartbeats import Heartbeats
from sluicegate.policy.routing import Routes, no_such_model
from sluicegate.policy.seats import spoken
from sluicegate.telemetry.series import CONNECTIONS, HELD
from sluicegate.upstream.attempt import Attempt
from sluicegate.upstream.heads import Heads
from sluicegate.upstream.pause import Pause
from sluicegate.upstream.plans import Plans
from sluicegate.upstream.upstreams import Upstreams
from sluicegate.upstream.verdicts import failure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sluicegate.access.current import Access
    from sluicegate.attempts import Attempts
    from sluicegate.config import Settings
    from sluicegate.dialects.request import Ask
    from sluicegate.exchange import Exchange
    from sluicegate.ledger.book import Ledger
    from sluicegate.ledger.prices import Prices
    from sluicegate.limits.limiter import Limiter
    from sluicegate.policy.keys import Caller
    from sluicegate.policy.routing import Route
    from sluicegate.policy.seats import Seat
    from sluicegate.telemetry.access_log import AccessLog
    from sluicegate.telemetry.metrics import Metrics
    from sluicegate.upstream.waiting import Wait

_log = logging.getLogger(__name__)


class Gateway:
    """Serves exchanges under one configuration. To be made inside a running loop."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        log: AccessLog,
        ledger: Ledger | None,
        prices: Prices,
        limiter: Limiter,
        attempts: Attempts,
        access: Access,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        providers = {name: upstream.dialect for name, upstream in settings.upstreams.items()}
        self._rows = metrics.rows(settings.version, providers, ledger.tail if ledger is not None else None)
        self._log = log
        self._ledger = ledger
        self._prices = prices
        #: Says whose credential it is. Raises NotAuthenticated, BadRequest or KeysUnavailable.
        self.caller = access.caller
        self._routes = Routes(settings)
        self._limiter = limiter
        self._heads = Heads()
        self._plans = Plans(settings, metrics.bank, metrics.event_gap, prices.at)
        self._heartbeats = Heartbeats(pages.own_lines, early=settings.heartbeat_early)
        self._upstreams = Upstreams(settings, metrics.loop_lagged, self._swept)
        self._attempts = attempts
        self._live: dict[Exchange, Attempt | Pause | Wait[Seat] | None] = {}
        self._idle: asyncio.Event | None = None
        self._draining = False
        self._watched: tuple[Callable[[], None], ...] = (
            metrics.watch(CONNECTIONS, self._upstreams.connections),
            metrics.watch(HELD, lambda: {(): self._upstreams.held}),
        )

    async def answer(self, exchange: Exchange) -> None:
        """Serve one exchange: reply, or open, relay and end. Raises only CancelledError, when the client left."""
        self._live[exchange] = None
        try:
            await self._serve(exchange)
        except errors.ClientLeft:
            self._client_left(exchange)
        except errors.RequestFailed as error:
            self._fail(exchange, error)
            await self._tell(exchange, error)
        except asyncio.CancelledError:
            self._client_left(exchange)
            raise
        except errors.FAULTS as error:  # the last stop: whatever it was, the client hears of it
            _log.error("request %s failed: %s", exchange.id, errors.where(error))  # its words may quote content
            fault = errors.Internal()
            self._fail(exchange, fault)
            await self._tell(exchange, fault)
        finally:
            self._record(exchange)
            del self._live[exchange]
            if self._idle is not None and not self._live:
                self._idle.set()

    async def _serve(self, exchange: Exchange) -> None:
        caller = self.caller(*exchange.client.credentials)
        exchange.caller, exchange.group = caller.name, caller.group
        self._admit()
        body = await exchange.client.body()
        ask = self._what_is_asked(exchange, body)
        route = self._where_it_goes(exchange, caller, ask)
        if (reservation := self._limiter.reserve(caller, route, ask, self._prices.at)) is not None:
            if reservation.waits:
                await self._limiter.fill(caller, route, reservation)
            exchange.reservation = reservation
        if self._ledger is not None:
            self._ledger.admit(exchange, self._rows)
        await self._until_answered(exchange, ask, self._with_fallbacks(exchange, caller, body, route))

    # --- the steps, in order ---

    def _admit(self) -> None:
        if self._draining:
            raise errors.Draining.again()
        if self._upstreams.held > self._settings.limits.held_total:
            message = "The gateway holds as many bytes as it may; please try again."
            raise errors.Overloaded("gateway_overloaded", message, headers={"retry-after": "1"})

    @staticmethod
    def _what_is_asked(exchange: Exchange, body: bytes) -> Ask:
        ask = request.read(body, strict_stream_options=exchange.mount.profile.strict_stream_options)
        exchange.requested_model = ask.model
        exchange.stream = ask.stream
        if exchange.mount.profile.page:
            pages.check(exchange, body)
        return ask

    def _where_it_goes(self, exchange: Exchange, caller: Caller, ask: Ask) -> Route:
        route = self._routes.route(ask.model)
        if route is None or not ask.model.startswith(exchange.mount.profile.models):
            raise no_such_model(ask.model)
        if not caller.may_use(ask.model):
            raise errors.NotAllowed("model_not_allowed", "This API key may not use this model.", param="model")
        if self._settings.require_price and not self._has_prices(route, exchange.received_at):
            raise errors.BadRequest(
                "model_not_priced", "This model has no price here, and must have one.", param="model"
            )
        exchange.model = route.name
        if ask.stream and exchange.mount.profile.heartbeats:
            exchange.heartbeat = route.model.times.heartbeat
        return route

    def _has_prices(self, route: Route, at: float) -> bool:
        return all(self._prices.at(target.upstream.name, target.model, at) for target in route.targets)

    def _with_fallbacks(self, exchange: Exchange, caller: Caller, body: bytes, route: Route) -> Sequence[Route]:
        """The model's route, then those of the fallbacks that the caller names, where the profile consumes them."""
        if not exchange.mount.profile.consumes_fallbacks:
            return (route,)
        dialect = spoken(route.targets, exchange.endpoint.family)[0].upstream.dialect
        found, skipped = self._routes.fallbacks(request.fallbacks(body), caller, dialect)
        for reason in skipped:
            self._metrics.fallback_skipped(route.name, reason)
        if self._settings.require_price:
            found = [other for other in found if self._has_prices(other, exchange.received_at)]
        return (route, *found)

    async def _until_answered(self, exchange: Exchange, ask: Ask, routes: Sequence[Route]) -> None:
        """Make one attempt after the other until one is the answer. Raises the primary's error: none is left."""
        seat = self._attempts.first(exchange, routes, time.monotonic())
        if seat is None:
            wait = self._live[exchange] = self._attempts.wait(exchange, routes)
            seat = await wait.over()
        journey: Journey | None = None
        while True:
            attempt = self._begin(exchange, ask, seat)
            try:
                return await self._attempt(exchange, ask, seat, attempt)
            except (errors.UpstreamFault, errors.Overloaded) as error:
                if exchange.left:  # nobody waits for another
                    raise
                if journey is None:
                    journey = Journey(self._attempts, exchange, ask, routes, seat, self._prices.charge)
                following = journey.after(seat, attempt, error)
            seat = following.seat
            if following.delay:
                pause = self._live[exchange] = Pause()
                await pause.wait(following.delay)

    def _begin(self, exchange: Exchange, ask: Ask, seat: Seat) -> Attempt:
        deadline, times = self._attempts.begin(exchange, seat), seat.target.times
        plan = self._plans.of(exchange, seat.route.name, times, asked=ask.wants_usage)
        pool = self._upstreams.pools[exchange.upstream]
        attempt = self._live[exchange] = Attempt(pool, plan, times.connect, deadline)
        return attempt

    async def _attempt(self, exchange: Exchange, ask: Ask, seat: Seat, attempt: Attempt) -> None:
        """One try at one target: ready, send, relay."""
        target = seat.target
        inject = self._attempts.asks_for_usage(exchange, ask, target)
        consumed = (request.FALLBACKS,) if exchange.mount.profile.consumes_fallbacks else ()
        segments = ask.splice(target.model, inject, consumed)
        failed: errors.RequestFailed | None = None
        ticket = seat.health.begin(time.monotonic())
        try:
            lines = self._heads.of(target.upstream, seat.credential, exchange.endpoint, exchange.client.headers)
            head = await attempt.ask(lines, segments, ask.choices)
            if head.verdict == "committed":
                self._attempts.answered(seat, ticket, attempt)
                await self._relay(exchange, attempt)
            elif head.verdict == "body":
                self._reply(exchange, head.body)
            else:
                secrets = (seat.credential.api_key.reveal(),) if seat.credential.api_key else ()
                raise failure(head, secrets)
        except errors.RequestFailed as error:
            failed = error
            raise
        except errors.FAULTS:
            self._attempts.broken(exchange, attempt)
            raise
        finally:
            attempt.close()
            if exchange.answered is None:
                exchange.answered = time.monotonic()
            self._account(exchange, attempt)
            self._attempts.ended(exchange, ask, seat, ticket, attempt, failed)

    async def _relay(self, exchange: Exchange, attempt: Attempt) -> None:
        client = exchange.client
        sink = client.open(pages.own_lines(exchange))
        exchange.status, exchange.committed, exchange.heartbeat = 200, True, 0.0
        self._metrics.stream_opened()
        try:
            outcome = await attempt.relay(client, sink)
        except TimeoutError:
            exchange.outcome = exchange.error_code = "client_stalled"
            attempt.close()
            client.abort()
            return
        finally:
            self._metrics.stream_closed()
            exchange.answered = time.monotonic()
        attempt.close()
        self._account(exchange, attempt)
        self._record(exchange)
        if outcome.end == "client_disconnected":
            client.abort()
            return
        await client.end(reusable=outcome.end == "completed")

    def _reply(self, exchange: Exchange, body: bytes) -> None:
        exchange.status = 200
        exchange.outcome = "completed"
        exchange.bytes_out = len(body)
        exchange.answered = time.monotonic()
        exchange.client.reply(200, (), body, pages.own_lines(exchange))

    # --- what the steps use ---

    def visible_models(self, authorizations: Sequence[str], api_keys: Sequence[str]) -> Sequence[str]:
        """Name the models that the presented credentials may use. Raises NotAuthenticated or BadRequest."""
        return self._routes.visible_models(self.caller(authorizations, api_keys))

    def may_use(self, authorizations: Sequence[str], api_keys: Sequence[str], model: str) -> bool:
        """Tell whether there is such a model for the presented credentials. Raises as :meth:`visible_models`."""
        caller = self.caller(authorizations, api_keys)
        return caller.may_use(model) and self._routes.route(model) is not None

    def _swept(self, now: float) -> None:
        self._heartbeats.beat(self._live, now)

    def _account(self, exchange: Exchange, attempt: Attempt) -> None:
        """Write down what an attempt came to; again after more is known, but not after the row, which has estimates."""
        if exchange.recorded:
            return
        outcome, head = attempt.outcome, attempt.head
        exchange.upstream_bytes_out = attempt.bytes_out
        if head is not None:
            exchange.upstream_status, exchange.upstream_request_id = head.status, head.request_id
            exchange.upstream_bytes_in = head.bytes_in if outcome is None else outcome.bytes_in
            exchange.usage = attempt.usage
        if outcome is not None:
            if outcome.first_content is not None:
                exchange.time_to_first_content = attempt.sent - exchange.received + outcome.first_content
            exchange.heartbeats = exchange.heartbeats_before + outcome.heartbeats
            exchange.bytes_out = exchange.bytes_before + outcome.bytes_out
            exchange.events = outcome.events
            exchange.written = outcome.written
            exchange.malformed_events = outcome.malformed
            if not exchange.outcome or outcome.end == "completed":
                exchange.outcome = outcome.end
                exchange.error_code = "" if outcome.end == "completed" else outcome.end

    def _fail(self, exchange: Exchange, error: errors.RequestFailed) -> None:
        error.status = speech.status(exchange.shape, error)
        exchange.status = exchange.status or error.status
        if not exchange.outcome:
            exchange.outcome = exchange.error_code = error.code
            if isinstance(error, errors.ClientLeft):
                opened = "before_commit" if exchange.status == 200 else "before_head"  # noqa: PLR2004  # a status
                exchange.left = "streaming" if exchange.committed else opened

    def _client_left(self, exchange: Exchange) -> None:
        """The client closed its connection; after the terminal event that is how SDKs end a stream."""
        if exchange.outcome in ("", "client_disconnected"):
            exchange.outcome = ""
            self._fail(exchange, errors.ClientLeft())

    async def _tell(self, exchange: Exchange, error: errors.RequestFailed) -> None:
        """Answer with an error; where the message is open, it ends with the error inside."""
        if exchange.status != 200:  # noqa: PLR2004  # a status
            self._reply_error(exchange, error)
            return
        if not exchange.committed:  # else the core has told it
            page = exchange.mount.profile.page
            event = speech.error_event(exchange.endpoint.dialect, error.code, error.message, page)
            self._heartbeats.last_words(exchange, event)
        self._record(exchange)
        await exchange.client.end(reusable=False)

    @staticmethod
    def _reply_error(exchange: Exchange, error: errors.RequestFailed) -> None:
        if exchange.status not in (0, error.status) or exchange.bytes_out:
            return
        body = speech.error_body(exchange.shape, error, exchange.id, exchange)
        exchange.bytes_out = len(body)
        headers = [*pages.rate_headers(exchange, time.monotonic()), *error.headers.items()]
        if exchange.attempts_made:
            headers.append(("x-sluicegate-attempts", str(exchange.attempts_made)))
        exchange.client.reply(error.status, headers, body)

    def _record(self, exchange: Exchange) -> None:
        """Leave the row, once; what was used of limits is settled with it."""
        if exchange.recorded:
            return
        exchange.recorded = True
        self._prices.settle(exchange)
        line, record = self._rows.ended(exchange, time.monotonic())
        if self._ledger is not None and record is not None:
            self._ledger.finish(record)
        self._log.record(line)

    # --- the end ---

    def begin_drain(self) -> None:
        """Refuse new exchanges from now on."""
        self._draining = True

    async def drained(self, timeout: float | None) -> bool:  # noqa: ASYNC109  # a wait that ends, not one that fails
        """Wait until no exchange runs; False if some still do after ``timeout`` seconds, if that is not None."""
        idle = self._idle = self._idle or asyncio.Event()
        try:
            async with asyncio.timeout(timeout):
                while self._live:
                    idle.clear()
                    await idle.wait()
        except TimeoutError:
            return False
        return True

    def end_streams(self) -> None:
        """Make running exchanges end with ``gateway_draining``."""
        for attempt in list(self._live.values()):
            if attempt is not None:
                attempt.end("gateway_draining")

    async def close(self) -> None:
        """Close the upstreams' connections. May be called again."""
        watched, self._watched = self._watched, ()
        for unwatch in watched:
            unwatch()
        await self._upstreams.close()
