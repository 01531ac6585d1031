"""Scorecards as values and as tables."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pandas as pd
import pytest

from forcedmove.v1 import scorecard_pb2
from forcedmove_client import Estimate, MarketScore, Scorecard, ServerError
from forcedmove_client.scorecard import scorecard_of
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.scorecard import response_of
from tests.unit.scorecard_sample import full_summary, market_row, young_summary


@pytest.fixture
def message() -> scorecard_pb2.GetScorecardResponse:
    return response_of(full_summary(), [market_row(), market_row("okx", "ETH", 1, "naive")], Limits())


@pytest.fixture
def card(message: scorecard_pb2.GetScorecardResponse) -> Scorecard:
    return scorecard_of(message)


def test_a_table_of_figures(card: Scorecard) -> None:
    table = card.to_pandas()
    assert list(table.columns) == [
        "map",
        "measure",
        "unit",
        "horizon_s",
        *(f.name for f in dataclasses.fields(Estimate)),
    ]
    assert len(table) == len(card.figures)
    chosen = table[(table["map"] == "ours") & (table["horizon_s"] == 3600) & (table["measure"] == "released.rank")]
    (row,) = chosen.to_dict("records")
    found = card.figure("released.rank", "ours", 3600.0)
    assert found is not None
    assert (row["value"], row["low"], row["n"], row["unit"]) == (found.value, found.low, found.n, "correlation")
    assert isinstance(table["measure"].dtype, pd.CategoricalDtype)
    assert (table["n"].dtype, table["value"].dtype) == (np.int64, np.float64)
    assert table.loc[table["measure"] == "coverage.share", "horizon_s"].isna().all()


def test_a_table_of_rows(card: Scorecard) -> None:
    table = card.to_pandas("rows")
    assert list(table.columns) == [field.name for field in dataclasses.fields(MarketScore)]
    assert table["side"].to_list() == ["long", "short"]
    assert table["captured_share"].isna().all()
    assert table["capture_ratio"].to_list() == [0.875, 0.875]


@pytest.mark.parametrize("table", ["figures", "rows"])
def test_arrow_has_the_same_and_nulls(card: Scorecard, table: str) -> None:
    arrow, frame = card.to_arrow(table), card.to_pandas(table)  # type: ignore[arg-type]
    assert arrow.column_names == list(frame.columns)
    for name in arrow.column_names:
        column = frame[name].astype(object)
        assert arrow[name].to_pylist() == column.where(column.notna(), None).to_list()


def test_tables_without_figures_or_rows() -> None:
    card = dataclasses.replace(scorecard_of(response_of(young_summary(), (), Limits())), figures=())
    for table in ("figures", "rows"):
        frame, arrow = card.to_pandas(table), card.to_arrow(table)  # type: ignore[arg-type]
        assert len(frame) == arrow.num_rows == 0
        assert list(frame.columns) == arrow.column_names


def test_another_table_is_refused(card: Scorecard) -> None:
    for method in (card.to_pandas, card.to_arrow):
        with pytest.raises(ValueError, match="table = 'bins': must be figures or rows"):
            method("bins")  # type: ignore[arg-type]


@pytest.mark.parametrize(("method", "package"), [("to_pandas", "pandas"), ("to_arrow", "pyarrow")])
def test_a_missing_package_is_named(
    card: Scorecard, monkeypatch: pytest.MonkeyPatch, method: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"{method}\(\) needs {package}: pip install {package}"):
        getattr(card, method)()


def test_a_newer_server(message: scorecard_pb2.GetScorecardResponse) -> None:
    """Measures may grow, so one of a new unit is no reason to refuse the others; what a figure rests on may not."""
    message.figures.add(measure="novel.thing", unit=99)  # type: ignore[arg-type]
    assert scorecard_of(message).figures[-1].unit == "unknown"
    message.headline.bits_from = 99  # type: ignore[assignment]
    with pytest.raises(ServerError, match="bits_from = 99: not known to this client"):
        scorecard_of(message)
