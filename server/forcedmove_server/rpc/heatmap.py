"""HeatmapService: maps on demand, symbols and venues; the streams of maps are next door."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import grpc

from forcedmove.v1 import heatmap_pb2
from forcedmove_server.engine.frames import CredibleBand, RenderedView, SymbolMap, ViewSpec
from forcedmove_server.engine.service import EngineService
from forcedmove_server.errors import LimitError, NotReadyError, UnknownNameError
from forcedmove_server.market.feeds import FeedStatus
from forcedmove_server.rpc.encoding import EncodedFrame, SymbolPart
from forcedmove_server.rpc.hub import Hub
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.messages import symbol_message, venue_messages
from forcedmove_server.rpc.requests import band_level_of, spec_of, symbols_of
from forcedmove_server.rpc.status import guarded
from forcedmove_server.rpc.streams import StreamHandlers

logger = logging.getLogger(__name__)

Feeds = Callable[[], Sequence[FeedStatus]]

SERVICE = heatmap_pb2.DESCRIPTOR.services_by_name["HeatmapService"].full_name

if TYPE_CHECKING:  # the stubs are generic, the classes are not
    from grpc.aio import ServicerContext

    SnapshotContext = ServicerContext[heatmap_pb2.GetSnapshotRequest, bytes]
    SymbolsContext = ServicerContext[heatmap_pb2.ListSymbolsRequest, heatmap_pb2.ListSymbolsResponse]
    VenuesContext = ServicerContext[heatmap_pb2.ListVenuesRequest, heatmap_pb2.ListVenuesResponse]


class HeatmapHandlers:
    """Handlers of one server. Maps leave as bytes that are serialised already, so their serializer is the identity."""

    def __init__(self, engine: EngineService, hub: Hub, limits: Limits, feeds: Feeds = tuple) -> None:
        """``feeds`` tells how live feeds are doing."""
        self._engine, self._hub, self._limits, self._feeds = engine, hub, limits, feeds
        self._streams = StreamHandlers(engine, hub, limits)
        #: what a band is made of takes ten megabytes, and readers share the cores with the engine
        self._one_band = asyncio.Lock()

    def handler(self) -> grpc.GenericRpcHandler:
        """What a gRPC server registers."""
        unary = grpc.unary_unary_rpc_method_handler
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Subscribe": grpc.stream_stream_rpc_method_handler(
                    self._streams.subscribe, heatmap_pb2.SubscribeRequest.FromString
                ),
                "Watch": grpc.unary_stream_rpc_method_handler(self._streams.watch, heatmap_pb2.WatchRequest.FromString),
                "GetSnapshot": unary(self.get_snapshot, heatmap_pb2.GetSnapshotRequest.FromString),
                "ListSymbols": unary(
                    self.list_symbols,
                    heatmap_pb2.ListSymbolsRequest.FromString,
                    heatmap_pb2.ListSymbolsResponse.SerializeToString,
                ),
                "ListVenues": unary(
                    self.list_venues,
                    heatmap_pb2.ListVenuesRequest.FromString,
                    heatmap_pb2.ListVenuesResponse.SerializeToString,
                ),
            },
        )

    @guarded
    async def get_snapshot(self, request: heatmap_pb2.GetSnapshotRequest, context: SnapshotContext) -> bytes:
        """Render the newest maps. They come in one message, so together they are bound like a single frame."""
        tick = self._engine.latest()
        named = symbols_of(request.symbols, self._engine.registry, self._limits)
        spec = spec_of(request.view, self._engine.registry)
        level = band_level_of(request, spec)
        chunks: list[bytes] = []
        missing: UnknownNameError | None = None
        for symbol in named or tick.maps:  # one after the other: never more than one answer's worth in memory
            try:
                symbol_map, view, band = await self._rendered(symbol, spec, level)
            except UnknownNameError as error:
                if named:
                    raise
                missing = error  # a symbol without a market on the chosen venues is not one of "all"
                continue
            chunks.append(await self._hub.off_loop(self._snapshot, symbol_map, spec, view, band))
            if sum(map(len, chunks)) > self._limits.max_answer_bytes:
                raise LimitError(
                    f"{len(chunks)} of {len(named or tick.maps)} maps are more than the "
                    f"{self._limits.max_answer_bytes} bytes one answer holds: ask for fewer symbols at once, or for a "
                    "narrower view"
                )
        if missing is not None and not chunks:
            raise missing
        return b"".join(chunks)

    async def _rendered(
        self, symbol: str, spec: ViewSpec, level: float | None
    ) -> tuple[SymbolMap, RenderedView, CredibleBand | None]:
        """Render one map, and its band where a level is given. Raises LimitError before anything large is computed."""
        if level is None:
            symbol_map, view = await asyncio.wrap_future(self._engine.render(symbol, spec))
            self._limits.check_answer(symbol, spec, view)
            return symbol_map, view, None
        async with self._one_band:
            symbol_map, uncertain = await asyncio.wrap_future(self._engine.uncertainty(symbol, spec))
            self._limits.check_answer(symbol, spec, uncertain.view, tensors=3)
            return symbol_map, uncertain.view, await asyncio.to_thread(uncertain.band, level)

    def _snapshot(self, symbol_map: SymbolMap, spec: ViewSpec, view: RenderedView, band: CredibleBand | None) -> bytes:
        counts = self._hub.counts
        part = SymbolPart(symbol_map, self._engine.epoch, self._engine.latest().published_ns, counts)
        return EncodedFrame(part, spec, view, None, counts, band).encode_snapshot()

    @guarded
    async def list_symbols(
        self, request: heatmap_pb2.ListSymbolsRequest, context: SymbolsContext
    ) -> heatmap_pb2.ListSymbolsResponse:
        """List the symbols that have a map."""
        return heatmap_pb2.ListSymbolsResponse(symbols=map(symbol_message, self._engine.latest().maps.values()))

    @guarded
    async def list_venues(
        self, request: heatmap_pb2.ListVenuesRequest, context: VenuesContext
    ) -> heatmap_pb2.ListVenuesResponse:
        """List the venues with their markets, liquidation formulas and feeds; feeds are there before the first map."""
        feeds = self._feeds()
        try:
            tick = self._engine.latest()
        except NotReadyError:
            if not feeds:
                raise
            tick = None
        return heatmap_pb2.ListVenuesResponse(venues=venue_messages(tick, feeds))
