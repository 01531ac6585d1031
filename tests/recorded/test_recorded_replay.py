"""The replay of recorded markets beside a development checkout: every row arrives, the known defects are found."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from forcedmove_server.market.events import Channel
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.sources.replay import ReplaySource

_RECORDED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
_SECOND_NS = 10**9

pytestmark = [
    pytest.mark.recorded,
    pytest.mark.skipif(not _RECORDED.is_dir(), reason=f"no recorded markets at {_RECORDED}"),
]


def test_main_episode_arrives_whole() -> None:
    source, registry = ReplaySource("recorded", _RECORDED / "hl_2026-06"), InstrumentRegistry()
    rows: Counter[str] = Counter()
    trades_of: Counter[str] = Counter()
    gaps, until = [], 0
    for batch in source.batches(registry):
        assert batch.until_ns > until
        for kind, events in batch.by_kind().items():
            rows[kind] += len(events)
            assert not len(events) or (events["time_ns"][0] >= until and events["time_ns"][-1] < batch.until_ns)
        for market, count in zip(*np.unique(batch.trades["market"], return_counts=True), strict=True):
            trades_of[registry[market].symbol] += int(count)
        until = batch.until_ns
        gaps.append(batch.gaps)
    assert rows["trades"] == 3_085_226
    assert rows["open_interest"] == rows["mark_prices"] == 51_394
    assert rows["depth"] == 129_393 * 40
    assert dict(trades_of) == {
        "BTC": 1_743_735,
        "ETH": 730_304,
        "SOL": 415_328,
        "DOGE": 71_396,
        "AVAX": 58_456,
        "ARB": 43_863,
        "WIF": 22_144,
    }
    assert source.progress() == 1.0
    assert {instrument.symbol: instrument.max_leverage for instrument in registry}["BTC"] == 40.0
    _check_defects(source.defects.counts)
    _check_gaps(np.concatenate(gaps), registry)


def _check_defects(counts: Counter[str]) -> None:
    """Only what the recording is known for: rows out of order where it begins, and holes."""
    assert set(counts) == {
        "trades.out_of_order",
        "open_interest.out_of_order",
        "depth.out_of_order",
        "trades.gap",
        "open_interest.gap",
        "mark_prices.gap",
        "depth.gap",
    }
    assert counts["trades.out_of_order"] < 500


def _check_gaps(gaps: np.ndarray[tuple[int], np.dtype[np.void]], registry: InstrumentRegistry) -> None:
    """The excluded day is a hole in all markets, the recorder's restart one in the trades of all of them."""
    trades = gaps[gaps["channel"] == Channel.TRADES]
    lengths = (trades["time_ns"] - trades["begin_ns"]) // _SECOND_NS
    assert sorted(set(trades["market"][lengths > 80_000])) == list(range(len(registry)))
    restart = trades[(lengths > 180) & (lengths < 310)]
    at = restart["time_ns"] // _SECOND_NS - 1_781_308_800
    assert np.all((at > 9 * 3600) & (at < 9 * 3600 + 300))
    assert sorted(set(restart["market"])) == list(range(len(registry)))
    interest = gaps[gaps["channel"] == Channel.OPEN_INTEREST]
    assert sorted(interest["market"]) == list(range(len(registry)))


def test_open_interest_bars_arrive_whole() -> None:
    source, registry = ReplaySource("bars", _RECORDED / "binance_oi_funding"), InstrumentRegistry()
    rows: Counter[str] = Counter()
    for batch in source.batches(registry):
        rows.update({kind: len(events) for kind, events in batch.by_kind().items()})
    assert rows["open_interest"] == rows["mark_prices"] == 112_889
    assert rows["gaps"] == 0
    assert dict(source.defects.counts) == {"file.ignored": 7}
    assert len(registry) == 7
