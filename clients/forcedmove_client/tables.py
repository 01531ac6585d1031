"""Frames and scorecards as tables in long format. pandas and pyarrow are optional and imported on use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from forcedmove_client.frames import MapFrame

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def to_pandas(frame: MapFrame) -> pd.DataFrame:
    """Return one row per cell; labels that are names become categories."""
    pd = _pandas()
    columns: dict[str, Any] = {}
    for name, (codes, labels) in _labels(frame).items():
        columns[name] = pd.Categorical.from_codes(codes, list(labels)) if _is_text(labels) else labels[codes]
    return pd.DataFrame(columns | _values(frame))


def to_arrow(frame: MapFrame) -> pa.Table:
    """Return one row per cell; labels that are names are dictionary-encoded."""
    pa = _pyarrow()
    columns: dict[str, Any] = {}
    for name, (codes, labels) in _labels(frame).items():
        columns[name] = (
            pa.DictionaryArray.from_arrays(codes, list(labels)) if _is_text(labels) else pa.array(labels[codes])
        )
    return pa.table(columns | {name: pa.array(values) for name, values in _values(frame).items()})


def columns_to_pandas(columns: Mapping[str, tuple[type, list[Any]]]) -> pd.DataFrame:
    """Return columns of str (made categories), int, bool, and float (None is NaN) as a table."""
    pd = _pandas()
    made: dict[str, Any] = {}
    for name, (kind, values) in columns.items():
        made[name] = pd.Categorical(values, list(dict.fromkeys(values))) if kind is str else np.array(values, kind)
    return pd.DataFrame(made)


def columns_to_arrow(columns: Mapping[str, tuple[type, list[Any]]]) -> pa.Table:
    """Return columns of str (dictionary-encoded), int, bool, and float (None is null) as a table."""
    pa = _pyarrow()
    kinds = {int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    made = {
        name: pa.array(values, pa.string()).dictionary_encode() if kind is str else pa.array(values, kinds[kind])
        for name, (kind, values) in columns.items()
    }
    return pa.table(made)


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise ImportError("to_pandas() needs pandas: pip install pandas") from error
    return pandas


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError("to_arrow() needs pyarrow: pip install pyarrow") from error
    return pyarrow


def _values(frame: MapFrame) -> dict[str, NDArray[np.float32]]:
    """Columns of notional: the map's, and where there is a band its bounds."""
    found = {"notional_usd": frame.grid.reshape(-1)}
    if frame.band is not None:
        found |= {"notional_low_usd": frame.band.low.reshape(-1), "notional_high_usd": frame.band.high.reshape(-1)}
    return found


def _labels(frame: MapFrame) -> dict[str, tuple[NDArray[np.int32], NDArray[Any]]]:
    """Per column: the index of every cell's label, and the labels."""
    shape = frame.grid.shape
    columns: dict[str, tuple[NDArray[np.int32], NDArray[Any]]] = {
        "symbol": (np.zeros(frame.grid.size, np.int32), np.array([frame.symbol]))
    }
    for k, axis in enumerate(frame.axes):
        along = np.arange(shape[k], dtype=np.int32).reshape([-1 if k == j else 1 for j in range(len(shape))])
        codes = np.broadcast_to(along, shape).reshape(-1)
        if axis == "price":
            columns |= {"price_low": (codes, frame.price_low), "price_high": (codes, frame.price_high)}
        else:
            columns[axis] = (codes, np.array(frame.labels(axis)))
    return columns


def _is_text(labels: NDArray[Any]) -> bool:
    return labels.dtype.kind == "U"
