"""One position, exactly: cross accounts, statements that replace a venue's numbers, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from forcedmove_server.errors import InputError
from forcedmove_server.margin.equations import LONG, SHORT
from forcedmove_server.margin.facts import Confidence
from forcedmove_server.margin.ladder_book import shipped_book
from forcedmove_server.margin.position import Account, OtherPosition, Override, Status, liquidation_of
from forcedmove_server.margin.question import Question, answer
from forcedmove_server.margin.rules import rule_for
from tests.unit.margin_markets import market
from tests.unit.margin_questions import TODAY, ask, price_of

ETH = {"side": LONG, "entry": 1456.84, "quantity": 3683.979}
ETH_TIER, BTC_TIER = Override(0.1, 135_365.0), Override(0.025, 16_300.0)


def test_binance_faq_cross_account() -> None:
    """FAQ b3c689c1: two longs share a wallet of 1 535 443.01."""
    rule = rule_for(market("binance"))
    wallet = 1_535_443.01
    bitcoin = OtherPosition(109.488, 32_481.98, 31_967.27, 0.025, 16_300.0)
    ether = OtherPosition(3683.979, 1456.84, 1335.18, 0.1, 135_365.0)
    found = liquidation_of(rule, **ETH, account=Account(wallet, [bitcoin]), override=ETH_TIER)
    assert found.liquidation_price == pytest.approx(1153.26, rel=1e-5)
    other = liquidation_of(
        rule, side=LONG, entry=32_481.98, quantity=109.488, account=Account(wallet, [ether]), override=BTC_TIER
    )
    assert other.liquidation_price == pytest.approx(26_316.89, rel=1e-6)
    # Alone with the wallet it is the isolated figure.
    assert liquidation_of(rule, **ETH, account=Account(wallet), override=ETH_TIER).liquidation_price == pytest.approx(
        1114.78, rel=1e-5
    )


def test_dydx_examples() -> None:
    """dYdX docs: short 3 ETH at 3 000 with equity 1 000; short 1.5 ETH beside 1 000 STRK at 1.75."""
    rule = rule_for(market("dydx", "ETH"))
    alone = liquidation_of(rule, side=SHORT, entry=3_000, quantity=3, account=Account(1_000.0), override=Override(0.05))
    assert alone.liquidation_price == pytest.approx(3174.60, abs=0.005)
    strk = OtherPosition(1_000, 1.75, 1.75, 0.1)
    both = liquidation_of(
        rule, side=SHORT, entry=3_000, quantity=1.5, account=Account(1_000.0, [strk]), override=Override(0.05)
    )
    assert both.liquidation_price == pytest.approx(3380.95, abs=0.005)


def test_bybit_example_with_added_margin() -> None:
    """Bybit help: long 1 BTC at 40 000, 50x, 3 000 added, 0.5 %: the added margin is discounted by the taker fee."""
    rule = rule_for(market("bybit"))
    found = liquidation_of(
        rule, side=LONG, entry=40_000, quantity=1, leverage=50, extra_margin=3_000, override=Override(0.005)
    )
    assert found.liquidation_price == pytest.approx(36_380.25, abs=0.005)
    with pytest.raises(InputError, match="extra_margin"):
        liquidation_of(rule, side=LONG, entry=40_000, quantity=1, margin=800, extra_margin=3_000)


def test_hyperliquid_example() -> None:
    """Hyperliquid docs, a printed account state: 0.0335 ETH long at 2986.3 with 4.967826 left of margin at the mark."""
    rule = rule_for(market("hyperliquid", "ETH", max_leverage=50))
    margin = 2986.3 * 0.0335 - 95.059824
    found = liquidation_of(rule, side=LONG, entry=2986.3, quantity=0.0335, margin=margin)
    assert found.liquidation_price == pytest.approx(2866.26936529, rel=1e-8)


def test_other_positions() -> None:
    short = OtherPosition(-2.0, 100.0, 90.0, 0.01)
    assert (short.unrealised, short.maintenance) == (20.0, pytest.approx(1.8))
    inverse = OtherPosition(-1_000.0, 20_000.0, 25_000.0, 0.01, inverse=True)
    assert inverse.unrealised == pytest.approx(-1_000 * (1 / 20_000 - 1 / 25_000))
    assert inverse.maintenance == pytest.approx(1_000 / 25_000 * 0.01)
    account = Account(10.0, [short])
    assert (account.equity, account.available) == (30.0, pytest.approx(28.2))
    for field, value in (("quantity", 0.0), ("entry", -1.0), ("mark", float("nan")), ("maintenance_rate", 2.0)):
        good = {"quantity": 1.0, "entry": 1.0, "mark": 1.0}
        with pytest.raises(InputError, match=field):
            OtherPosition(**(good | {field: value}))
    with pytest.raises(InputError, match="balance"):
        Account(float("inf"))


def test_statuses() -> None:
    rule = rule_for(market("binance"))
    rich = liquidation_of(rule, side=LONG, entry=100.0, quantity=1.0, account=Account(1_000.0))
    assert (rich.status, rich.liquidation_price, rich.bankruptcy_price) == (Status.NEVER, None, None)
    broke = liquidation_of(rule, side=LONG, entry=100.0, quantity=1.0, account=Account(-50.0))
    assert broke.status is Status.AT_ONCE
    assert broke.bankruptcy_price == 100.0
    assert broke.liquidation_price == 100.0
    # However deep under water, and whatever the formula: at once, never "never".
    for venue, kind in (
        ("binance", False),
        ("okx", False),
        ("xt", False),
        ("backpack", False),
        ("bybit", True),
        ("deribit", True),
    ):
        for side in (LONG, SHORT):
            for balance in (-1e-9, -40.0, -60_000.0):
                drowned = liquidation_of(
                    rule_for(market(venue, inverse=kind)),
                    side=side,
                    entry=50_000.0,
                    quantity=1.0,
                    account=Account(balance),
                )
                assert drowned.status is Status.AT_ONCE, (venue, side, balance)
                assert drowned.bankruptcy_price == drowned.liquidation_price == 50_000.0
    inverse = rule_for(market("bybit", inverse=True))
    covered = liquidation_of(inverse, side=SHORT, entry=100.0, quantity=1_000.0, leverage=1.0)
    assert (covered.status, covered.liquidation_price) == (Status.NEVER, None)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"venue": "binance", "leverage": 151.0}, r"leverage = 151.*at most 150"),
        ({"venue": "binance", "leverage": 125.0, "quantity": 10.0}, r"leverage = 125\.0.*up to a quantity of 3\.06"),
        ({"venue": "hyperliquid", "leverage": 41.0}, r"leverage = 41.*at most 40"),
        ({"venue": "binance", "leverage": 0.5}, r"leverage = 0\.5"),
        ({"venue": "binance", "quantity": 0.0}, r"quantity = 0\.0.*above 0"),
        ({"venue": "binance", "quantity": float("nan")}, "quantity = nan"),
        ({"venue": "binance", "entry": -1.0}, r"entry = -1\.0"),
        ({"venue": "binance", "margin": 30.0}, r"margin = 30\.0.*not above the maintenance margin of 39\.2"),
        ({"venue": "binance", "margin": -1.0}, r"margin = -1\.0"),
        ({"venue": "binance", "contract_size": 0.0}, "contract_size = 0"),
        ({"venue": "binance", "side": "up"}, "side = 'up'"),
        ({"venue": "binance", "mmr": 1.5}, "mmr = 1.5"),
        ({"venue": "binance", "mmr": 0.2}, r"leverage = 20\.0.*not above the maintenance margin"),
        ({"venue": "binance", "mmr": 0.01, "maint_amount": -1.0}, "maint_amount = -1"),
        ({"venue": "binance", "maint_amount": 5.0}, "maint_amount = 5.0: needs the maintenance rate"),
        ({"venue": "binance", "mmr": 0.01, "fee": 0.5}, "fee = 0.5"),
        ({"venue": "binance", "mmr": 0.01, "maint_amount": 99.0}, r"maint_amount = 99\.0: is more than the 98 "),
        ({"venue": "binance", "max_leverage": 0.5}, "max_leverage = 0.5"),
        (
            {"venue": "deribit", "symbol": "BTC-PERPETUAL", "quantity": 1e5, "margin": 1e-4},
            r"margin = 0\.0001.*not above",
        ),
        ({"venue": "binance", "mmr": 0.01, "quantity": None, "maint_amount": 5.0}, "quantity = None"),
        ({"venue": "binance", "mmr": 0.01, "quantity": None, "margin": 5.0}, "quantity = None"),
        ({"venue": "binance", "formula": "I1"}, "formula = 'I1'"),
        ({"mmr": None}, "mmr = None"),
    ],
)
def test_bad_input_names_the_field_and_the_limit(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        ask(**fields)


def test_contracts_are_counted_by_their_size() -> None:
    assert price_of(venue="okx", quantity=1_000.0, contract_size=0.01) == price_of(venue="okx", quantity=10.0)


def test_a_statement_replaces_the_venues_numbers() -> None:
    entry, leverage = 98_000.0, 20.0
    assert price_of(venue="gate", mmr=0.004, fee=0.0) == pytest.approx(entry * (1 - 1 / leverage) / (1 - 0.004))
    with_fee = entry * (1 - 1 / leverage) / (1 - 0.004 - 0.00075)
    assert price_of(venue="gate", mmr=0.004) == pytest.approx(with_fee)
    # A fee on a venue that counts none is counted all the same, and the formula says so.
    counted = ask(venue="binance", mmr=0.004, fee=0.0005)
    assert counted.formula == "L1+fee"
    assert counted.liquidation.liquidation_price == pytest.approx(entry * 0.95 / (1 - 0.0045))
    assert ask(venue="xt", mmr=0.004, fee=0.0005).formula == "L4+fee"
    assert price_of(venue="bybit", mmr=0.01, formula="L4") == pytest.approx(entry * (1 - 1 / leverage + 0.01))
    # The market's own limit may be stated too.
    assert price_of(venue="bybit", mmr=0.001, leverage=150.0, max_leverage=200.0) is not None


def test_confidence_is_that_of_the_weakest_fact_used() -> None:
    assert ask(venue="binance").confidence is Confidence.REC
    assert ask(venue="binance", mmr=0.01).confidence is Confidence.DOC
    assert ask(venue="okx", mmr=0.01).confidence is Confidence.CODE
    assert ask(venue="kucoinfutures", mmr=0.01).confidence is Confidence.MEM
    assert ask(venue="kucoinfutures", mmr=0.01, fee=0.0006).confidence is Confidence.DOC
    assert ask(venue="bitfinex", mmr=0.01).confidence is Confidence.ASSUMED
    stale = ask(venue="kucoinfutures")
    assert stale.tiers_stale
    assert "about 2024-10" in stale.tiers
    assert not ask(venue="binance").tiers_stale


def test_without_a_quantity_a_typical_position_stands_for_it() -> None:
    assert price_of(venue="binance", quantity=None) == price_of(venue="binance", quantity=20_000 / 98_000)


def test_a_leg_is_of_the_positions_kind_unless_it_says_otherwise() -> None:
    """1 000 USD of ETH, entry 3 000, mark 2 900: in coin on a coin-margined account, in dollars on the other."""
    leg = OtherPosition(1_000.0, 3_000.0, 2_900.0, 0.01)
    coin = {"venue": "binance", "symbol": "BTC/USD:BTC", "entry": 50_000.0, "quantity": 50_000.0, "balance": 0.1}
    found = ask(**coin, others=(leg,))
    same = Account(0.1, [OtherPosition(1_000.0, 3_000.0, 2_900.0, 0.01, inverse=True)])
    expected = liquidation_of(
        rule_for(market("binance", inverse=True)), side=LONG, entry=50_000.0, quantity=50_000.0, account=same
    )
    assert found.liquidation.liquidation_price == expected.liquidation_price


def test_what_is_out_of_the_ordinary_is_noted() -> None:
    """A margin that implies more leverage than the venue allows; a cross account whose ladder is another one's."""
    thin = ask(venue="binance", quantity=1.0, margin=401.0)
    assert any("244.4x is above the 150x" in note for note in thin.notes)
    assert any("isolated ladder stands in" in note for note in ask(venue="kucoinfutures", balance=9_000.0).notes)
    assert not any("stands in" in note for note in ask(venue="kucoinfutures").notes)
    # What is official is not called unconfirmed because of its fee.
    (note,) = ask(venue="kucoinfutures").notes
    assert note.startswith("kucoinfutures: fee of 0.060% in the trigger not officially confirmed")


def test_the_venues_own_formula_by_name_keeps_its_source() -> None:
    own, named = ask(venue="binance"), ask(venue="binance", formula="L1")
    assert (named.source, named.confidence) == (own.source, own.confidence)
    gate = ask(venue="gate", mmr=0.004, formula="L2")
    assert (gate.formula, gate.confidence) == ("L2", Confidence.REC)
    assert ask(venue="gate", mmr=0.004, formula="L4").confidence is Confidence.DERIVED


def test_a_stated_limit_replaces_the_ladders_too() -> None:
    assert price_of(venue="binance", leverage=180.0, max_leverage=200.0) is not None
    with pytest.raises(InputError, match=r"leverage = 180.*at most 175"):
        ask(venue="binance", leverage=180.0, max_leverage=175.0)


def test_the_typical_position_is_no_larger_than_the_venue_allows() -> None:
    """Deribit offers 50x to the smallest positions only."""
    assert price_of(venue="deribit", symbol="BTC-PERPETUAL", quantity=None, leverage=50.0) is not None


def test_what_counts_as_old_is_configured() -> None:
    question = Question(side="long", entry=98_000.0, venue="binance", leverage=20.0)
    assert answer(question, shipped_book(), TODAY, 10).tiers_stale
    assert "(stale)" in answer(question, shipped_book(), TODAY, 10).tiers
    assert not answer(question, shipped_book(), TODAY, 3_000).tiers_stale


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("field", ["entry", "quantity", "margin", "balance", "extra_margin"])
def test_numbers_beyond_sense_are_refused_without_an_overflow(field: str) -> None:
    with pytest.raises(InputError, match=field):
        ask(venue="binance", mmr=0.01, **{field: 1e300})
