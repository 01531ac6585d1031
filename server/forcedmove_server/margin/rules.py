"""The margin rule of a market: its venue's own with its own ladder, or what stands in for either, marked as such."""

from __future__ import annotations

from forcedmove_server.margin.equations import FORMULAS
from forcedmove_server.margin.facts import Confidence, weakest
from forcedmove_server.margin.ladder_book import Found, LadderBook, shipped_book
from forcedmove_server.margin.margin_rule import MarginRule
from forcedmove_server.margin.provenance import Origin, Provenance
from forcedmove_server.margin.tiers import flat_tiers
from forcedmove_server.margin.venue import ContractRules, Venue
from forcedmove_server.margin.venues import venue_named
from forcedmove_server.market.instruments import ContractType, Instrument

__all__ = ["MarginRule", "assumed_rule", "ladder_of", "rule_for", "rule_with"]

#: rate of a stand-in at most: a market of 1x still has to be liquidatable
_MOST_ASSUMED_RATE = 0.4


def rule_for(instrument: Instrument, book: LadderBook | None = None) -> MarginRule:
    """Return the rule of a market, with ladders from ``book`` (default: the shipped ones).

    A venue that is not described gets :func:`assumed_rule`, a market without a ladder its venue's stand-in: never
    silently, both say so in ``notes`` and ``provenance``. So does a kind of contract that the venue is not known to
    list: one odd market must not end a server.
    """
    venue = venue_named(instrument.venue)
    if venue is None:
        return assumed_rule(instrument)
    contract = venue.rules_of(instrument.contract_type)
    if contract is None:
        return assumed_rule(instrument)
    return rule_with(venue, contract, ladder_of(venue, instrument, book or shipped_book()) or _half_initial(instrument))


def rule_with(venue: Venue, contract: ContractRules, ladder: Found) -> MarginRule:
    """Return a venue's rule for a kind of contract with a given ladder."""
    unconfirmed = [
        f"{venue.name}: {what} not officially confirmed ({fact.source})"
        for what, fact in contract.facts()
        if not fact.confidence.official
    ]
    return MarginRule(
        formula=contract.variant,
        maintenance=ladder.maintenance,
        fee_rate=contract.fee_rate,
        notes=(*venue.notes, *unconfirmed),
        trigger=venue.trigger.value,
        process=venue.process.value,
        provenance=ladder.provenance,
        confidence=weakest([contract.confidence, ladder.provenance.confidence]),
        source=contract.formula.source,
        max_leverage=venue.max_leverage.value,
        extra_margin_fee=venue.extra_margin_fee.value if venue.extra_margin_fee else 0.0,
    )


def ladder_of(venue: Venue, instrument: Instrument, book: LadderBook) -> Found | None:
    """Return a market's own ladder, else one by the venue's rule from its description, else the venue's stand-in.

    A shipped ladder gives way to a description that says another greatest leverage: the market has changed since.
    """
    found = book.find(venue.name, instrument)
    if found is not None:
        as_described = found.maintenance.max_leverage == instrument.max_leverage
        if found.provenance.origin is not Origin.SHIPPED or as_described:
            return found
    if venue.from_instrument is not None:
        maintenance = venue.from_instrument(instrument)
        if maintenance is not None:
            described = Provenance(Origin.INSTRUMENT, None, venue.tiers.confidence, venue.tiers.source)
            return Found(maintenance, described)
    return found or book.stand_in(venue.name, instrument.contract_type)


def assumed_rule(instrument: Instrument) -> MarginRule:
    """Return L1 or I1 with a flat maintenance of half the smallest initial margin, marked as assumed."""
    formula = FORMULAS["I1" if instrument.contract_type is ContractType.INVERSE else "L1"]
    maintenance, provenance = _half_initial(instrument)
    return MarginRule(
        formula=formula,
        maintenance=maintenance,
        notes=(
            f"{instrument.venue}: rule of {instrument.contract_type} contracts not described, assumed {formula.name}",
        ),
        provenance=provenance,
        confidence=Confidence.ASSUMED,
        source="nothing found",
    )


def _half_initial(instrument: Instrument) -> Found:
    """Half of ``1 / max_leverage``: what Hyperliquid, Kraken, Deribit and Bitfinex charge their smallest positions."""
    rate = min(0.5 / instrument.max_leverage, _MOST_ASSUMED_RATE)
    source = f"maintenance of {rate:.3%}, half of the initial margin at {instrument.max_leverage:g}x, at every size"
    return Found(
        flat_tiers([(0.0, rate, instrument.max_leverage)]),
        Provenance(Origin.STAND_IN, None, Confidence.ASSUMED, source),
    )
