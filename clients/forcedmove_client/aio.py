"""The asynchronous client."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from weakref import WeakSet

import grpc

from forcedmove.v1 import (
    cascade_pb2_grpc,
    heatmap_pb2,
    heatmap_pb2_grpc,
    margin_pb2_grpc,
    positions_pb2,
    positions_pb2_grpc,
    scorecard_pb2_grpc,
)
from forcedmove_client.access import Access, Tls
from forcedmove_client.assembly import OutOfStepError, SymbolState
from forcedmove_client.checking import StreamChecker
from forcedmove_client.decoding import chain_of, symbol_of, venue_of
from forcedmove_client.errors import ServerError, translated
from forcedmove_client.event_calls import EventCalls
from forcedmove_client.events import EventStream
from forcedmove_client.forecasts import Forecast, Levels, forecast_of, forecast_request
from forcedmove_client.frames import AxisName, Chain, MapFrame, SideName, SymbolInfo, VenueInfo, WeightingName
from forcedmove_client.ingest import IngestStream
from forcedmove_client.ingest_calls import IngestCalls
from forcedmove_client.margin import ContractName, Liquidation, OtherPosition, liquidation_of, liquidation_request
from forcedmove_client.positions import (
    HeldPositions,
    Position,
    PositionKey,
    PositionsAnswer,
    answer_of,
    clear_request,
    held_of,
    set_requests,
)
from forcedmove_client.requests import Names, names_of, simulate_request, subscription_message, view_message
from forcedmove_client.resuming import Patience
from forcedmove_client.scenarios import ScenarioCalls
from forcedmove_client.scorecard import Scorecard, scorecard_of, scorecard_request
from forcedmove_client.server_status import StatusCalls
from forcedmove_client.subscription import DeliveryName, Subscription

if TYPE_CHECKING:
    from google.protobuf.message import Message

    Request = TypeVar("Request", bound=Message)
    Response = TypeVar("Response", bound=Message)

DEFAULT_TARGET = "127.0.0.1:7878"

_OPTIONS = (
    # answers end at 4 MiB, responses of a stream at 1 MiB: frames that are longer, up to 32 MiB, come in fragments
    ("grpc.max_receive_message_length", 8 << 20),
    # reconnecting is paced by the subscription; the channel should not add minutes of its own
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # a window that grows by itself takes in megabytes for a reader that has stopped, and makes one that is slow read
    # what is long past
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 128 << 10),
)


class AsyncClient(EventCalls, IngestCalls, ScenarioCalls, StatusCalls):
    """A client of one server, for asyncio. Use as ``async with AsyncClient() as client``.

    ``timeout_s`` bounds every single call. Streams reconnect by themselves until a connection has been lost for
    ``reconnect_timeout_s`` (None: never give up), and count it as lost when nothing at all, not even a heartbeat, came
    for ``silence_timeout_s``.

    ``tls`` True or a Tls encrypts; ``token`` or ``token_file`` say who asks. What is None comes from FORCEDMOVE_TLS_CA,
    _TLS_CERT, _TLS_KEY, _TOKEN and _TOKEN_FILE. Calls raise InvalidArgumentError where these cannot be used.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout_s: float = 10.0,
        reconnect_timeout_s: float | None = 60.0,
        silence_timeout_s: float = 30.0,
        tls: Tls | bool | None = None,
        token: str | None = None,
        token_file: str | Path | None = None,
    ) -> None:
        self.target = target
        self._access = Access.of(tls, token, token_file)
        self._timeout_s = timeout_s
        self._patience = Patience(reconnect_timeout_s, silence_timeout_s)
        self._open_channel: grpc.aio.Channel | None = None
        self._subscriptions: WeakSet[Subscription | EventStream | IngestStream] = WeakSet()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End all streams and the connection."""
        for subscription in list(self._subscriptions):
            await subscription.aclose()
        if self._open_channel is not None:
            await self._open_channel.close()
            self._open_channel = None

    def subscribe(
        self,
        symbols: Names = (),
        *,
        venues: Names = (),
        sides: SideName | Iterable[SideName] = (),
        leverage: tuple[float, float] = (0, 0),
        keep: AxisName | Iterable[AxisName] = ("side", "price"),
        weighting: WeightingName = "live",
        price_range: float = 0.2,
        max_rate_hz: float = 0,
        delivery: DeliveryName = "latest",
        max_unacked: int | None = None,
        quantum_usd: float = 0,
        compress: bool = False,
        snapshots_only: bool = False,
        checker: StreamChecker | None = None,
    ) -> Subscription:
        """Stream the maps of ``symbols`` (none: all, also later ones): ``async for frame in client.subscribe("BTC")``.

        ``leverage`` is (min, max), 0 for no limit; axes that are not in ``keep`` are summed over; ``price_range`` is a
        fraction of the mark, 0 for the whole window; ``max_rate_hz`` 0 is every tick. ``delivery`` "latest" skips
        frames for a consumer that is slow, and says so; "every" skips none. At most ``max_unacked`` responses are on
        their way that were not consumed; None: 24 with "every", with "latest" what the consumer takes in about a
        second, from 1 to 24; 0: as many as the buffers on the way hold, which is 128 KiB and one. Cells are rounded to
        multiples of ``quantum_usd`` (0: not at all), responses compressed with ``compress``;
        ``snapshots_only`` does without deltas. A ``checker`` holds the stream against what the server promises.
        Raises InvalidArgumentError; iterating raises InvalidArgumentError, UnknownNameError, LimitExceededError,
        ServerError, with "every" HistoryGoneError and, after ``reconnect_timeout_s``, UnavailableError. A server that
        has no room just now is asked again for as long, before LimitExceededError is raised.
        """
        subscription = Subscription(
            lambda: self._heatmap.Subscribe(),
            subscription_message,
            {
                "symbols": symbols,
                "venues": venues,
                "sides": sides,
                "leverage": leverage,
                "keep": keep,
                "weighting": weighting,
                "price_range": price_range,
                "max_rate_hz": max_rate_hz,
                "delivery": delivery,
                "max_unacked": max_unacked,
                "quantum_usd": quantum_usd,
                "compress": compress,
                "snapshots_only": snapshots_only,
            },
            self.target,
            self._patience,
            checker,
        )
        self._subscriptions.add(subscription)
        return subscription

    async def snapshot(
        self,
        symbols: Names = (),
        *,
        venues: Names = (),
        sides: SideName | Iterable[SideName] = (),
        leverage: tuple[float, float] = (0, 0),
        keep: AxisName | Iterable[AxisName] = ("side", "price"),
        weighting: WeightingName = "live",
        price_range: float = 0.2,
        band_level: float = 0,
    ) -> dict[str, MapFrame]:
        """Return the newest maps by symbol; arguments as in ``subscribe``. With a ``band_level``, for example 0.9, each
        has the credible ``band`` of every cell; not for the weighting ``fresh``.

        Raises InvalidArgumentError, UnknownNameError, LimitExceededError, UnavailableError or ServerError.
        """
        request = heatmap_pb2.GetSnapshotRequest(
            symbols=names_of(symbols),
            view=view_message(
                venues=venues, sides=sides, leverage=leverage, keep=keep, weighting=weighting, price_range=price_range
            ),
            band_level=band_level,
        )
        response = await self._ask(self._heatmap.GetSnapshot, request)
        try:
            return {frame.symbol: SymbolState().apply(frame) for frame in response.frames}
        except OutOfStepError as error:
            raise ServerError(f"{self.target}: {error}") from None

    async def symbols(self) -> list[SymbolInfo]:
        """Return the symbols that have a map. Raises UnavailableError."""
        response = await self._ask(self._heatmap.ListSymbols, heatmap_pb2.ListSymbolsRequest())
        return list(map(symbol_of, response.symbols))

    async def venues(self) -> list[VenueInfo]:
        """Return the venues with their markets. Raises UnavailableError."""
        response = await self._ask(self._heatmap.ListVenues, heatmap_pb2.ListVenuesRequest())
        return list(map(venue_of, response.venues))

    async def simulate(self, symbol: str, *, price: float | None = None, move: float | None = None) -> Chain:
        """Return what a shock to ``price`` in USD, or by ``move`` (-0.02 is two per cent down), would set off.

        Raises InvalidArgumentError, UnknownNameError or UnavailableError.
        """
        response = await self._ask(self._cascade.Simulate, simulate_request(symbol, price, move))
        return chain_of(response.chain)

    async def forecast(
        self,
        symbol: str,
        *,
        price: float | None = None,
        move: float | None = None,
        paths: int = 2_000,
        seed: int = 0,
        coupling_s: float | None = None,
        curve_points: int = 0,
        bids: Levels = (),
        asks: Levels = (),
        duration_s: float = 0.0,
    ) -> Forecast:
        """Return what a shock would set off and how sure that is: quantiles of so many random ``paths``.

        With ``coupling_s`` also venue by venue, with ``curve_points`` also other shocks of that side. ``bids`` and
        ``asks``, pairs of a price in USD and base units, take the place of the visible book. ``duration_s`` is how long
        the shock takes to play out (0: it comes at once): books refill meanwhile, and where it ends is uncertain.
        Raises InvalidArgumentError, UnknownNameError or UnavailableError.
        """
        request = forecast_request(
            symbol,
            price,
            move,
            paths=paths,
            seed=seed,
            coupling_s=coupling_s,
            curve_points=curve_points,
            bids=bids,
            asks=asks,
            duration_s=duration_s,
        )
        return forecast_of(await self._ask(self._cascade.Simulate, request))

    async def liquidation_price(
        self,
        *,
        side: SideName,
        entry_price: float,
        venue: str = "",
        symbol: str = "",
        quantity: float | None = None,
        contract: ContractName | None = None,
        contract_size: float | None = None,
        leverage: float | None = None,
        margin: float | None = None,
        balance: float | None = None,
        others: Iterable[OtherPosition] = (),
        extra_margin: float = 0.0,
        maintenance_rate: float | None = None,
        maintenance_amount: float | None = None,
        fee_rate: float | None = None,
        formula: str = "",
        max_leverage: float | None = None,
    ) -> Liquidation:
        """Return where one position is liquidated by its venue's rule: isolated with ``leverage`` or ``margin``, cross
        with ``balance`` and the account's ``others``.

        ``quantity`` counts contracts of ``contract_size`` (default 1) base units, on inverse contracts USD; without it
        a position of typical size is meant. Margins and amounts are USD on linear contracts, coin on inverse ones.
        Beside a margin or a balance ``leverage`` is the setting. Rate, amount, fee, formula and greatest leverage
        replace the venue's. Raises InvalidArgumentError, UnknownNameError or UnavailableError.
        """
        request = liquidation_request(
            venue=venue,
            symbol=symbol,
            side=side,
            entry_price=entry_price,
            quantity=quantity,
            contract=contract,
            contract_size=contract_size,
            leverage=leverage,
            margin=margin,
            balance=balance,
            others=others,
            extra_margin=extra_margin,
            maintenance_rate=maintenance_rate,
            maintenance_amount=maintenance_amount,
            fee_rate=fee_rate,
            formula=formula,
            max_leverage=max_leverage,
        )
        return liquidation_of(await self._ask(self._margin.GetLiquidationPrice, request))

    async def scorecard(
        self, *, venue: str = "", symbol: str = "", side: SideName | None = None, rows: bool = False
    ) -> Scorecard:
        """Return how true the maps of one part of the markets have been: of one venue, symbol, side, or of all.

        ``rows`` also lists every venue, symbol, side, horizon and map of that part. Intervals are drawn when they are
        asked for: after months on many markets that takes seconds. Raises InvalidArgumentError, UnknownNameError,
        LimitExceededError for more rows than one answer holds, or UnavailableError, also where the server keeps none.
        """
        request = scorecard_request(venue, symbol, side, rows)
        return scorecard_of(await self._ask(self._scorecard.GetScorecard, request))

    async def set_positions(
        self,
        positions: Iterable[Position],
        *,
        producer: str,
        replace: bool = True,
        removed: Iterable[PositionKey] = (),
        representative: bool = False,
        sequence: int | None = None,
    ) -> PositionsAnswer:
        """Tell positions whose liquidation price is known, and return when the server's map has them.

        With ``replace`` those of ``producer`` that are not among them are gone, otherwise only those in ``removed``.
        They stand for an hour (``exact.max_age_s``) unless the producer is heard of again, for which an empty change
        without ``replace`` will do. ``representative``: they tell what leverage others use, which a client's own do
        not. Of a producer only rising ``sequence`` numbers count; None takes the time, so that of two changes the later
        one stands. More than 1000 positions are several requests, each of which is applied as a whole or not at all.
        Raises InvalidArgumentError naming the field, UnknownNameError for a market that the server does not have,
        LimitExceededError or UnavailableError.
        """
        answer = PositionsAnswer(False, 0, 0, 0, 0.0)
        for request in set_requests(producer, positions, removed, replace, representative, sequence):
            answer = answer_of(await self._ask(self._positions.SetPositions, request))
        return answer

    async def positions(self, producer: str) -> HeldPositions:
        """Return what one producer told and that still stands. Raises InvalidArgumentError or UnavailableError."""
        request = positions_pb2.ListPositionsRequest(producer=producer)
        return held_of(await self._ask(self._positions.ListPositions, request))

    async def clear_positions(self, producer: str, *, sequence: int | None = None) -> PositionsAnswer:
        """Take all positions of a producer back. Raises InvalidArgumentError or UnavailableError."""
        response = await self._ask(self._positions.ClearPositions, clear_request(producer, sequence))
        return PositionsAnswer(response.applied, response.sequence, 0, 0, 0.0)

    async def _ask(
        self, method: Callable[..., grpc.aio.UnaryUnaryCall[Request, Response]], request: Request
    ) -> Response:
        try:
            return await method(request, timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            raise translated(error, self.target) from None

    @property
    def _channel(self) -> grpc.aio.Channel:
        """The connection; made on first use, because it belongs to the loop that is running then."""
        if self._open_channel is None:
            self._open_channel = self._access.channel(self.target, _OPTIONS)
        return self._open_channel

    @property
    def _heatmap(self) -> Any:
        return heatmap_pb2_grpc.HeatmapServiceStub(self._channel)

    @property
    def _cascade(self) -> Any:
        return cascade_pb2_grpc.CascadeServiceStub(self._channel)

    @property
    def _margin(self) -> Any:
        return margin_pb2_grpc.MarginServiceStub(self._channel)

    @property
    def _scorecard(self) -> Any:
        return scorecard_pb2_grpc.ScorecardServiceStub(self._channel)

    @property
    def _positions(self) -> Any:
        return positions_pb2_grpc.PositionsServiceStub(self._channel)
