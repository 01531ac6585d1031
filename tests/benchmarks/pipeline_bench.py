"""Recorded markets through the whole pipeline: trades per second and where the time goes.

Uses the recorded Hyperliquid episode where it lies beside the checkout, otherwise a recording of the simulated market.
The baseline does what the trade path does (one volume histogram per market and price bucket) with a Python object per
trade, and nothing else of the pipeline.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from forcedmove_server.config import Config, ReplaySourceConfig
from forcedmove_server.engine.offline import OfflineRun
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.sources.make import bounded_simulation, make_source
from forcedmove_server.sources.record import Recorder

RECORDED = Path(__file__).parents[3] / "shared" / "data"
_BASELINE_TRADES = 200_000


class _Trade(NamedTuple):
    time_ns: int
    market: int
    price: float
    quantity: float


def _replay(path: Path) -> OfflineRun:
    return OfflineRun(make_source(ReplaySourceConfig(name="bench", kind="replay", path=str(path))).source, Config())


def _object_per_trade(path: Path) -> float:
    """Trades per second of the trade path alone, one object at a time."""
    registry = InstrumentRegistry()
    source = make_source(ReplaySourceConfig(name="bench", kind="replay", path=str(path))).source
    seconds, done = 0.0, 0
    volume: dict[tuple[int, int], float] = defaultdict(float)
    for batch in source.batches(registry):
        rows = batch.trades
        begin = time.perf_counter()
        for row in rows:
            trade = _Trade(int(row["time_ns"]), int(row["market"]), float(row["price"]), float(row["quantity"]))
            volume[trade.market, int(trade.price * 2000 / 100_000)] += trade.quantity
        seconds += time.perf_counter() - begin
        done += len(rows)
        if done >= _BASELINE_TRADES:
            break
    assert volume
    return done / seconds


def _run(results: list[dict[str, Any]], name: str, path: Path, per: str) -> None:
    for _ in _replay(path):  # compiles the kernels
        break
    run = _replay(path)
    run.finish()
    summary = run.summary()
    markets = summary["markets"].values()
    assert all(m["live_lots"]["long"] == m["live_lots"]["short"] == m["open_interest_lots"] for m in markets)
    seconds, events = summary["wall_seconds"], summary["events"][per]
    params: dict[str, Any] = {per: events, "markets": len(summary["markets"])}
    baseline, ratio = None, None
    if per == "trades":
        slow = _object_per_trade(path)
        baseline, ratio = "an object per trade, trade path alone", events / seconds / slow
    speed = events / seconds
    results.append(
        {"name": name, "params": params, "median": speed, "unit": f"{per}/s", "baseline": baseline, "ratio": ratio}
    )
    for stage, spent in summary["stage_seconds"].items():
        results.append(
            {
                "name": f"{name}: share of {stage}",
                "params": params,
                "median": 100 * spent / seconds,
                "unit": "%",
                "baseline": None,
                "ratio": None,
            }
        )


def run(results: list[dict[str, Any]]) -> None:
    """Append the rows of this benchmark."""
    if RECORDED.is_dir():
        _run(results, "replay, recorded tape", RECORDED / "hl_2026-06", "trades")
        _run(results, "replay, recorded OI bars", RECORDED / "binance_oi_funding", "open_interest")
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "simulated"
        registry = InstrumentRegistry()
        with Recorder(path, registry) as recorder:
            for batch in bounded_simulation(7, (), 3.0).batches(registry):
                recorder.write(batch)
        _run(results, "replay, simulated tape", path, "trades")


if __name__ == "__main__":
    from tests.benchmarks.__main__ import table

    rows: list[dict[str, Any]] = []
    run(rows)
    print(table(rows))
