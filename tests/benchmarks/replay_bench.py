"""Speed of the replay: trades per second read, decoded and merged, against a reader that calls json.loads per line."""

from __future__ import annotations

import gzip
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.sources.replay import ReplaySource

RUNS = 3
TRADES_PER_COIN = {"BTC": 300_000, "ETH": 150_000, "WIF": 10_000}
BEGIN_MS = 1_781_308_800_000
RECORDED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "hl_2026-06" / "trades"


def write_sample(folder: Path) -> None:
    """Write a day of trades of three coins, seeded."""
    rng = np.random.default_rng(3)
    for coin, count in TRADES_PER_COIN.items():
        stamps = BEGIN_MS + np.sort(rng.integers(0, 86_400_000, count))
        prices = np.round(100 + np.cumsum(rng.normal(0, 0.01, count)), 2)
        sizes = np.round(rng.lognormal(0, 1, count) + 0.01, 2)
        sides = np.where(rng.random(count) < 0.5, "B", "A")
        columns = zip(stamps.tolist(), prices.tolist(), sizes.tolist(), sides.tolist(), strict=True)
        lines = [f'{{"ts":{ts},"px":{px},"sz":{sz},"side":"{side}"}}\n' for ts, px, sz, side in columns]
        (folder / f"trades_{coin}_20260613.jsonl.gz").write_bytes(gzip.compress("".join(lines).encode(), 6))


def replayed(folder: Path) -> tuple[int, float]:
    """Trades, and the sum of their quantities, through the replay."""
    count, quantity = 0, 0.0
    for batch in ReplaySource("bench", folder, kinds=["trades"]).batches(InstrumentRegistry()):
        count += len(batch.trades)
        quantity += float(batch.trades["quantity"].sum())
    return count, quantity


def line_by_line(folder: Path) -> tuple[int, float]:
    """The same, the straightforward way: a dictionary per line, all sorted by time."""
    rows = []
    for path in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(path, "rt") as lines:
            for line in lines:
                row = json.loads(line)
                rows.append((row["ts"] * 1_000_000, row["px"], row["sz"], 1 if row["side"] == "B" else -1))
    rows.sort(key=lambda row: row[0])
    return len(rows), sum(row[2] for row in rows)


def timed(work: Callable[[Path], tuple[int, float]], folder: Path, runs: int) -> tuple[int, float, float]:
    """Trades, quantity and the median rate in trades per second."""
    rates, answer = [], (0, 0.0)
    for _ in range(runs):
        began = time.perf_counter()
        answer = work(folder)
        rates.append(answer[0] / (time.perf_counter() - began))
    return *answer, statistics.median(rates)


def run(results: list[dict[str, Any]]) -> None:
    """Measure the generated sample, and the recorded market where it is present."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sample(folder)
        replayed(folder)
        count, quantity, rate = timed(replayed, folder, RUNS)
        expected, expected_quantity, baseline = timed(line_by_line, folder, 1)
        assert count == expected == sum(TRADES_PER_COIN.values())
        assert np.isclose(quantity, expected_quantity)
    results.append(
        {
            "name": "replay.read_decode_merge",
            "params": {"trades": count, "files": len(TRADES_PER_COIN), "sample": "generated"},
            "median": rate,
            "unit": "trades/s",
            "baseline": "json.loads per line",
            "ratio": rate / baseline,
        }
    )
    if RECORDED.is_dir():
        count, _, rate = timed(replayed, RECORDED, RUNS)
        assert count == 3_085_226
        results.append(
            {
                "name": "replay.read_decode_merge",
                "params": {"trades": count, "files": 42, "sample": "recorded"},
                "median": rate,
                "unit": "trades/s",
                "baseline": "json.loads per line, generated sample",
                "ratio": rate / baseline,
            }
        )
