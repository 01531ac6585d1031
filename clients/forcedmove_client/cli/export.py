"""Maps as JSON, CSV and Parquet."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from forcedmove_client.cli.failures import BAD_INPUT, CommandError
from forcedmove_client.frames import MapFrame
from forcedmove_client.terminal.figures import utc


def write_json(frames: Iterable[MapFrame], output: TextIO) -> None:
    """Write a list of maps; prices and notionals are USD, an edge at infinity is null."""
    json.dump([as_json(frame) for frame in frames], output, indent=1, allow_nan=False)
    output.write("\n")


def as_json(frame: MapFrame) -> dict[str, Any]:
    """Return one map as plain values, with the names of MapFrame."""
    plain = {field.name: _plain(getattr(frame, field.name)) for field in dataclasses.fields(frame)}
    plain["price_high"] = [edge if math.isfinite(edge) else None for edge in plain["price_high"]]
    del plain["skipped"]
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.datetime64):
        return utc(value).replace(" ", "T") + "Z"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def write_csv(frames: Iterable[MapFrame], output: TextIO) -> None:
    """Write one row per cell: symbol, labels of the kept axes, price_low, price_high, notional_usd.

    With bands, notional_low_usd and notional_high_usd follow.
    """
    writer = csv.writer(output, lineterminator="\n")
    header: list[str] = []
    for frame in frames:
        if not header:
            header = ["symbol", *frame.axes[:-1], "price_low", "price_high", "notional_usd"]
            header += ["notional_low_usd", "notional_high_usd"] if frame.band is not None else []
            writer.writerow(header)
        writer.writerows(_rows(frame))


def _rows(frame: MapFrame) -> Iterator[tuple[Any, ...]]:
    low, high = frame.price_low.tolist(), frame.price_high.tolist()
    for index in np.ndindex(frame.grid.shape[:-1]):
        labels = [frame.labels(axis)[k] for axis, k in zip(frame.axes, index, strict=False)]
        bounds = () if frame.band is None else (frame.band.low[index].tolist(), frame.band.high[index].tolist())
        for cell, usd in enumerate(zip(frame.grid[index].tolist(), *bounds, strict=True)):
            yield frame.symbol, *labels, low[cell], high[cell], *usd


def write_parquet(frames: Iterable[MapFrame], path: Path) -> None:
    """Write the same rows as a Parquet file. Raises CommandError where pyarrow is missing."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError:
        raise CommandError("--format parquet needs pyarrow: pip install pyarrow", BAD_INPUT) from None
    pq.write_table(pa.concat_tables([frame.to_arrow() for frame in frames]).unify_dictionaries(), path)
