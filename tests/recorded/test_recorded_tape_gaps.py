"""A recorded tape with holes cut into it, beside the tape as it was: turnover must not change by much."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from forcedmove_kernels.backend import select_backend
from forcedmove_server.config import ModelConfig
from forcedmove_server.inference.lifecycle import PositionInference
from forcedmove_server.market.events import STREAM_GAP, EventBatch
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.sources.replay import ReplaySource

_RECORDED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "hl_2026-06"
_S = 10**9
_BEGIN, _DAYS = 1_781_395_200 * _S, 2  # 14 June; the recording's own hole lies on the day before

pytestmark = [
    pytest.mark.recorded,
    pytest.mark.skipif(not _RECORDED.is_dir(), reason=f"no recorded markets at {_RECORDED}"),
]


def with_holes(batch: EventBatch) -> EventBatch:
    """Without a fifth of the ten minutes of each market, of which nobody tells."""
    market, slot = batch.trades["market"].astype(np.int64), batch.trades["time_ns"] // (600 * _S)
    lost = (slot * 2_654_435_761 + market * 318_890_657 >> 7) % 1000 < 200
    return dataclasses.replace(batch, trades=batch.trades[~lost], gaps=np.empty(0, STREAM_GAP))


def opened(model: ModelConfig, holes: bool) -> dict[str, float]:
    """Open interest that was opened a day, by symbol, after the first observation."""
    source = ReplaySource(
        "recorded",
        _RECORDED,
        symbols=["DOGE", "ARB"],
        kinds=["trades", "mark_prices", "open_interest"],
        from_ns=_BEGIN,
        until_ns=_BEGIN + _DAYS * 86_400 * _S,
    )
    registry = InstrumentRegistry()
    inference = PositionInference(registry, model, select_backend("reference")[0], 8)
    lots, interest, seen = np.zeros(8), np.zeros(8), np.zeros(8)
    for batch in source.batches(registry):
        for update in inference.step(with_holes(batch) if holes else batch):
            made = np.add.reduceat(update.open_lots.astype(np.float64), update.first_open[:-1])
            lots[update.market] += np.where(seen[update.market] > 0, made, 0)
            seen[update.market] += 1
            interest[update.market] += update.open_interest[:, 0]
    return {one.symbol: float(lots[k] / (interest[k] / seen[k]) / _DAYS) for k, one in enumerate(registry)}


def test_holes_in_a_tape_do_not_change_what_was_turned_over() -> None:
    whole, holed = opened(ModelConfig(), False), opened(ModelConfig(), True)
    ignored = opened(ModelConfig(tape_memory_hours=0, assumed_volume_per_oi_day=0), True)
    assumed = opened(ModelConfig(tape_memory_hours=0), True)
    for symbol in ("DOGE", "ARB"):
        print(symbol, *(f"{found[symbol]:.3f}" for found in (whole, holed, ignored, assumed)))
        assert holed[symbol] == pytest.approx(whole[symbol], rel=0.2)
        assert ignored[symbol] < min(whole[symbol], holed[symbol])
        assert assumed[symbol] > 3 * whole[symbol]
