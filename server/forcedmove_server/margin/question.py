"""A question about one position as a person or a program asks it, and its answer; for the command line and the RPC."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date

from forcedmove_server.errors import InputError, UnknownNameError
from forcedmove_server.margin.equations import FORMULAS, LONG, SHORT, Formula, checked
from forcedmove_server.margin.facts import Confidence, weakest
from forcedmove_server.margin.ladder_book import Found, LadderBook
from forcedmove_server.margin.margin_rule import MarginRule
from forcedmove_server.margin.names import contract_meant, market_named
from forcedmove_server.margin.position import Account, Liquidation, OtherPosition, Override, liquidation_of
from forcedmove_server.margin.provenance import STALE_AFTER_DAYS, UNDATED
from forcedmove_server.margin.rules import rule_for, rule_with
from forcedmove_server.margin.tiers import StatedMaintenance
from forcedmove_server.margin.venue import Venue
from forcedmove_server.margin.venues import VENUES, venue_named
from forcedmove_server.market.instruments import ContractType

SIDES: Mapping[str, int] = {"long": LONG, "short": SHORT}
#: value of the position where no quantity is given
TYPICAL_USD = 20_000.0
#: no price, quantity or amount is larger
MOST = 1e18
#: prices, quantities and contract sizes at least: the reciprocal of a smaller one soon is no number any more
LEAST = 1e-18


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked. ``quantity`` counts contracts of ``contract_size`` base units (linear) or USD (inverse).

    Without a ``venue`` the rule is by hand and needs ``mmr``. ``mmr``, ``maint_amount`` and ``fee`` replace the venue's
    ladder and fee, ``formula`` its formula; with ``mmr`` no symbol is needed. ``leverage``, ``margin`` or ``balance``
    (cross) say what the position can lose. ``max_leverage`` replaces the limit that ``leverage`` is checked against.
    """

    side: str
    entry: float
    venue: str | None = None
    symbol: str = "BTC"
    contract: ContractType | None = None
    quantity: float | None = None
    contract_size: float = 1.0
    leverage: float | None = None
    margin: float | None = None
    extra_margin: float = 0.0
    balance: float | None = None
    others: tuple[OtherPosition, ...] = ()
    mmr: float | None = None
    maint_amount: float | None = None
    fee: float | None = None
    formula: str | None = None
    max_leverage: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """Where the position is liquidated, and the words that go with it."""

    liquidation: Liquidation
    formula: str
    formula_text: str
    source: str
    confidence: Confidence
    trigger: str
    tiers: str
    tiers_stale: bool
    process: str
    cooldown_s: float
    notes: tuple[str, ...]


def answer(question: Question, book: LadderBook, today: date, stale_after_days: int = STALE_AFTER_DAYS) -> Answer:
    """Answer one question, with ladders from ``book`` whose age counts from ``today``.

    Raises InputError, InstrumentError or UnknownNameError naming field, value and limit."""
    if question.side not in SIDES:
        raise InputError("side", question.side, "must be 'long' or 'short'")
    entry = question.entry
    _counted("entry", entry)
    for name in ("quantity", "margin", "balance", "extra_margin", "maint_amount"):
        if getattr(question, name) is not None:
            checked(name, getattr(question, name), -MOST, MOST)
    _counted("contract_size", question.contract_size)
    if question.max_leverage is not None:
        checked("max_leverage", question.max_leverage, 1.0, MOST)
    if question.quantity is not None:
        _counted("quantity", question.quantity)
    venue = None if question.venue is None else _venue(question.venue)
    rule = _rule(question, venue, book)
    liquidation = liquidation_of(
        rule,
        side=SIDES[question.side],
        entry=entry,
        quantity=_quantity(question, rule),
        leverage=question.leverage,
        margin=question.margin,
        extra_margin=question.extra_margin,
        account=_account(question, rule),
        override=Override(question.mmr, question.maint_amount, question.fee),
    )
    used, stated = liquidation.rule, question.mmr is not None
    return Answer(
        liquidation=liquidation,
        formula=used.formula.name,
        formula_text=used.formula.text,
        source=rule.source,
        confidence=_confidence(question, venue, rule),
        trigger=str(rule.trigger),
        tiers="stated in the question" if stated else rule.provenance.describe(today, stale_after_days),
        tiers_stale=not stated and rule.provenance.stale(today, stale_after_days),
        process=rule.process.text,
        cooldown_s=rule.process.cooldown_s,
        notes=tuple(_notes(question, venue, rule, liquidation)),
    )


def _counted(name: str, value: float) -> None:
    checked(name, value, 0.0, MOST, open_low=True)
    checked(name, value, LEAST)


def _venue(name: str) -> Venue:
    venue = venue_named(name.strip().lower())
    if venue is None:
        raise UnknownNameError("venue", name, [venue.name for venue in VENUES])
    return venue


def _rule(question: Question, venue: Venue | None, book: LadderBook) -> MarginRule:
    """The venue's rule for the market, or one by hand; with the formula that the question states, if any."""
    if venue is None:
        if question.mmr is None:
            raise InputError("mmr", None, "give a maintenance rate, or a venue whose rule to use")
        formula = FORMULAS["I1" if question.contract is ContractType.INVERSE else "L1"]
        rule = MarginRule(
            formula,
            StatedMaintenance(0.0),
            provenance=UNDATED,
            confidence=Confidence.DERIVED,
            source="the equation itself",
        )
    elif question.mmr is None:
        instrument = market_named(venue, question.symbol, question.contract, book, question.max_leverage)
        rule = rule_for(instrument, book)
    else:
        rule = _rule_without_ladder(question, venue)
    if question.formula is not None:
        rule = _with_formula(rule, question.formula)
    return rule if question.max_leverage is None else replace(rule, stated_limit=question.max_leverage)


def _rule_without_ladder(question: Question, venue: Venue) -> MarginRule:
    """The venue's rule where the rate is stated: the symbol need not be known, it only says the kind of contract."""
    rules = venue.rules_of(contract_meant(venue, question.symbol, question.contract))
    assert rules is not None  # contract_meant refuses what the venue does not list
    return rule_with(venue, rules, Found(StatedMaintenance(0.0), UNDATED))


def _with_formula(rule: MarginRule, name: str) -> MarginRule:
    formula = FORMULAS.get(name)
    if formula is None:
        raise UnknownNameError("formula", name, list(FORMULAS))
    if formula.inverse != rule.formula.inverse:
        kind = "inverse" if formula.inverse else "linear"
        raise InputError("formula", name, f"is for {kind} contracts")
    if _same(formula, rule.formula):
        return replace(rule, formula=formula)
    return replace(
        rule,
        formula=formula,
        fee_rate=rule.fee_rate if formula.counts_fee else 0.0,
        source=f"formula {name} as stated in the question",
        confidence=Confidence.DERIVED,
    )


def _same(one: Formula, other: Formula) -> bool:
    """Whether two formulas are one under two names."""
    return replace(one, name="") == replace(other, name="")


def _quantity(question: Question, rule: MarginRule) -> float:
    if question.quantity is not None:
        return question.quantity * question.contract_size
    if question.maint_amount:
        raise InputError("quantity", None, "is needed with maint_amount")
    if question.margin is not None or question.balance is not None or question.extra_margin:
        raise InputError("quantity", None, "is needed with a margin or a balance")
    typical = TYPICAL_USD if rule.formula.inverse else TYPICAL_USD / question.entry
    if question.leverage is None or question.mmr is not None or not 1 <= question.leverage <= rule.leverage_limit:
        return typical
    # A venue may allow its highest leverages to smaller positions only.
    return min(typical, float(rule.largest_quantity(question.leverage, question.entry)))


def _account(question: Question, rule: MarginRule) -> Account | None:
    if question.balance is None:
        if question.others:
            raise InputError("balance", None, "other positions need the balance they share")
        return None
    for other in question.others:
        _counted("other_positions.quantity", abs(other.quantity))
        _counted("other_positions.entry", other.entry)
        _counted("other_positions.mark", other.mark)
        checked("other_positions.maintenance_amount", other.maintenance_amount, 0.0, MOST)
    inverse = rule.formula.inverse
    others = [replace(leg, inverse=inverse) if leg.inverse is None else leg for leg in question.others]
    return Account(question.balance, others)


def _confidence(question: Question, venue: Venue | None, rule: MarginRule) -> Confidence:
    """Of the formula, of the fee unless it is stated, of the ladder unless it is stated."""
    rules = None if venue is None else venue.inverse if rule.formula.inverse else venue.linear
    if rules is None or not _same(rule.formula, rules.variant):
        return Confidence.DERIVED
    facts = [rules.formula.confidence]
    if question.fee is None and rules.fee is not None:
        facts.append(rules.fee.confidence)
    if question.mmr is None:
        facts.append(rule.provenance.confidence)
    return weakest(facts)


def _notes(question: Question, venue: Venue | None, rule: MarginRule, liquidation: Liquidation) -> Iterator[str]:
    if venue is None:
        return
    yield from rule.notes
    if question.balance is not None and venue.cross_note and question.mmr is None:
        yield f"{venue.name}: {venue.cross_note}"
    if rule.leverage_limit * (1 + 1e-9) < liquidation.leverage < math.inf:
        limit = f"{rule.leverage_limit:g}x that {venue.name} allows"
        yield f"{venue.name}: its leverage of {liquidation.leverage:.4g}x is above the {limit}"
