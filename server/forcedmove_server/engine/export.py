"""The full map as a table: every non-empty cell of every market, without a window."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from forcedmove_kernels.arrays import Window
from forcedmove_kernels.fixed_point import PRICE_BITS
from forcedmove_server.engine.frames import SIDES
from forcedmove_server.engine.pipeline import Pipeline
from forcedmove_server.engine.rules import LEVERAGES
from forcedmove_server.engine.views import usd_per_lot
from forcedmove_server.errors import InputError

#: a long's level is below its entry; a short's at most about this many times its entry (inverse, 2x)
_HIGHEST_LEVEL = 2.2
#: bins of one exported grid at most: prices this far from every entry end in the overflow row
_MOST_BINS = 1 << 17


def full_map(pipeline: Pipeline) -> pa.Table:
    """Return the whole map, one row per non-empty (market, side, leverage, bin), in market order.

    ``side`` is who would be liquidated, prices are the bin's edges in USD, ``notional_usd`` the live quantity times the
    bin's middle (linear) or the quantity itself (inverse). Rows outside every bin have 0 or infinity as outer edge.
    Exact positions have rows of their own.
    """
    pipeline.store.remainders.follow()
    parts = [
        _market_rows(pipeline, market, row)
        for symbol in pipeline.registry.symbols()
        for market in pipeline.mapped_markets(symbol)
        for row in (*pipeline.exact.shown([market]), *pipeline.exact.known([market]))
    ]
    at = datetime.fromtimestamp(pipeline.newest_event_ns / 1e9, UTC)
    schema = pa.schema(
        [
            ("symbol", pa.string()),
            ("venue", pa.string()),
            ("side", pa.string()),
            ("leverage", pa.float64()),
            ("price_low", pa.float64()),
            ("price_high", pa.float64()),
            ("notional_usd", pa.float64()),
        ]
    )
    table = pa.concat_tables([pa.table(part, schema=schema) for part in parts]) if parts else schema.empty_table()
    return table.append_column("at", pa.array([at] * len(table), pa.timestamp("us", "UTC")))


def write_map(table: pa.Table, path: Path) -> None:
    """Write the map as Parquet or CSV, by extension. Raises InputError for another extension or an unwritable path."""
    try:
        if path.suffix == ".parquet":
            pyarrow.parquet.write_table(table, path, compression="zstd")
        elif path.suffix == ".csv":
            pyarrow.csv.write_csv(table, path)
        else:
            raise InputError("dump", str(path), "must end in .parquet or .csv")
    except OSError as error:
        raise InputError("dump", str(path), f"cannot be written: {error.strerror or error}") from error


def _market_rows(pipeline: Pipeline, market: int, row: int) -> dict[str, Any]:
    """Return what ``row`` of the store has of a market: what is inferred, or its exact positions."""
    store, table, instrument = pipeline.store, pipeline.inference.markets, pipeline.registry[market]
    highest = int(store.resident.cohorts(row).entry.max(initial=0)) >> PRICE_BITS
    bins = min(int(highest * _HIGHEST_LEVEL) + 2, _MOST_BINS)
    window = Window(np.zeros(1, np.uint32), bins)
    lots = store.resident.leverage_grid(np.array([row], np.int32), weighted=False, window=window)[0]
    side, tier, cell = np.nonzero(lots)
    usd = usd_per_lot(pipeline.notional(), np.array([market]), 0, bins)[0]
    width = float(table.bin_width[market])
    low = np.maximum(cell - 1, 0) * width
    return {
        "symbol": [instrument.symbol] * len(cell),
        "venue": [instrument.venue] * len(cell),
        "side": np.array(SIDES)[side],
        "leverage": LEVERAGES[tier],
        "price_low": low,
        "price_high": np.where(cell > bins, np.inf, cell * width),
        "notional_usd": lots[side, tier, cell] * usd[cell],
    }
