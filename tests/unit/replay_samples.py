"""Small recordings in every format, written by hand for the tests."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from forcedmove_server.market.events import EVENT_DTYPES, EventBatch
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.sources.replay import ReplaySource

MINUTE_NS = 60_000_000_000
#: 2026-06-13 00:00 UTC, in milliseconds
DAY_MS = 1_781_308_800_000
AGG_HEADER = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"
METRICS_HEADER = (
    "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio,"
    "sum_toptrader_long_short_ratio,count_long_short_ratio,sum_taker_long_short_vol_ratio"
)
TARDIS = "exchange,symbol,timestamp,local_timestamp"


def write(path: Path, text: str | bytes) -> Path:
    """Write plain, gzip or zip by the name's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = text.encode() if isinstance(text, str) else text
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(content, mtime=0))
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(path.with_suffix(".csv").name, content)
    else:
        path.write_bytes(content)
    return path


def json_lines(rows: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)


def trade(offset_ms: int, price: float = 100.0, size: float = 1.0, side: str = "B") -> dict[str, Any]:
    return {"ts": DAY_MS + offset_ms, "px": price, "sz": size, "side": side}


def trades_file(folder: Path, rows: Sequence[dict[str, Any]], coin: str = "BTC", day: str = "20260613") -> Path:
    return write(folder / f"trades_{coin}_{day}.jsonl.gz", json_lines(rows))


def gathered(source: ReplaySource, registry: InstrumentRegistry | None = None) -> dict[str, npt.NDArray[Any]]:
    """All events of a replay by kind; checks order and watermarks on the way."""
    registry = InstrumentRegistry() if registry is None else registry
    found: dict[str, list[npt.NDArray[Any]]] = {kind: [] for kind in EVENT_DTYPES}
    until = 0
    for batch in source.batches(registry):
        assert batch.until_ns > until
        for kind, rows in batch.by_kind().items():
            times = rows["time_ns"]
            assert np.all(times[1:] >= times[:-1])
            assert not len(rows) or (times[0] >= until and times[-1] < batch.until_ns)
            assert not len(rows) or rows["market"].max() < len(registry)
            found[kind].append(rows)
        until = batch.until_ns
    assert source.progress() == 1.0
    return {kind: np.concatenate([np.empty(0, EVENT_DTYPES[kind]), *pieces]) for kind, pieces in found.items()}


def batch_of(until_ns: int, **kinds: list[dict[str, Any]]) -> EventBatch:
    """A batch from plain dictionaries."""
    arrays = {}
    for kind, rows in kinds.items():
        array = np.zeros(len(rows), EVENT_DTYPES[kind])
        for k, row in enumerate(rows):
            for name, value in row.items():
                array[k][name] = value
        arrays[kind] = array
    return EventBatch(until_ns, **arrays)
