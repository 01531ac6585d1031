"""docs/venues.md, made from the declarations: ``python -m forcedmove_server.margin.document > docs/venues.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from forcedmove_server.margin.equations import FORMULAS
from forcedmove_server.margin.facts import Confidence, Fact
from forcedmove_server.margin.feeds import FEEDS
from forcedmove_server.margin.ladder_book import shipped_book
from forcedmove_server.margin.venue import ContractRules, Venue
from forcedmove_server.margin.venues import VENUES

_HEAD = """# Liquidation rules of 22 exchanges

*Made by `make docs` from `server/forcedmove_server/margin/venues/`; a test keeps it current.*

What each venue does when it liquidates, how sure we are, and where it is written. A price is no surer than the
weakest fact behind it; `forcedmove liqprice --json` and `ListVenues` say which that is.
"""

_EQUATIONS = """## Formulas

`s` +1 long, -1 short; `Q` quantity in base units (linear) or USD (inverse); `E` entry price; `M` margin, `C`
maintenance amount, in USD (linear) or coin (inverse); `m` maintenance rate; `f` fee rate that the trigger counts. All
of them are one equation in the position's value; see `margin/equations.py`.
"""


def document() -> str:
    """Return the page."""
    return "\n".join([_HEAD, *_confidences(), _EQUATIONS, *_formulas(), *_overview(), *_ladders(), *_sources()]) + "\n"


def _confidences() -> Iterator[str]:
    words = {
        Confidence.DOC: "the venue's own help or API text",
        Confidence.REC: "settled by recorded messages of the venue",
        Confidence.CODE: "read in the source of a program that trades there, or in a copy of the venue's text",
        Confidence.DERIVED: "follows by arithmetic from one of these",
        Confidence.MEM: "commonly said, not confirmed",
        Confidence.ASSUMED: "nothing was found: a stand-in",
    }
    yield from _table(("tag", "means"), ((f"**{tag}**", text) for tag, text in words.items()))


def _formulas() -> Iterator[str]:
    yield from _table(("id", "liquidation price"), ((f.name, f"`{f.text}`") for f in FORMULAS.values()))


def _overview() -> Iterator[str]:
    yield "## Venues\n"
    header = ("venue", "linear", "inverse", "fee in the trigger", "trigger price", "greatest leverage", "margin modes")
    yield from _table(
        header,
        (
            (
                f"**{venue.title}**<br>`{venue.name}`",
                _formula(venue.linear),
                _formula(venue.inverse),
                _fee(venue),
                _tagged(venue.trigger),
                f"{venue.max_leverage.value:g}x {venue.max_leverage.confidence}",
                _tagged(venue.modes),
            )
            for venue in VENUES
        ),
    )
    yield "## What is closed, and how\n"
    yield from _table(
        ("venue", "process", "first step closes", "pause", "penalty at most"),
        ((venue.name, *_process(venue)) for venue in VENUES),
    )


def _process(venue: Venue) -> tuple[str, ...]:
    process, tag = venue.process.value, venue.process.confidence
    if tag is Confidence.ASSUMED:
        return ("not found; taken to be closed at once", "", "", "")
    share = f"{process.share_per_step:.3g}" if process.share_per_step < 1 else ""
    if process.partial_above_usd:
        share += f" above {process.partial_above_usd:,.0f} USD"
    if process.tiers_per_step:
        share = f"down by {process.tiers_per_step} tier{'s' * (process.tiers_per_step > 1)}"
        share += f" from tier {process.first_partial_tier}" if process.first_partial_tier > 2 else ""
    pause = f"{process.cooldown_s:g} s" if process.cooldown_s else ""
    penalty = f"{process.penalty_rate:.1%}" if process.penalty_rate else ""
    return (f"{process.text} {tag}", share, pause, penalty)


def _ladders() -> Iterator[str]:
    yield "## Maintenance tables\n"
    yield (
        "Shipped tables go out of date, and some are stand-ins: `forcedmove tiers show` lists them with their age,\n"
        "`tiers update` fetches what is public, `tiers import` reads the others.\n"
    )
    book = shipped_book()
    rows = []
    for venue in VENUES:
        markets = dict(book.markets(venue.name))
        dates = sorted({found.provenance.as_of for found in markets.values() if found.provenance.as_of})
        span = f"{dates[0]}" + (f" to {dates[-1]}" if len(dates) > 1 else "")
        sure = sum(found.provenance.confidence is not Confidence.ASSUMED for found in markets.values())
        feed = FEEDS.get(venue.name)
        fetched = "update" if venue.tiers_public else "import" if feed else "no"
        rows.append((venue.name, _tagged(venue.tiers), fetched, f"{len(markets)} ({sure})", span))
    header = ("venue", "how it is written", "can be fetched", "markets shipped (not stand-ins)", "as of")
    yield from _table(header, rows)


def _sources() -> Iterator[str]:
    yield "## Sources\n"
    for venue in VENUES:
        yield f"### {venue.title}\n"
        facts: list[tuple[str, Fact[object]]] = []
        for kind, contract in (("linear", venue.linear), ("inverse", venue.inverse)):
            if contract is not None:
                facts.append((f"{kind} {contract.formula.value}", contract.formula))
                if contract.fee is not None:
                    facts.append((f"{kind} fee {contract.fee.value:.3%}", contract.fee))
        if venue.extra_margin_fee is not None:
            about = f"added margin is discounted by {venue.extra_margin_fee.value:.3%}"
            facts.append((about, venue.extra_margin_fee))
        named = (("trigger", venue.trigger), ("greatest leverage", venue.max_leverage), ("tiers", venue.tiers))
        facts += [*named, ("modes", venue.modes), ("process", venue.process)]
        for name, fact in facts:
            yield f"* {name}: {fact.source} ({fact.confidence})"
        for note in venue.notes:
            yield f"* note: {note.partition(': ')[2]}"
        yield ""


def _formula(contract: ContractRules | None) -> str:
    return "none" if contract is None else f"{contract.formula.value} {contract.formula.confidence}"


def _fee(venue: Venue) -> str:
    fees = {c.fee.value: c.fee.confidence for c in (venue.linear, venue.inverse) if c is not None and c.fee is not None}
    return ", ".join(f"{fee:.3%} {tag}" for fee, tag in fees.items())


def _tagged(fact: Fact[str]) -> str:
    return f"{fact.value} {fact.confidence}"


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


if __name__ == "__main__":
    sys.stdout.write(document())
