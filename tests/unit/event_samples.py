"""Hand-made events of armed chains."""

from __future__ import annotations

from typing import Any

from forcedmove_server.engine.clusters.events import ArmEvent, ClusterFacts, EventKind, Outcome
from forcedmove_server.engine.frames import ChainInfo, LevelInfo

START_NS = 1_700_000_000_000_000_000
CHAIN = ChainInfo(
    side="long",
    start_price_usd=98_800.0,
    shock_price_usd=96_800.0,
    levels=(
        LevelInfo(96_800.0, 18e6, ("binance", "bybit"), 18e6, 96_200.0),
        LevelInfo(96_200.0, 31e6, ("hyperliquid", "okx"), 49e6, 95_600.0),
        LevelInfo(95_600.0, 14e6, ("okx",), 63e6, 95_600.0),
    ),
    total_usd=63e6,
    terminal_price_usd=95_600.0,
    amplification=1.6,
    beyond_window=False,
)
OUTCOME = Outcome(
    cascade=True,
    began_ns=START_NS + 60 * 10**9,
    ended_ns=START_NS + 130 * 10**9,
    floor_usd=95_400.0,
    floor_ns=START_NS + 70 * 10**9,
    liquidated_usd=20e6,
    released_usd=58e6,
    total_usd=60e6,
    levels=4,
    lead_time_s=60.0,
)


def event(seq: int, epoch: int = 1, kind: EventKind = EventKind.ARMED, symbol: str = "BTC", **other: Any) -> ArmEvent:
    """Return event ``seq``; it looks like the first of a chain that a fall to 96 850 would trigger."""
    given: dict[str, Any] = {
        "arm": seq,
        "cluster": 17,
        "side": "long",
        "time_ns": START_NS + seq * 10**9,
        "tick": 4 * seq,
        "mark_usd": 98_800.0,
        "price_low_usd": 96_800.0,
        "price_high_usd": 96_850.0,
        "distance_fraction": 96_850 / 98_800 - 1,
        "notional_usd": 18e6,
        "facts": ClusterFacts((("binance", 10e6), ("bybit", 8e6)), ((25.0, 12e6), (50.0, 6e6)), 5_400.0),
        "chain": CHAIN,
        "volatility_day": 0.03,
        "touch": ((300.0, 0.0), (3_600.0, 0.001), (86_400.0, 0.51)),
        "reason": "conditions met",
        "total_p95_usd": 110e6,
    }
    return ArmEvent(epoch=epoch, seq=seq, kind=kind, symbol=symbol, **(given | other))
