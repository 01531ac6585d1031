"""Requests of every method that are answered: what hostile ones are made from. They fit the engine of the tests."""

from __future__ import annotations

from google.protobuf.message import Message

from forcedmove.v1 import (
    cascade_pb2,
    events_pb2,
    heatmap_pb2,
    ingest_pb2,
    margin_pb2,
    model_pb2,
    positions_pb2,
    scan_pb2,
    scorecard_pb2,
    server_status_pb2,
    whatif_pb2,
)

_VIEW = model_pb2.MapView(
    venues=["binance"], sides=[1], leverage_min=2, leverage_max=50, keep_axes=[1, 2, 3, 4], weighting=1
)
_LEVELS = [cascade_pb2.OrderBookLevel(price_usd=97_000 - 10 * k, quantity=5) for k in range(3)]
_ASKS = [cascade_pb2.OrderBookLevel(price_usd=98_000 + 10 * k, quantity=5) for k in range(3)]
_BOOK = cascade_pb2.OrderBook(bids=_LEVELS, asks=_ASKS)
_OTHER = margin_pb2.OtherPosition(
    quantity=1, entry_price_usd=3_000, mark_price_usd=3_400, maintenance_rate=0.005, contract_type=1
)
_LONG = margin_pb2.GetLiquidationPriceRequest(
    venue="binance", symbol="BTC", contract_type=1, side=1, entry_price_usd=97_500, quantity=1, leverage=25
)
_CROSS = margin_pb2.GetLiquidationPriceRequest(
    venue="binance",
    symbol="BTC",
    side=2,
    entry_price_usd=97_500,
    quantity=0.5,
    account=margin_pb2.CrossAccount(balance=5_000, positions=[_OTHER]),
)
_ISOLATED = margin_pb2.GetLiquidationPriceRequest(
    venue="hyperliquid", symbol="BTC", side=1, entry_price_usd=97_500, quantity=2, leverage=20, extra_margin=100
)
_KEY = positions_pb2.PositionKey(account="a", venue="binance", symbol="BTCUSDT", side=1)
_POSITION = positions_pb2.Position(key=_KEY, quantity=3, liquidation_price_usd=90_000, entry_price_usd=97_000)
_SHORT = positions_pb2.Position(
    key=positions_pb2.PositionKey(venue="hyperliquid", symbol="BTC", side=2), notional_usd=1e6, leverage=10
)
_DELTA = ingest_pb2.PositionDelta(
    venue="binance", symbol="BTCUSDT", side=1, quantity=0.5, entry_price_usd=97_000, leverage=10
)

GOOD: dict[str, tuple[Message, ...]] = {
    "Subscribe": (
        heatmap_pb2.SubscribeRequest(subscription=heatmap_pb2.Subscription(symbols=["BTC"])),
        heatmap_pb2.SubscribeRequest(ping=heatmap_pb2.Ping(nonce=5)),
        heatmap_pb2.SubscribeRequest(ack=heatmap_pb2.Ack(number=0)),
        heatmap_pb2.SubscribeRequest(
            request_id=3,
            subscription=heatmap_pb2.Subscription(
                view=_VIEW, max_rate_hz=50, resume_epoch=1, resume_seq={"BTC": 1, "ETH": 2}
            ),
        ),
    ),
    "Watch": (
        heatmap_pb2.WatchRequest(subscription=heatmap_pb2.Subscription(symbols=["BTC"], delivery=2)),
        heatmap_pb2.WatchRequest(
            subscription=heatmap_pb2.Subscription(
                encoding=heatmap_pb2.Encoding(snapshots_only=True, quantum_usd=100, compression=2)
            )
        ),
    ),
    "Ingest": (
        ingest_pb2.IngestRequest(producer="stream", open=ingest_pb2.IngestOpen(session=7)),
        ingest_pb2.IngestRequest(
            producer="stream", sequence=1, deltas=ingest_pb2.PositionDeltas(deltas=[_DELTA], representative=True)
        ),
        ingest_pb2.IngestRequest(producer="stream", sequence=2, positions=ingest_pb2.PositionSet(positions=[_SHORT])),
    ),
    "GetSnapshot": (
        heatmap_pb2.GetSnapshotRequest(symbols=["BTC", "ETH"]),
        heatmap_pb2.GetSnapshotRequest(symbols=["BTC"], view=_VIEW),
        heatmap_pb2.GetSnapshotRequest(symbols=["BTC"], band_level=0.9),
    ),
    "ListSymbols": (heatmap_pb2.ListSymbolsRequest(),),
    "ListVenues": (heatmap_pb2.ListVenuesRequest(),),
    "WatchEvents": (events_pb2.WatchEventsRequest(symbols=["BTC"], types=[1, 2]), events_pb2.WatchEventsRequest()),
    "ListEvents": (events_pb2.ListEventsRequest(limit=10, symbols=["BTC"], types=[1]), events_pb2.ListEventsRequest()),
    "GetScorecard": (scorecard_pb2.GetScorecardRequest(venue="binance", symbol="BTC", side=1, rows=True),),
    "GetLiquidationPrice": (_LONG, _CROSS, _ISOLATED),
    "Simulate": (
        cascade_pb2.SimulateRequest(symbol="BTC", move_fraction=-0.05),
        cascade_pb2.SimulateRequest(symbol="BTC", price_usd=99_000, paths=50, seed=3, curve_points=8, book=_BOOK),
        cascade_pb2.SimulateRequest(symbol="BTC", move_fraction=0.02, coupling_s=1),
        cascade_pb2.SimulateRequest(symbol="BTC", move_fraction=-0.02, duration_s=60),
    ),
    "Scan": (
        scan_pb2.ScanRequest(shock_fractions=[-0.02, 0.02], paths=10, sort=1, top=5),
        scan_pb2.ScanRequest(
            symbols=["BTC"], shock_fractions=[-0.1], venues=["binance"], min_notional_usd=1, max_distance_fraction=0.5,
            horizon_s=3_600,
        ),
    ),
    "WhatIf": (
        whatif_pb2.WhatIfRequest(
            position=_LONG, horizons_s=[3_600], leverages=[5, 10], added_margins=[100], move_fraction=-0.03
        ),
        whatif_pb2.WhatIfRequest(position=_CROSS, price_usd=96_000, book=_BOOK),
        whatif_pb2.WhatIfRequest(position=_ISOLATED),
    ),
    "SetPositions": (
        positions_pb2.SetPositionsRequest(producer="fuzz", sequence=1, positions=[_POSITION, _SHORT]),
        positions_pb2.SetPositionsRequest(producer="other", sequence=9, positions=[_SHORT], removed=[_KEY]),
        positions_pb2.SetPositionsRequest(producer="all", sequence=1, positions=[_POSITION], replace=True),
    ),
    "ListPositions": (positions_pb2.ListPositionsRequest(producer="fuzz"),),
    "ClearPositions": (positions_pb2.ClearPositionsRequest(producer="fuzz", sequence=5),),
    "GetServerStatus": (server_status_pb2.GetServerStatusRequest(),),
}  # fmt: skip
