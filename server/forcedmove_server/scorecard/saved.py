"""A scorecard on disk: one npz of plain arrays, with a JSON header."""

from __future__ import annotations

import json
import zipfile
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.errors import FileFormatError
from forcedmove_server.saved_arrays import write_arrays
from forcedmove_server.scorecard.day_sums import DaySums
from forcedmove_server.scorecard.measures.cascades import CascadeAlarm, CascadeSeen
from forcedmove_server.scorecard.rules import ScoringRules
from forcedmove_server.scorecard.tables import MOST_CASCADES, MarketName, Tables

F64 = NDArray[np.float64]

_KIND, _VERSION = "forcedmove scorecard", 1
#: rules that decide what was counted; the others only bound what is kept, or how it is summarised
_SHAPING = (
    "step_ns",
    "horizons_ns",
    "move_threshold",
    "volatility_half_life_ns",
    "least_volatility_cells",
    "least_decile_bins",
    "bits_floor",
)


def save(path: Path, tables: Tables, histories: Mapping[int, F64]) -> None:
    """Write to a file beside ``path``, then put it in its place."""
    header = {
        "kind": _KIND,
        "version": _VERSION,
        "rules": asdict(tables.rules),
        "maps": tables.maps,
        "names": tables.names,
        "alarms": [asdict(alarm) for alarm in tables.alarms],
        "cascades": [asdict(cascade) for cascade in tables.cascades],
        "unscored": tables.unscored,
        "begin_ns": tables.begin_ns,
        "end_ns": tables.end_ns,
        "invariant_checks": tables.invariant_checks,
        "worst_interest": tables.worst_interest,
        "worst_flow": tables.worst_flow,
    }
    arrays: dict[str, NDArray[Any]] = {
        "header": np.frombuffer(json.dumps(header).encode(), np.uint8),
        "history_of": np.array(list(histories), np.int64),
        "histories": np.array(list(histories.values()), np.float64).reshape(-1, 3),
    }
    for name, table in _day_sums(tables).items():
        arrays[f"{name}.keys"], arrays[f"{name}.sums"] = table.rows()
    for index, log in enumerate(tables.moves):
        arrays[f"moves.{index}"] = log.moves()
    write_arrays(path, arrays)


def restored(path: Path, rules: ScoringRules, maps: tuple[str, ...]) -> tuple[Tables, dict[int, F64]]:
    """Read tables and volatility histories by market number."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = dict(file)
        header = json.loads(arrays["header"].tobytes())
        if (header["kind"], header["version"]) != (_KIND, _VERSION):
            raise FileFormatError("version", header["version"], f"must be {_VERSION}", str(path))
        _must_agree(header, rules, maps, path)
        return _filled(header, arrays, rules, maps)
    except (zipfile.BadZipFile, EOFError, KeyError, TypeError, ValueError) as error:
        raise FileFormatError("file", path.name, f"is not a scorecard: {error}", str(path)) from error


def _must_agree(header: dict[str, Any], rules: ScoringRules, maps: tuple[str, ...], path: Path) -> None:
    """Sums made by other rules do not add up with ours."""
    if tuple(header["maps"]) != maps:
        raise FileFormatError("maps", header["maps"], f"must be {list(maps)}", str(path))
    ours = json.loads(json.dumps(asdict(rules)))
    for name in _SHAPING:
        if header["rules"][name] != ours[name]:
            raise FileFormatError(f"rules.{name}", header["rules"][name], f"must be {ours[name]!r}", str(path))


def _filled(
    header: dict[str, Any], arrays: dict[str, NDArray[Any]], rules: ScoringRules, maps: tuple[str, ...]
) -> tuple[Tables, dict[int, F64]]:
    tables = Tables(rules, maps)
    for name in header["names"]:
        tables.number(MarketName(*name))
    for name, table in _day_sums(tables).items():
        table.add(arrays[f"{name}.keys"], arrays[f"{name}.sums"])
    for index, log in enumerate(tables.moves):
        rows = arrays[f"moves.{index}"].astype(log.dtype)
        if len(rows):
            log.add(rows, tables.hashes(rows["market"]))
    tables.alarms = deque((CascadeAlarm(**alarm) for alarm in header["alarms"]), MOST_CASCADES)
    tables.cascades = deque((CascadeSeen(**cascade) for cascade in header["cascades"]), MOST_CASCADES)
    tables.unscored = Counter(header["unscored"])
    tables.begin_ns, tables.end_ns = header["begin_ns"], header["end_ns"]
    tables.invariant_checks, tables.worst_flow = header["invariant_checks"], header["worst_flow"]
    worst = header["worst_interest"]
    tables.worst_interest = None if worst is None else (float(worst[0]), str(worst[1]), int(worst[2]))
    numbers = arrays["history_of"].tolist()
    return tables, {number: row.copy() for number, row in zip(numbers, arrays["histories"], strict=True)}


def _day_sums(tables: Tables) -> dict[str, DaySums]:
    kinds = {"liquidations": tables.liquidations, "positions": tables.positions, "reach": tables.reach}
    named = {f"{kind}.{index}": table for kind, by_horizon in kinds.items() for index, table in enumerate(by_horizon)}
    return named | {"coverage": tables.coverage}
