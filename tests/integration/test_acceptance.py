"""The acceptance scenario, exactly, through Simulate: positions told and books fed to a running server."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from examples import armed_cascade as script
from forcedmove_client import AsyncClient, Position, PositionKey
from forcedmove_server.config import ModelConfig

MARKETS = {
    "binance": "BTCUSD_PERP",
    "bybit": "BTCUSD",
    "hyperliquid": "BTC",
    "okx": "BTC-USD-SWAP",
    "bitget": "BTCUSD",
    "gate": "BTC_USD",
}
LEVELS = {
    ("binance", "bybit"): (96_800, 18e6),
    ("hyperliquid", "okx"): (96_200, 31e6),
    ("bitget", "gate"): (95_600, 14e6),
}
BOOK = {96_800: 3e6, 96_500: 7e6, 96_200: 15.5e6, 95_900: 18e6, 95_600: 45e6}


async def test_a_700_dollar_dip_becomes_1900() -> None:
    """$18M at 96 800, $31M at 96 200, $14M at 95 600, two exchanges each; the mark at 97 500."""
    config = replace(script.CONFIG, model=ModelConfig(depth_withdrawal_fraction=10.0))
    each = {venue: (price, usd / 2) for venues, (price, usd) in LEVELS.items() for venue in venues}
    interest = [each[venue][1] for venue in MARKETS]
    told = [
        Position(PositionKey(venue, name, "long"), quantity=each[venue][1], liquidation_price=each[venue][0])
        for venue, name in MARKETS.items()
    ]
    async with (
        script.running(config, script.registry(MARKETS)) as (_, ticks, server),
        AsyncClient(f"127.0.0.1:{server.port}") as client,
    ):
        await ticks.play(script.batch(script.BEGIN, 97_500.0, interest, BOOK))
        await client.set_positions(told, producer="acceptance")
        await ticks.play(script.batch(script.BEGIN + timedelta(seconds=1), 97_500.0, interest))
        chain = await client.simulate("BTC", price=96_800.0)
    assert chain.start_price == 97_500.0
    assert [level.trigger_price for level in chain.levels] == [96_800.0, 96_200.0, 95_600.0]
    assert [level.notional_usd for level in chain.levels] == [18e6, 31e6, 14e6]
    assert [level.cumulative_usd for level in chain.levels] == [18e6, 49e6, 63e6]
    assert [set(level.venues) for level in chain.levels] == [set(venues) for venues in LEVELS]
    assert (chain.depth, chain.total_usd) == (3, 63e6)
    assert chain.terminal_price == 95_600.0
    assert chain.amplification == pytest.approx(1_900 / 700)
    assert round(chain.amplification, 2) == 2.71


async def test_clusters_keep_their_identity_from_frame_to_frame() -> None:
    """Six levels get numbers once they have stood for the dwell, and keep them while the mark moves."""
    markets, book = script.MARKETS, script.BOOK
    interest = [sum(script.LEVELS.values()) / len(markets) + script.REST] * len(markets)
    seen: list[dict[float, int]] = []
    async with (
        script.running(script.CONFIG, script.registry()) as (_, ticks, server),
        AsyncClient(f"127.0.0.1:{server.port}") as client,
    ):
        for second, mark in enumerate((98_900.0, 98_900.0, 98_900.0, 98_700.0, 98_500.0)):
            at = script.BEGIN + timedelta(seconds=10 * second)
            await ticks.play(script.batch(at, mark, interest, book))
            if second == 0:
                await client.set_positions(script.positions(script.LEVELS, markets), producer="clusters")
                continue
            frame = (await client.snapshot("BTC", price_range=0.1))["BTC"]
            seen.append({c.price_low: c.id for c in frame.clusters if c.side == "long" and c.price_low > 90_000})
    assert set(seen[0]) == set(script.LEVELS)
    later = seen[2:]
    assert later[0] == later[1]
    assert 0 not in later[0].values()
    assert len(set(later[0].values())) == 6
