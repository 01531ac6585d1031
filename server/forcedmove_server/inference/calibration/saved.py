"""A calibration on disk: one npz of plain arrays, with a JSON header; markets by key, venues by name."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.errors import FileFormatError
from forcedmove_server.saved_arrays import write_arrays

F64 = NDArray[np.float64]
Arrays = dict[str, F64]

_KIND, _VERSION = "forcedmove calibration", 4


@dataclass(frozen=True, slots=True)
class State:
    """What a file holds.

    ``keys`` and ``venue_of`` name the market of each row of ``markets`` (arrays ``[K, ...]``) and its venue; ``venues``
    and ``publishes_all`` are those of the rows of ``of_venues`` (``[V, ...]``).
    """

    leverages: F64
    keys: tuple[str, ...]
    venue_of: tuple[str, ...]
    live: tuple[bool, ...]
    markets: Arrays
    venues: tuple[str, ...]
    publishes_all: tuple[bool | None, ...]
    of_venues: Arrays
    clock_ns: int | None
    fitted_ns: int | None
    frozen: bool


_HEADER = ("keys", "venue_of", "live", "venues", "publishes_all", "clock_ns", "fitted_ns", "frozen")
_TUPLES = ("keys", "venue_of", "live", "venues", "publishes_all")


def save(path: Path, state: State) -> None:
    """Write to a file beside ``path``, then put it in its place."""
    header = {"kind": _KIND, "version": _VERSION} | {name: getattr(state, name) for name in _HEADER}
    arrays: dict[str, NDArray[Any]] = {
        "header": np.frombuffer(json.dumps(header).encode(), np.uint8),
        "leverages": state.leverages,
    }
    arrays |= {f"market.{name}": values for name, values in state.markets.items()}
    arrays |= {f"venue.{name}": values for name, values in state.of_venues.items()}
    write_arrays(path, arrays)


def restored(path: Path, like: State) -> State:
    """Read a file whose arrays are shaped as those of ``like``, but for the numbers of markets and venues.

    Raises :class:`FileFormatError` for a file of another kind, version or set of tiers, or that is not whole.
    """
    try:
        # opened here: NumPy leaves a file open that turns out not to be whole
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = dict(file)
        header = json.loads(arrays["header"].tobytes())
        if header["kind"] != _KIND:
            raise FileFormatError("kind", header["kind"], f"must be {_KIND!r}", str(path))
        if header["version"] != _VERSION:
            raise FileFormatError("version", header["version"], f"must be {_VERSION}", str(path))
        if arrays["leverages"].tolist() != like.leverages.tolist():
            raise FileFormatError("leverages", arrays["leverages"].tolist(), "must be the tiers in use", str(path))
        values: dict[str, Any] = {name: tuple(header[name]) if name in _TUPLES else header[name] for name in _HEADER}
        if not len(values["keys"]) == len(values["venue_of"]) == len(values["live"]) == len(set(values["keys"])):
            raise ValueError("keys do not match")
        if len(values["venues"]) != len(values["publishes_all"]) or not set(values["venue_of"]) <= set(
            values["venues"]
        ):
            raise ValueError("venues do not match")
        markets = {
            name: _array(arrays, f"market.{name}", len(values["keys"]), old) for name, old in like.markets.items()
        }
        venues = {
            name: _array(arrays, f"venue.{name}", len(values["venues"]), old) for name, old in like.of_venues.items()
        }
        return State(leverages=like.leverages, markets=markets, of_venues=venues, **values)
    except (zipfile.BadZipFile, EOFError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileFormatError("file", path.name, f"is not a calibration: {error}", str(path)) from error


def _array(arrays: dict[str, NDArray[Any]], name: str, rows: int, like: F64) -> F64:
    found = arrays[name]
    if found.dtype != np.float64 or found.shape != (rows, *like.shape[1:]):
        raise ValueError(f"{name} has shape {found.shape}")
    if not np.isfinite(found).all():
        raise ValueError(f"{name} is not finite")
    return found
