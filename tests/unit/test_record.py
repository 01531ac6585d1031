"""Our own recordings: what is written is what is read back, also when the writer was killed."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forcedmove_server.errors import FileFormatError, InstrumentError
from forcedmove_server.market.events import BOOK_DEPTH, EVENT_DTYPES, LIQUIDATION, EventBatch
from forcedmove_server.market.instruments import ContractType, Instrument, InstrumentRegistry
from forcedmove_server.sources.record import Recorder
from forcedmove_server.sources.replay import ReplaySource
from tests.unit.replay_samples import DAY_MS, gathered

BEGIN_NS = DAY_MS * 10**6
MARKETS = (
    Instrument("binance", "BTCUSDT", "BTC", "USDT", quantity_step=1e-3, max_leverage=125.0),
    Instrument("binance", "BTCUSD_PERP", "BTC", "USD", ContractType.INVERSE, contract_size=100.0),
    Instrument("okx", "ETH-USDT-SWAP", "ETH", "USDT", contract_size=0.1),
)
_POSITIVE = st.floats(1e-6, 1e9, allow_nan=False)


@st.composite
def streams(draw: st.DrawFn) -> list[EventBatch]:
    """Batches of random events of all kinds, as a source would yield them."""
    batches, until = [], BEGIN_NS
    for _ in range(draw(st.integers(1, 4))):
        begin, until = until, until + draw(st.integers(1, 10**12))
        kinds = {}
        for kind, dtype in EVENT_DTYPES.items():
            rows = np.zeros(draw(st.integers(0, 4)), dtype)
            for row in rows:
                for name in dtype.names or ():
                    if name == "market":
                        row[name] = draw(st.integers(0, len(MARKETS) - 1))
                    elif name in ("price", "quantity"):
                        row[name] = draw(_POSITIVE)
                    elif name != "_pad":
                        row[name] = draw(st.integers(0, 1)) if name in ("side", "aggressor", "channel") else 0
                row["time_ns"] = draw(st.integers(begin, until - 1))
                for name in {"received_ns", "begin_ns"} & set(dtype.names or ()):
                    row[name] = row["time_ns"] - draw(st.integers(-(10**9), 10**9))
            kinds[kind] = np.sort(rows, order="time_ns", kind="stable")
        batches.append(EventBatch(until, **kinds))
    return batches


def joined(batches: list[EventBatch]) -> dict[str, npt.NDArray[Any]]:
    return {kind: np.concatenate([batch.by_kind()[kind] for batch in batches]) for kind in EVENT_DTYPES}


def test_equal_rows_of_two_kinds_are_both_kept(tmp_path: Path) -> None:
    """A liquidation and a level of a book can be the same bytes; the replay leaves out files that are copies."""
    when = 1_781_308_800 * 10**9
    row = (when, when, 1.0, 1.0, 0, 0)
    batch = EventBatch(when + 1, liquidations=np.array([row], LIQUIDATION), depth=np.array([row], BOOK_DEPTH))
    with Recorder(tmp_path, InstrumentRegistry(MARKETS)) as recorder:
        recorder.write(batch)
    found = gathered(ReplaySource("r", tmp_path), InstrumentRegistry())
    assert len(found["liquidations"]) == len(found["depth"]) == 1


@settings(max_examples=40)
@given(batches=streams(), rows_per_part=st.integers(1, 20))
def test_round_trip(batches: list[EventBatch], rows_per_part: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with Recorder(folder, InstrumentRegistry(MARKETS), rows_per_part=rows_per_part) as recorder:
            for batch in batches:
                recorder.write(batch)
        expected = joined(batches)
        if not any(len(rows) for rows in expected.values()):
            return
        registry = InstrumentRegistry()
        source = ReplaySource("r", folder)
        found = gathered(source, registry)
    for kind, rows in expected.items():
        assert np.array_equal(found[kind], rows), kind
    assert list(registry) == list(MARKETS)
    assert not source.defects.counts


def minutes(count: int) -> Iterator[EventBatch]:
    for k in range(count):
        trades = np.zeros(100, EVENT_DTYPES["trades"])
        trades["time_ns"] = BEGIN_NS + k * 60 * 10**9 + np.arange(100)
        trades["price"], trades["quantity"] = 100.0, k + 1.0
        yield EventBatch(BEGIN_NS + (k + 1) * 60 * 10**9, trades=trades)


def test_killed_recording_is_readable_up_to_its_last_part(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "r", InstrumentRegistry(MARKETS), rows_per_part=500)
    for batch in minutes(23):
        recorder.write(batch)
    # not finished: three batches are still in memory, and a part was being written
    (tmp_path / "r" / "trades" / ".part-000004.parquet.unfinished").write_bytes(b"PAR1 half")
    source = ReplaySource("r", tmp_path / "r")
    assert len(gathered(source)["trades"]) == 2000
    assert dict(source.defects.counts) == {"file.ignored": 1}


def test_parts_end_by_event_time_too(tmp_path: Path) -> None:
    with Recorder(tmp_path / "r", InstrumentRegistry(MARKETS), part_span_ns=600 * 10**9) as recorder:
        for batch in minutes(25):
            recorder.write(batch)
    assert len(list((tmp_path / "r" / "trades").iterdir())) == 3


def test_markets_met_later_are_described_before_they_are_used(tmp_path: Path) -> None:
    registry = InstrumentRegistry(MARKETS[:1])
    recorder = Recorder(tmp_path / "r", registry, rows_per_part=1)
    first, second = itertools.islice(minutes(2), 2)
    recorder.write(first)
    registry.add(MARKETS[1])
    second.trades["market"] = 1
    recorder.write(second)
    found = InstrumentRegistry()
    assert set(gathered(ReplaySource("r", tmp_path / "r"), found)["trades"]["market"]) == {0, 1}
    assert list(found) == list(MARKETS[:2])


def test_symbol_filter(tmp_path: Path) -> None:
    with Recorder(tmp_path / "r", InstrumentRegistry(MARKETS)) as recorder:
        for k, batch in enumerate(minutes(3)):
            batch.trades["market"] = k
            recorder.write(batch)
    registry = InstrumentRegistry()
    found = gathered(ReplaySource("r", tmp_path / "r", symbols=["ETH"]), registry)["trades"]
    assert [instrument.symbol for instrument in registry] == ["ETH"]
    assert set(found["quantity"]) == {3.0}


def test_damaged_part_is_counted_and_the_others_are_read(tmp_path: Path) -> None:
    with Recorder(tmp_path / "r", InstrumentRegistry(MARKETS), rows_per_part=100) as recorder:
        for batch in minutes(4):
            recorder.write(batch)
    part = tmp_path / "r" / "trades" / "part-000002.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    source = ReplaySource("r", tmp_path / "r")
    assert len(gathered(source)["trades"]) == 300
    assert dict(source.defects.counts) == {"file.corrupt": 1}
    assert source.defects.samples["file.corrupt"].startswith(str(part))


def test_unusable_rows_are_counted(tmp_path: Path) -> None:
    with Recorder(tmp_path / "r", InstrumentRegistry(MARKETS)) as recorder:
        (batch,) = minutes(1)
        batch.trades["price"][:3] = np.nan
        batch.trades["quantity"][3:5] = -1.0
        recorder.write(batch)
    source = ReplaySource("r", tmp_path / "r")
    assert len(gathered(source)["trades"]) == 95
    assert dict(source.defects.counts) == {"trades.bad_price": 3, "trades.bad_quantity": 2}


def test_refused_recordings(tmp_path: Path) -> None:
    with Recorder(tmp_path / "r", InstrumentRegistry(MARKETS)) as recorder:
        for batch in minutes(1):
            recorder.write(batch)
    with pytest.raises(FileFormatError, match="is not empty"):
        Recorder(tmp_path / "r", InstrumentRegistry())
    instruments = tmp_path / "r" / "instruments.parquet"
    table = pq.read_table(instruments)
    newer = table.replace_schema_metadata({**table.schema.metadata, b"forcedmove.format_version": b"2"})
    pq.write_table(newer, instruments)
    with pytest.raises(FileFormatError, match=r"format_version = '2': this reader knows 1"):
        ReplaySource("r", tmp_path / "r")
    pq.write_table(table.drop_columns(["quote"]), instruments)
    with pytest.raises(FileFormatError, match="missing quote"):
        ReplaySource("r", tmp_path / "r")
    linear = table.set_column(
        table.column_names.index("contract_type"), "contract_type", pa.array(["linear"] * len(MARKETS))
    )
    pq.write_table(linear, instruments)
    with pytest.raises(InstrumentError, match="BTCUSD_PERP is an inverse contract"):
        ReplaySource("r", tmp_path / "r")
    instruments.unlink()
    with pytest.raises(FileFormatError, match="is missing beside the recorded parts"):
        ReplaySource("r", tmp_path / "r")
