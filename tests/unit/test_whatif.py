"""What-if on the acceptance scenario's map and book, its numbers worked out by hand."""

from __future__ import annotations

import dataclasses
import math
from datetime import date

import numpy as np
import pytest

from forcedmove_kernels.backend import select_backend
from forcedmove_server.engine.cascade.forecast import GivenBook
from forcedmove_server.engine.maps import SymbolState
from forcedmove_server.engine.whatif import WhatIf, WhatIfQuestion, what_if
from forcedmove_server.errors import InputError
from forcedmove_server.margin.ladder_book import shipped_book
from forcedmove_server.margin.question import Question, answer
from tests.unit.cascade_states import LAW, state_of

CPU = select_backend("cpu", 1)[0]
BOOK, TODAY = shipped_book(), date(2026, 10, 1)
MARK, FIRST_BIN, CELLS = 97_500.0, 1_890, 102
LIQUIDATIONS = {
    96_800: (18e6, ("binance", "bybit")),
    96_200: (31e6, ("hyperliquid", "okx")),
    95_600: (14e6, ("bitget", "gate")),
}
BIDS = ((96_800.0, 3e6), (96_500.0, 7e6), (96_200.0, 15e6), (95_900.0, 18e6), (95_600.0, 40e6))
LONG = Question(side="long", entry=97_500.0, venue="binance", symbol="BTC", quantity=2.0, leverage=50.0, mmr=0.004)
#: E (1 - 1/L) / (1 - mmr)
LEVEL = 97_500 * 0.98 / 0.996


def cell(price: float) -> int:
    return int(price // 50) - FIRST_BIN + 1


def acceptance() -> SymbolState:
    venues: dict[str, np.ndarray] = {}
    for price, (usd, names) in LIQUIDATIONS.items():
        for name in names:
            cents = venues.setdefault(name, np.zeros((2, CELLS), np.uint64))
            cents[0, cell(price)] += np.uint64(usd * 100 / len(names))
    visible = np.zeros((2, CELLS))
    for price, usd in BIDS:
        visible[0, cell(price)] = usd
    law = dataclasses.replace(LAW, volume_day_usd=0.0, withdrawal_fraction=math.inf)
    profile: np.ndarray = np.stack(list(venues.values())).sum(axis=0, dtype=np.uint64)
    return state_of(profile, visible, MARK, FIRST_BIN, law, venues)


def asked(position: Question = LONG, **more: object) -> WhatIf:
    question = WhatIfQuestion(position, **more)  # type: ignore[arg-type]
    return what_if(CPU, acceptance(), question, answer(position, BOOK, TODAY), BOOK, TODAY, 90)


def touch(price: float, hours: float) -> float:
    return math.erfc(abs(math.log(price / MARK)) / (LAW.sigma_day * math.sqrt(hours / 24)) / math.sqrt(2))


def test_the_level_the_smallest_shock_and_its_chain() -> None:
    found = asked()
    assert found.outlook.level_usd == pytest.approx(LEVEL, rel=1e-12)
    assert 95_900 < LEVEL < 95_950
    assert found.outlook.distance == pytest.approx(LEVEL / MARK - 1, rel=1e-12)
    # nothing fires above 96 800; what fires there ends at 95 600
    assert found.outlook.shock == pytest.approx(96_800 / MARK - 1, rel=1e-12)
    chain = found.nearest
    assert chain is not None
    assert [level.trigger_price_usd for level in chain.levels] == [96_800, 96_200, 95_600]
    assert (chain.total_usd, chain.terminal_price_usd) == (63e6, 95_600.0)
    assert chain.amplification == pytest.approx(19 / 7)


def test_chances_lie_between_those_of_the_level_and_of_the_way_to_it() -> None:
    hour, day = asked().outlook.touches
    assert (hour.horizon_s, day.horizon_s) == (3_600.0, 86_400.0)
    for found, hours in ((hour, 1.0), (day, 24.0)):
        assert found.alone == pytest.approx(touch(LEVEL, hours), rel=1e-9)
        # 18M meet 25M of bids, so that half as much depth, or twice as much that fires, is needed to go on or to stop
        assert found.alone < found.with_cascade < touch(97_450, hours)
    assert day.with_cascade > touch(96_200, 24.0)
    (week,) = asked(horizons_s=(7 * 86_400.0,)).outlook.touches
    assert week.alone == pytest.approx(touch(LEVEL, 168.0), rel=1e-9)


def test_a_shock_of_ones_own() -> None:
    near, far = asked(shock_usd=96_850.0), asked(shock_usd=96_700.0)
    assert near.shock is not None
    assert far.shock is not None
    assert (near.shock.total_usd, near.shock_reaches) == (0.0, False)
    assert (far.shock.terminal_price_usd, far.shock_reaches) == (95_600.0, True)
    assert asked(shock_usd=98_000.0).shock_reaches is False
    with pytest.raises(InputError, match="price_usd"):
        asked(shock_usd=10.0)


def test_a_book_of_ones_own() -> None:
    wall = GivenBook(bids=((96_800.0, 1e9),), asks=())
    held = asked(book=wall, shock_usd=96_800.0)
    assert held.shock is not None
    assert (held.shock.terminal_price_usd, held.shock_reaches) == (96_800.0, False)
    assert held.outlook.shock == pytest.approx(96_750 / MARK - 1)  # a shock through the wall leaves it behind
    empty = asked(book=GivenBook(bids=((96_850.0, 1.0),), asks=()), book_ends=True)
    assert empty.outlook.shock == pytest.approx(96_800 / MARK - 1)
    assert empty.nearest is not None
    assert empty.nearest.beyond_window
    assert {one.name for one in empty.assumptions} >= {"given_book", "book_ends", "own_position"}
    with pytest.raises(InputError, match="other side of the mark"):
        asked(book=GivenBook(bids=((98_000.0, 1.0),), asks=()))


def test_tables_of_leverage_and_margin() -> None:
    found = asked(leverages=(10.0, 20.0, 50.0, 200.0), added_margins=(100.0, 1_000.0))
    ten, twenty, fifty, refused = found.by_leverage
    assert ten.outlook is not None
    assert ten.outlook.level_usd == pytest.approx(97_500 * 0.9 / 0.996)
    assert ten.outlook.shock is None  # below the window
    assert twenty.outlook is not None
    assert fifty.outlook == found.outlook
    assert refused.outlook is None
    assert "leverage = 200" in refused.refused
    for row, added in zip(found.by_added_margin, (100.0, 1_000.0), strict=True):
        assert row.outlook is not None
        # the margin of two coins grows by what is added
        assert row.outlook.level_usd == pytest.approx((97_500 * 0.98 - added / 2) / 0.996)
        assert row.outlook.touches[1].alone < found.outlook.touches[1].alone
    usual = asked()
    assert [row.value for row in usual.by_leverage] == [2, 3, 5, 10, 20, 50, 100]
    assert [row.value for row in usual.by_added_margin] == pytest.approx([390, 975, 1_950, 3_900])


def test_margin_and_cross_positions() -> None:
    isolated = dataclasses.replace(LONG, leverage=None, margin=3_900.0)
    found = asked(isolated, added_margins=(1_000.0,))
    assert found.outlook.level_usd == pytest.approx(LEVEL)
    assert [row.value for row in found.by_leverage] == [2, 3, 5, 10, 20, 50, 100]
    (row,) = found.by_added_margin
    assert row.outlook is not None
    assert row.outlook.level_usd == pytest.approx((97_500 * 0.98 - 500) / 0.996)
    cross = dataclasses.replace(LONG, leverage=None, balance=3_900.0)
    held = asked(cross)
    assert held.outlook.level_usd == pytest.approx(LEVEL)
    assert held.by_leverage == ()
    assert [row.value for row in held.by_added_margin] == pytest.approx([390, 975, 1_950, 3_900])
    with pytest.raises(InputError, match="leverages"):
        asked(cross, leverages=(5.0,))


def test_shorts_crossed_levels_and_positions_that_nothing_liquidates() -> None:
    short = dataclasses.replace(LONG, side="short", leverage=60.0)
    up = asked(short)
    assert up.outlook.level_usd == pytest.approx(97_500 * (1 + 1 / 60) / 1.004)
    assert up.outlook.distance == up.outlook.shock  # no short fires
    assert up.outlook.distance is not None
    assert up.outlook.distance > 0
    crossed = asked(dataclasses.replace(LONG, entry=100_000.0))  # liquidated at 98 394
    assert (crossed.outlook.distance, crossed.outlook.shock, crossed.nearest) == (0.0, 0.0, None)
    assert {touch.with_cascade for touch in crossed.outlook.touches} == {1.0}
    unlevered = asked(dataclasses.replace(LONG, leverage=1.0, mmr=0.0))
    assert unlevered.outlook.level_usd is None
    assert unlevered.outlook.shock is None
    assert {touch.with_cascade for touch in unlevered.outlook.touches} == {0.0}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"horizons_s": (0.0,)}, "horizons_s = 0.0"),
        ({"horizons_s": (1e9,)}, "horizons_s"),
        ({"leverages": (math.nan,)}, "leverages = nan"),
        ({"added_margins": (math.inf,)}, "added_margins = inf"),
        ({"leverages": (2.0,) * 33}, "leverages = 33"),
        ({"position": dataclasses.replace(LONG, quantity=None)}, "position.quantity"),
    ],
)
def test_what_cannot_be_told(more: dict[str, object], told: str) -> None:
    with pytest.raises(InputError, match=told):
        WhatIfQuestion(**({"position": LONG} | more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("horizons_s", 4e7, "must be a finite number above 0, at most 31,622,400 s (366 days)"),
        ("horizons_s", 0.0, "must be a finite number above 0, at most 31,622,400 s (366 days)"),
        ("leverages", -1.0, "must be a finite number above 0"),
        ("added_margins", math.inf, "must be a finite number above 0"),
        ("added_margins", math.nan, "must be a finite number above 0"),
    ],
)
def test_a_number_that_cannot_be_is_refused_in_its_own_words(name: str, value: float, reason: str) -> None:
    with pytest.raises(InputError) as told:
        WhatIfQuestion(LONG, **{name: (value,)})  # type: ignore[arg-type]
    assert str(told.value) == f"{name} = {value!r}: {reason}"
