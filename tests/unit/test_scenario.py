"""Hand-written scenarios: the acceptance figures, their mirror image, and files that say what is wrong with them."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forcedmove_kernels.backend import select_backend
from forcedmove_server.commands import scenario as command
from forcedmove_server.engine.chains import cell_of, chain_info, follow_shock, lower_edge
from forcedmove_server.engine.scenario import read_scenario, run_scenario

ROOT = Path(__file__).parents[2]
BACKEND, _ = select_backend("reference")

GOOD = """
symbol = "BTC"
mark = 97_500
shock_price = 96_800
[[liquidations]]
price = 96_800
side = "long"
usd = 18e6
venues = ["binance"]
[[book]]
price = 96_500
side = "bid"
usd = 30e6
"""


def run(path: Path, **given: Any) -> Namespace:
    return Namespace(**{"scenario": path, "shock": None, "price": None, "json": True} | given)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize(
    ("name", "side", "triggers", "terminal"),
    [
        ("acceptance.toml", "long", [96_800.0, 96_200.0, 95_600.0], 95_600.0),
        ("acceptance_short.toml", "short", [98_200.0, 98_800.0, 99_400.0], 99_400.0),
    ],
)
def test_acceptance_is_exact_in_both_directions(
    backend: str, name: str, side: str, triggers: list[float], terminal: float
) -> None:
    scenario, errors = read_scenario(ROOT / "examples" / name)
    assert scenario is not None
    assert errors == []
    chain = run_scenario(scenario, select_backend(backend)[0])
    assert chain.side == side
    assert [level.trigger_price_usd for level in chain.levels] == triggers
    assert [level.price_after_usd for level in chain.levels] == [triggers[1], triggers[2], triggers[2]]
    assert [level.notional_usd for level in chain.levels] == [18e6, 31e6, 14e6]
    assert [level.cumulative_usd for level in chain.levels] == [18e6, 49e6, 63e6]
    assert [level.venues for level in chain.levels] == [
        ("binance", "bybit"),
        ("hyperliquid", "okx"),
        ("bitget", "gate"),
    ]
    assert (chain.total_usd, chain.terminal_price_usd) == (63e6, terminal)
    assert chain.amplification == 1900 / 700
    assert not chain.beyond_window


def test_command_prints_the_promised_json_and_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    path = ROOT / "examples" / "acceptance.toml"
    assert command.run(run(path)) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["levels"][1] == {
        "trigger_price": 96_200.0,
        "notional_usd": 31e6,
        "venues": ["hyperliquid", "okx"],
        "cumulative_usd": 49e6,
        "price_after": 95_600.0,
    }
    assert (answer["depth"], answer["total_usd"], answer["terminal_price"]) == (3, 63e6, 95_600.0)
    assert len(answer["venues"]) == 6
    assert round(answer["amplification"], 2) == 2.71
    assert command.run(run(path, json=False)) == 0
    text = capsys.readouterr().out
    assert "3 levels, $63M of longs on 6 venues; the mark ends at 95,600: a move of 700 becomes 1,900 (2.71x)" in text


def test_another_shock_on_the_same_map(capsys: pytest.CaptureFixture[str]) -> None:
    path = ROOT / "examples" / "acceptance.toml"
    assert command.run(run(path, price=97_000.0)) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["depth"], answer["terminal_price"], answer["amplification"]) == (0, 97_000.0, 1.0)
    assert command.run(run(path, shock=-0.03, price=None)) == 0
    assert json.loads(capsys.readouterr().out)["shock_price"] == pytest.approx(94_575.0)
    assert command.run(run(path, price=-1.0)) == 2
    assert "command line: price = -1.0: must be a number" in capsys.readouterr().err


def test_a_book_that_is_used_up_gives_a_bound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "s.toml"
    path.write_text(GOOD.replace("usd = 30e6", "usd = 1e6"))
    assert command.run(run(path, json=False)) == 0
    assert "the last price is a bound, not an end" in capsys.readouterr().out


def test_a_level_reached_halfway_through_a_bin_keeps_the_shock_price(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(GOOD.replace("shock_price = 96_800", "shock_price = 96_823").replace("96_500", "96_800"))
    scenario, _ = read_scenario(path)
    assert scenario is not None
    chain = run_scenario(scenario, BACKEND)
    assert chain.terminal_price_usd == chain.levels[0].price_after_usd == 96_823.0
    assert chain.levels[0].trigger_price_usd == 96_800.0
    assert chain.amplification == 1.0


def test_venue_tables_and_odd_cents(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(GOOD.replace('usd = 18e6\nvenues = ["binance"]', "venues = { okx = 1.25, gate = 2.5 }"))
    scenario, _ = read_scenario(path)
    assert scenario is not None
    (level,) = run_scenario(scenario, BACKEND).levels
    assert (level.notional_usd, level.venues) == (3.75, ("gate", "okx"))
    path.write_text(GOOD.replace('usd = 18e6\nvenues = ["binance"]', 'usd = 100\nvenues = ["a", "b", "c"]'))
    scenario, _ = read_scenario(path)
    assert scenario is not None
    assert scenario.liquidations[0].venue_cents == {"a": 3334, "b": 3333, "c": 3333}


@pytest.mark.parametrize(
    ("old", "new", "field", "reason"),
    [
        ("mark = 97_500", "", "mark", "is missing"),
        ("mark = 97_500", "mark = -1", "mark", "must be a number (USD) above 0"),
        ("mark = 97_500", "mark = 97_500\nmarc = 1", "marc", "unknown key; did you mean 'mark'?"),
        ("shock_price = 96_800", "", "shock_price", "give either shock_price or shock_fraction"),
        ("shock_price = 96_800", "shock_price = 1\nshock_fraction = 0.1", "shock_price", "give either"),
        ("shock_price = 96_800", "shock_fraction = -1", "shock_fraction", "must be a number (share of the mark)"),
        ("shock_price = 96_800", "shock_price = 97_500", "shock_price", "must differ from the mark"),
        ("shock_price = 96_800", "shock_price = 96_800\nbin_width_usd = 1e-4", "bin_width_usd", "too narrow"),
        ('side = "long"', 'side = "Long"', "liquidations[1].side", "must be one of 'long', 'short'"),
        ('side = "long"', 'side = "short"', "liquidations[1].price", "would already be liquidated"),
        ('side = "bid"', 'side = "ask"', "book[1].price", "would already be filled"),
        ("usd = 18e6", "usd = nan", "liquidations[1].usd", "must be a number (USD)"),
        ("usd = 18e6", "", "liquidations[1].venues", "shares out usd, which is missing"),
        ('["binance"]', "[]", "liquidations[1].venues", "must be a list of venue names"),
        ('["binance"]', '["okx", "okx"]', "liquidations[1].venues", "names a venue twice"),
        ('["binance"]', "{ okx = 1 }", "liquidations[1].venues", "adds up to 1.00, but usd = 18000000.00"),
        ('["binance"]', "{ okx = true }", "liquidations[1].venues", "must be a number (USD)"),
        ("[[book]]", "[[books]]", "books", "unknown key; did you mean 'book'?"),
        ("[[liquidations]]", "[liquidations]", "liquidations", "must be at least one [[liquidations]] table"),
    ],
)
def test_bad_files_name_field_value_and_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, field: str, reason: str
) -> None:
    path = tmp_path / "s.toml"
    path.write_text(GOOD.replace(old, new))
    assert command.run(run(path)) == 2
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith(f"forcedmove: {path}: {field} = ")
    assert reason in first


def test_files_that_are_no_scenarios(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s.toml").write_text("mark = [")
    for name in ("s.toml", "none.toml", "."):
        assert command.run(run(tmp_path / name)) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


@given(
    seed=st.integers(0, 2**32 - 1),
    mark=st.integers(2, 60),
    shock=st.integers(2, 60),
    offset=st.floats(0.05, 0.95),
)
def test_chains_are_the_same_upwards_in_a_mirror(seed: int, mark: int, shock: int, offset: float) -> None:
    """Mirrored cells give mirrored chains, also for a shock inside the mark's own bin."""
    rng = np.random.default_rng(seed)
    cells, width = 64, 10.0
    notional = (rng.integers(0, 3, cells) * rng.integers(0, 50, cells)).astype(np.uint64)
    depth = rng.integers(0, 60, cells).astype(np.uint64)
    start, hit = (mark + 0.5) * width, (shock + offset) * width
    if start == hit:
        return
    mirrored = [cells * width - price for price in (start, hit)]
    straight = follow_shock(BACKEND, notional, depth, 1, width, start, hit)
    flipped = follow_shock(BACKEND, notional[::-1].copy(), depth[::-1].copy(), 1, width, *mirrored)
    assert flipped.terminal == cells - 1 - straight.terminal
    assert flipped.notional.tolist() == straight.notional.tolist()
    assert flipped.near.tolist() == (cells - 1 - straight.near).tolist()
    info = chain_info(straight, "long" if hit < start else "short", 1, width, start, hit, {"a": notional})
    assert info.total_usd == pytest.approx(float(straight.notional.sum()) / 100)
    assert info.amplification >= 1 - 1e-9 or straight.terminal in (0, cells - 1)
    assert info.beyond_window == (straight.terminal in (0, cells - 1))


def test_cells_and_edges() -> None:
    assert [cell_of(price, 100, 50.0, 12) for price in (1.0, 4_999.9, 5_000.0, 5_049.9, 5_499.0, 5_500.0, 1e12)] == [
        0, 0, 1, 1, 10, 11, 11,
    ]  # fmt: skip
    assert [lower_edge(cell, 100, 50.0) for cell in (0, 1, 11)] == [5_000.0, 5_000.0, 5_500.0]
    assert lower_edge(4, 0, 0.1) == 0.3
