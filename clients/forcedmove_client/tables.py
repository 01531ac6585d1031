"""A frame as a table in long format. pandas and pyarrow are optional and imported on use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from forcedmove_client.frames import MapFrame

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def to_pandas(frame: MapFrame) -> pd.DataFrame:
    """Return one row per cell; labels that are names become categories."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("to_pandas() needs pandas: pip install pandas") from error
    columns: dict[str, Any] = {}
    for name, (codes, labels) in _labels(frame).items():
        columns[name] = pd.Categorical.from_codes(codes, list(labels)) if _is_text(labels) else labels[codes]
    return pd.DataFrame(columns | {"notional_usd": frame.grid.reshape(-1)})


def to_arrow(frame: MapFrame) -> pa.Table:
    """Return one row per cell; labels that are names are dictionary-encoded."""
    try:
        import pyarrow as pa
    except ImportError as error:
        raise ImportError("to_arrow() needs pyarrow: pip install pyarrow") from error
    columns: dict[str, Any] = {}
    for name, (codes, labels) in _labels(frame).items():
        columns[name] = (
            pa.DictionaryArray.from_arrays(codes, list(labels)) if _is_text(labels) else pa.array(labels[codes])
        )
    return pa.table(columns | {"notional_usd": pa.array(frame.grid.reshape(-1))})


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
