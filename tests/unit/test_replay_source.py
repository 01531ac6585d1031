"""The replay as a source: what it refuses, filters, merges, counts; determinism; gaps; pacing."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from forcedmove_server.errors import ConfigError, FileFormatError, UnknownNameError
from forcedmove_server.market.events import EventBatch
from forcedmove_server.market.instruments import Instrument, InstrumentRegistry
from forcedmove_server.sources.pacing import paced
from forcedmove_server.sources.replay import ReplaySource
from forcedmove_server.sources.source import Source
from tests.unit.replay_samples import DAY_MS, batch_of, gathered, json_lines, trade, trades_file, write

SECOND_NS = 10**9


def two_coins(folder: Path, seconds: int = 900) -> None:
    """A trade a second in BTC, one every three seconds in ETH."""
    trades_file(folder, [trade(1000 * k) for k in range(seconds)], "BTC")
    trades_file(folder, [trade(1000 * k, 10.0) for k in range(0, seconds, 3)], "ETH")


def test_is_a_source(tmp_path: Path) -> None:
    two_coins(tmp_path)
    source: Source = ReplaySource("recorded", tmp_path)
    assert source.name == "recorded"
    assert source.progress() == 0.0


def test_same_files_same_batches(tmp_path: Path) -> None:
    two_coins(tmp_path)

    def replay() -> list[tuple[int, bytes]]:
        batches = ReplaySource("r", tmp_path, max_rows=200).batches(InstrumentRegistry())
        return [(b.until_ns, b"".join(rows.tobytes() for rows in b.by_kind().values())) for b in batches]

    first = replay()
    assert len(first) > 5
    assert first == replay()


def test_windows_and_row_limit(tmp_path: Path) -> None:
    two_coins(tmp_path)
    sizes = [len(b) for b in ReplaySource("r", tmp_path, max_rows=100).batches(InstrumentRegistry())]
    assert sum(sizes) == 1200
    assert max(sizes) <= 102  # rows of one time stay together
    whole = list(ReplaySource("r", tmp_path).batches(InstrumentRegistry()))
    assert [(b.until_ns // 10**6 - DAY_MS) // 60_000 for b in whole] == [5, 10, 15]
    assert sum(map(len, whole)) == 1200


def test_order_does_not_depend_on_the_block_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [trade(k * 100 - (k % 7) * 150, 100 + k % 3) for k in range(2000)]
    trades_file(tmp_path, rows)
    whole = gathered(ReplaySource("r", tmp_path))["trades"]
    monkeypatch.setattr("forcedmove_server.sources.replay._MAX_BLOCK_BYTES", 700)
    monkeypatch.setattr("forcedmove_server.sources.replay._MIN_BLOCK_BYTES", 700)
    pieces = gathered(ReplaySource("r", tmp_path))["trades"]
    assert np.array_equal(whole, pieces)
    assert len(pieces) == 2000


def test_replaying_twice_counts_the_same_defects(tmp_path: Path) -> None:
    trades_file(tmp_path, [trade(0), trade(1, -1.0)])
    write(tmp_path / "notes.txt", "hello")
    source = ReplaySource("r", tmp_path)
    for _ in range(2):
        assert len(gathered(source)["trades"]) == 1
        assert dict(source.defects.counts) == {"trades.bad_price": 1, "file.ignored": 1}


@pytest.mark.parametrize("name", ["eth", "hyperliquid:ETH", "ETH/USDC:USDC"])
def test_symbols_are_names_people_type(tmp_path: Path, name: str) -> None:
    two_coins(tmp_path)
    registry = InstrumentRegistry()
    found = gathered(ReplaySource("r", tmp_path, symbols=[name]), registry)["trades"]
    assert [instrument.symbol for instrument in registry] == ["ETH"]
    assert set(found["price"]) == {10.0}


def test_unknown_symbol_lists_what_is_there(tmp_path: Path) -> None:
    two_coins(tmp_path)
    with pytest.raises(UnknownNameError, match=r"unknown symbol 'PEPE'; known: BTC, ETH"):
        ReplaySource("r", tmp_path, symbols=["BTC", "PEPE"])


def test_from_and_until(tmp_path: Path) -> None:
    two_coins(tmp_path)
    begin, end = (DAY_MS + 100_000) * 10**6, (DAY_MS + 200_000) * 10**6
    source = ReplaySource("r", tmp_path, symbols=["BTC"], from_ns=begin, until_ns=end)
    times = gathered(source)["trades"]["time_ns"]
    assert (times[0], times[-1], len(times)) == (begin, end - SECOND_NS, 100)
    with pytest.raises(FileFormatError, match="between"):
        ReplaySource("r", tmp_path, from_ns=(DAY_MS + 10 * 86_400_000) * 10**6)


def test_kinds(tmp_path: Path) -> None:
    trades_file(tmp_path, [trade(0)])
    write(tmp_path / "ctx_BTC_20260613.jsonl", json_lines([{"ts": DAY_MS, "oi": 1.0, "mark": 2.0}]))
    found = gathered(ReplaySource("r", tmp_path, kinds=["trades"]))
    assert {kind: len(rows) for kind, rows in found.items() if len(rows)} == {"trades": 1}
    with pytest.raises(UnknownNameError, match="event kind 'candles'"):
        ReplaySource("r", tmp_path, kinds=["candles"])


def test_markets_of_other_sources_keep_their_index(tmp_path: Path) -> None:
    two_coins(tmp_path)
    registry = InstrumentRegistry([Instrument("hyperliquid", "ETH", "ETH", "USDC", quantity_step=1.0)])
    found = gathered(ReplaySource("r", tmp_path), registry)["trades"]
    assert [instrument.key for instrument in registry] == ["hyperliquid:ETH", "hyperliquid:BTC"]
    assert set(found["market"][found["price"] == 10.0]) == {0}


def test_refused_paths(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="no such file or folder"):
        ReplaySource("r", tmp_path / "nowhere")
    with pytest.raises(FileFormatError, match="none of 0 files"):
        ReplaySource("r", tmp_path)
    write(tmp_path / "notes.txt", "hello")
    with pytest.raises(FileFormatError, match="none of 1 files"):
        ReplaySource("r", tmp_path)
    with pytest.raises(FileFormatError, match="format = 'csv'"):
        ReplaySource("r", tmp_path, format="csv")
    trades_file(tmp_path, [trade(0)])
    with pytest.raises(FileFormatError, match=r"none of 2 files is of a known format \(tardis\)"):
        ReplaySource("r", tmp_path, format="tardis")
    (tmp_path / "trades_ETH_20260613.jsonl").touch()
    with pytest.raises(FileFormatError, match=r"file = 'trades_ETH_20260613\.jsonl': is empty"):
        ReplaySource("r", tmp_path)
    write(tmp_path / "trades_ETH_20260613.jsonl", "\n\n")
    with pytest.raises(FileFormatError, match="holds no data"):
        ReplaySource("r", tmp_path)
    (tmp_path / "trades_ETH_20260613.jsonl").unlink()
    (tmp_path / "trades_ETH_20260613.jsonl.gz").write_text("plain text")
    with pytest.raises(FileFormatError, match="does not begin like a"):
        ReplaySource("r", tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = trades_file(tmp_path, [trade(0)])
    path.chmod(0)
    with pytest.raises(FileFormatError, match="permission denied"):
        ReplaySource("r", tmp_path)


def test_an_abandoned_replay_leaves_no_thread(tmp_path: Path) -> None:
    two_coins(tmp_path)
    batches = ReplaySource("gone", tmp_path, max_rows=10).batches(InstrumentRegistry())
    next(batches)
    assert any("replay-gone" in thread.name for thread in threading.enumerate())
    batches.close()  # type: ignore[attr-defined]
    assert not any("replay-gone" in thread.name for thread in threading.enumerate())


def test_silence_of_a_whole_venue_is_a_gap_in_each_market(tmp_path: Path) -> None:
    busy = [trade(1000 * k) for k in range(600)] + [trade(1000 * k) for k in range(800, 1000)]
    thin = [trade(17_000 * k, 10.0) for k in range(35)] + [trade(1000 * k, 10.0) for k in range(810, 1000, 17)]
    trades_file(tmp_path, busy, "BTC")
    trades_file(tmp_path, thin, "ETH")
    source = ReplaySource("r", tmp_path)
    gaps = gathered(source)["gaps"]
    assert ((gaps["begin_ns"] // 10**6 - DAY_MS) // 1000).tolist() == [599, 599]
    assert ((gaps["time_ns"] // 10**6 - DAY_MS) // 1000).tolist() == [800, 800]
    assert sorted(gaps["market"].tolist()) == [0, 1]
    assert dict(source.defects.counts) == {"trades.gap": 2}


def test_lull_of_a_thin_market_is_no_gap(tmp_path: Path) -> None:
    thin = [trade(17_000 * k, 10.0) for k in range(35)] + [trade(800_000 + 17_000 * k, 10.0) for k in range(20)]
    trades_file(tmp_path, thin, "ETH")
    source = ReplaySource("r", tmp_path)
    assert not len(gathered(source)["gaps"])


def second_batches(count: int) -> list[EventBatch]:
    begin = DAY_MS * 10**6
    return [
        batch_of(
            begin + (k + 1) * SECOND_NS,
            trades=[
                {"time_ns": begin + k * SECOND_NS + j * SECOND_NS // 4, "price": 1.0, "quantity": 1.0} for j in range(4)
            ],
        )
        for k in range(count)
    ]


def test_pace_follows_the_clock_and_loses_nothing() -> None:
    began = time.monotonic()
    pieces = list(paced(iter(second_batches(2)), speed=4.0))
    took = time.monotonic() - began
    assert sum(len(piece) for piece in pieces) == 8
    assert [piece.until_ns for piece in pieces] == sorted({piece.until_ns for piece in pieces})
    assert len(pieces) >= 4
    assert 0.45 < took < 3.0


def test_no_pace_and_pace_that_begins_later_come_at_once() -> None:
    batches = second_batches(60)
    assert list(paced(iter(batches), None)) == batches
    began = time.monotonic()
    later = batches[-1].until_ns
    assert list(paced(iter(batches), 1.0, pace_from_ns=later)) == batches
    assert time.monotonic() - began < 2.0


def test_pace_stops_while_it_waits() -> None:
    stop = threading.Event()
    pieces = paced(iter(second_batches(3600)), 0.001, stop)
    threading.Timer(0.05, stop.set).start()
    began = time.monotonic()
    assert list(pieces) == []
    assert time.monotonic() - began < 2.0


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_pace(speed: float) -> None:
    with pytest.raises(ConfigError, match="speed"):
        next(paced(iter(second_batches(1)), speed))
