"""Frames as values and as tables, and the names the client exports."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest

import forcedmove_client
from forcedmove_client import MapFrame

GRID = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)


@pytest.fixture
def frame() -> MapFrame:
    return MapFrame(
        symbol="BTC",
        epoch=1,
        seq=2,
        event_time=np.datetime64(0, "ns"),
        published_time=np.datetime64(0, "ns"),
        mark_price=100.0,
        bin_width=50.0,
        weighting="live",
        axes=("side", "leverage", "price"),
        venues=(),
        sides=("long", "short"),
        leverages=(5.0, 10.0, 20.0),
        price_low=np.array([0.0, 50.0, 100.0, 150.0]),
        price_high=np.array([50.0, 100.0, 150.0, np.inf]),
        grid=GRID,
        markets=(),
        coverage=1.0,
        clusters=(),
        next_down=None,
        next_up=None,
        assumptions=(),
    )


def test_public_names() -> None:
    assert forcedmove_client.__all__ == [
        "AccessDeniedError",
        "Acknowledgement",
        "Assumption",
        "AsyncClient",
        "Band",
        "BlockingEvents",
        "BlockingIngest",
        "BlockingScan",
        "BlockingSubscription",
        "BookCoverage",
        "Chain",
        "Client",
        "Cluster",
        "CopiesChecker",
        "Estimate",
        "Event",
        "EventPage",
        "EventStream",
        "EventStreamStats",
        "Feed",
        "Figure",
        "ForcedMoveClientError",
        "Forecast",
        "GatewayStatus",
        "Headline",
        "Health",
        "HeldPosition",
        "HeldPositions",
        "HistoryGoneError",
        "IngestResult",
        "IngestStats",
        "IngestStream",
        "InvalidArgumentError",
        "Invariants",
        "JournalStatus",
        "Level",
        "LimitExceededError",
        "Liquidation",
        "MapFrame",
        "MarginRule",
        "Market",
        "MarketScore",
        "OtherPosition",
        "Outcome",
        "Outlook",
        "PathForecast",
        "Position",
        "PositionDelta",
        "PositionKey",
        "PositionsAnswer",
        "Quantile",
        "QuestionCounts",
        "ReliabilityBin",
        "ScanEstimate",
        "ScanResult",
        "ScanStream",
        "ScanSummary",
        "Scorecard",
        "ScoringRules",
        "ServerError",
        "ServerStatus",
        "ShockOutcome",
        "ShortScore",
        "StageTime",
        "StreamChecker",
        "StreamStats",
        "Subscription",
        "SymbolInfo",
        "SymbolScan",
        "TakenOverError",
        "TierMultiplier",
        "TippingPoint",
        "Tls",
        "Touch",
        "UnavailableError",
        "UnknownNameError",
        "Unscored",
        "VenueForecast",
        "VenueInfo",
        "VenueOutcome",
        "WhatIf",
        "WhatIfRow",
    ]
    for name in forcedmove_client.__all__:
        exported = getattr(forcedmove_client, name)
        assert exported.__doc__
        if name.endswith("Error"):
            assert issubclass(exported, forcedmove_client.ForcedMoveClientError)


def test_select_by_label(frame: MapFrame) -> None:
    np.testing.assert_array_equal(frame.select(side="short"), GRID[1])
    np.testing.assert_array_equal(frame.select(side="long", leverage=10), GRID[0, 1])
    np.testing.assert_array_equal(frame.select(), GRID)
    with pytest.raises(ValueError, match=r"venue = 'okx': .*keep 'venue'"):
        frame.select(venue="okx")
    with pytest.raises(ValueError, match=r"leverage = 7: the frame has \(5\.0, 10\.0, 20\.0\)"):
        frame.select(leverage=7)


def test_tables_have_one_row_per_cell(frame: MapFrame) -> None:
    table = frame.to_pandas()
    assert list(table.columns) == ["symbol", "side", "leverage", "price_low", "price_high", "notional_usd"]
    assert len(table) == GRID.size
    row = table.iloc[1 * 12 + 2 * 4 + 3]
    assert row.to_list() == ["BTC", "short", 20.0, 150.0, np.inf, 23.0]
    assert isinstance(table["side"].dtype, pd.CategoricalDtype)
    sums = table.groupby(["side", "price_low"], observed=True)["notional_usd"].sum()
    assert sums["long", 50.0] == GRID[0, :, 1].sum()
    arrow = frame.to_arrow()
    assert arrow.column_names == list(table.columns)
    for name in arrow.column_names:
        assert arrow[name].to_pylist() == table[name].to_list()


@pytest.mark.parametrize(("method", "package"), [("to_pandas", "pandas"), ("to_arrow", "pyarrow")])
def test_a_missing_package_is_named(
    frame: MapFrame, monkeypatch: pytest.MonkeyPatch, method: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"{method}\(\) needs {package}: pip install {package}"):
        getattr(frame, method)()


def test_the_client_needs_no_more_than_its_dependencies() -> None:
    """Importing the client must not pull in the server, pandas or pyarrow."""
    program = (
        "import sys, forcedmove_client; "
        "print(sorted({'pandas', 'pyarrow', 'numba', 'forcedmove_server'} & sys.modules.keys()))"
    )
    paths: dict[str, Any] = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=paths)
    assert result.stdout.strip() == "[]"
