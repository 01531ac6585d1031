"""Every method of the server: which scope opens it, what it counts against, and what it costs.

Cost units: a shock that is followed through one map is one, and so are every 100 random paths of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from forcedmove.v1 import cascade_pb2, scan_pb2, whatif_pb2

Scope = Literal["open", "read", "simulate", "ingest", "admin"]
Holds = Literal["", "stream", "scan"]

_PATHS_PER_UNIT = 100
_PACKAGE = "forcedmove.v1"


@dataclass(frozen=True, slots=True)
class Method:
    """``scope`` open needs no token. ``holds`` is what a call occupies while it runs.

    ``cost`` takes the request and how many symbols "all" are; ``needs_deadline`` tells whether a request needs one.
    """

    scope: Scope
    holds: Holds = ""
    cost: Callable[[Any, int], float] | None = None
    needs_deadline: Callable[[Any], bool] | None = None


def _chain_cost(paths: int) -> float:
    return 1 + paths / _PATHS_PER_UNIT


def _simulate_cost(request: cascade_pb2.SimulateRequest, _: int) -> float:
    return _chain_cost(request.paths) + request.curve_points


def _scan_cost(request: scan_pb2.ScanRequest, symbols: int) -> float:
    if request.estimate_only:
        return 1
    return (len(request.symbols) or symbols) * len(request.shock_fractions) * _chain_cost(request.paths)


def _whatif_cost(request: whatif_pb2.WhatIfRequest, _: int) -> float:
    return 1 + len(request.leverages) + len(request.added_margins)


def _always(_: Any) -> bool:
    return True


def _has_paths(request: cascade_pb2.SimulateRequest) -> bool:
    return request.paths > 0


_READ, _STREAM = Method("read"), Method("read", "stream")

METHODS: Mapping[str, Method] = {
    f"/{_PACKAGE}.HeatmapService/Subscribe": _STREAM,
    f"/{_PACKAGE}.HeatmapService/Watch": _STREAM,
    f"/{_PACKAGE}.HeatmapService/GetSnapshot": _READ,
    f"/{_PACKAGE}.HeatmapService/ListSymbols": _READ,
    f"/{_PACKAGE}.HeatmapService/ListVenues": _READ,
    f"/{_PACKAGE}.EventService/WatchEvents": _STREAM,
    f"/{_PACKAGE}.EventService/ListEvents": _READ,
    f"/{_PACKAGE}.ScorecardService/GetScorecard": _READ,
    f"/{_PACKAGE}.MarginService/GetLiquidationPrice": _READ,
    f"/{_PACKAGE}.CascadeService/Simulate": Method("simulate", "", _simulate_cost, _has_paths),
    # Scan asks for its deadline itself, and refuses what would not be done by then
    f"/{_PACKAGE}.ScanService/Scan": Method("simulate", "scan", _scan_cost, _always),
    f"/{_PACKAGE}.WhatIfService/WhatIf": Method("simulate", "", _whatif_cost, _always),
    f"/{_PACKAGE}.PositionsService/SetPositions": Method("ingest"),
    f"/{_PACKAGE}.PositionsService/ListPositions": Method("ingest"),
    f"/{_PACKAGE}.PositionsService/ClearPositions": Method("ingest"),
    f"/{_PACKAGE}.StatusService/GetServerStatus": Method("admin"),
    # whoever starts and stops the server asks for its health without a secret
    "/grpc.health.v1.Health/Check": Method("open"),
    "/grpc.health.v1.Health/List": Method("open"),
    "/grpc.health.v1.Health/Watch": Method("open"),
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Method("read"),
}
#: a method that nobody entered above is for those who may do anything
UNLISTED = Method("admin")
