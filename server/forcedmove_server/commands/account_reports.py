"""What ``forcedmove backtest --accounts`` prints: known accounts against the margin rules, the prior and the maps."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.config import ModelConfig
from forcedmove_server.engine.accounts.ledger_study import LedgerStudy, judge_ledger
from forcedmove_server.engine.accounts.levels import ERRORS, compare_levels, recomputed_levels
from forcedmove_server.engine.accounts.map_study import AccountStudy, study
from forcedmove_server.engine.accounts.maps import AccountMaps
from forcedmove_server.engine.rules import LEVERAGES
from forcedmove_server.errors import InputError, UnknownNameError
from forcedmove_server.margin.margin_rule import MarginRule
from forcedmove_server.margin.rules import rule_for
from forcedmove_server.margin.venues import VENUES, venue_named
from forcedmove_server.market.instruments import Instrument
from forcedmove_server.scorecard.accounts import AccountPositions
from forcedmove_server.scorecard.ledger import Ledger
from forcedmove_server.scorecard.resampling import Estimate

#: a greatest leverage that no venue offers: the ladder decides
_UNSTATED = 1_000.0
_WITHIN_BP = (10, 25, 50, 100, 200)


def report_accounts(path: Path, venue: str, max_leverage: float | None, model: ModelConfig) -> None:
    """Judge a file of positions, or a folder with a ledger. ``max_leverage`` is that of every market, where stated.

    Raises UnknownNameError for a venue that is not described, FileFormatError for what cannot be read, and InputError
    for a file without enough accounts.
    """
    described = venue_named(venue)
    if described is None:
        raise UnknownNameError("venue", venue, sorted(one.name for one in VENUES))

    def instrument_of(market: str) -> Instrument:
        coin = market.rpartition(":")[2]
        return Instrument(venue, coin, coin, described.quotes[0], max_leverage=max_leverage or _UNSTATED)

    def rule_of(market: str) -> MarginRule:
        return rule_for(instrument_of(market))

    if path.is_dir():
        _ledger(judge_ledger(Ledger.read(path), rule_of))
        return
    known = AccountPositions.read(path)
    _levels(known, rule_of)
    for drawing_half in (0, 1):
        maps = AccountMaps(known, instrument_of, drawing_half, model)
        if not maps.markets:
            raise InputError("accounts", str(path), "no market is held by enough accounts to judge a map by")
        _maps(study(maps), drawing_half)


def _levels(known: AccountPositions, rule_of: Callable[[str], MarginRule]) -> None:
    out, usd = sys.stdout, known.notional_usd
    names = np.unique(known.market)
    largest = sorted(names.tolist(), key=lambda name: -float(usd[known.market == name].sum()))[:5]
    out.write(
        f"{len(usd):,} positions of {len(np.unique(known.account)):,} accounts in {known.snapshot[-1] + 1} snapshots\n"
    )
    shown = ", ".join(f"{error:.1%}" for error in ERRORS)
    out.write(f"liquidation prices recomputed: share of positions within {shown} of the one stated\n")
    out.write(f"{'market':<10}{'positions':>10}{'as cross':>24}{'alone':>8}{'as cross':>24}{'cross or isolated':>24}\n")
    for one in compare_levels(known, rule_of, largest):
        cells = [" ".join(f"{share:7.2f}" for share in shares) for shares in (one.cross, one.cross_alone, one.either)]
        out.write(f"{one.market:<10}{one.positions:>10,}{cells[0]:>24}{one.alone:>8,}{cells[1]:>24}{cells[2]:>24}\n")
    cross, _ = recomputed_levels(known, rule_of)
    none, never = np.isnan(known.level_usd), (cross <= 0) | ~np.isfinite(cross)
    if none.any() and not none.all():
        out.write(
            f"none stated: {none.sum():,}, of which recomputed as never {never[none].mean():.2%}; "
            f"of those with one {never[~none].mean():.2%}\n"
        )


def _maps(found: AccountStudy, drawing_half: int) -> None:
    out = sys.stdout
    out.write(
        f"\nmaps from the entries of half {drawing_half}, judged by {found.judged:,} positions of the "
        f"{found.accounts:,} accounts of the other; {found.real_within:.1%} of their notional has its "
        "level within 25 % of the mark\n"
    )
    out.write(
        f"{'market':<7}{'map':<28}{'within':>8}  {'total variation':<24}{'W1, bp':<22}{'bits per position':<26}"
        f"{'over distance prior':<26}{'in top decile':<22}\n"
    )
    for one in found.figures:
        out.write(
            f"{one.market:<7}{one.map:<28}{one.within:>8.3f}  {_shown(one.total_variation):<24}"
            f"{_shown(one.wasserstein_bp, 0):<22}{_shown(one.bits, signed=True):<26}"
            f"{_shown(one.bits_over_prior, signed=True):<26}{_shown(one.captured):<22}n {one.bits.n:,}\n"
        )
    out.write("effective leverage, by notional, in per cent; never liquidated counts as the lowest tier\n")
    header = "".join(f"{leverage:>7g}" for leverage in LEVERAGES)
    out.write(f"{'market':<7}{'':<12}{header}{'never':>8}{'past entry':>12}  total variation\n")
    for tier in found.tiers:
        cells = "".join(f"{share * 100:>7.1f}" for share in tier.real)
        out.write(f"{tier.market:<7}{'real':<12}{cells}{tier.never * 100:>8.1f}{tier.past_entry * 100:>12.1f}\n")
        for name, law in tier.laws.items():
            cells = "".join(f"{share * 100:>7.1f}" for share in law)
            out.write(f"{'':<7}{name:<12}{cells}{'':>20}  {_shown(tier.total_variation[name])}\n")


def _ledger(found: LedgerStudy) -> None:
    out = sys.stdout
    out.write(
        f"{found.accounts} accounts, {found.exposed_days:,.0f} account-days with positions, {len(found.liquidations)} "
        f"liquidations; {found.incomplete} accounts opened what the ledger has no money for\n"
    )
    for complete, name in ((False, "all accounts"), (True, "complete ones")):
        rows = found.priced(complete)
        if not rows:
            continue
        error, equity, rule = (
            np.array([getattr(one, f"{what}_error_bp") for one in rows]) for what in ("price", "equity", "rule")
        )
        lead = [(one.told.time_ns - one.known_since_ns) / 3.6e12 for one in rows if one.known_since_ns is not None]
        counts = ", ".join(f"{found.within(bp, complete)} within {bp}" for bp in _WITHIN_BP)
        out.write(
            f"{name}: {len(rows)} cross liquidations of one position. Replay's price against the mark: {counts} bp, "
            f"median {np.median(np.abs(error)):.1f} bp, passed by the mark {(error >= 0).sum()}; known for "
            f"{np.median(lead):.1f} h (median)\n"
            f"    with the equity told: passed {(rule >= 0).sum()} of {len(rows)}, by {np.min(rule):.1f} to "
            f"{np.max(rule):.1f} bp, median {np.median(rule):.1f}; replayed equity off by a median of "
            f"{np.median(np.abs(equity)):.1f} bp of notional, correlation with the error of price "
            f"{_correlation(equity, error):+.2f}; {sum(one.alarmed for one in rows)} below maintenance before that "
            "second\n"
        )
    told = Counter((one.told.isolated, one.positions == 1) for one in found.liquidations)
    out.write(
        f"not priced: {told[True, True] + told[True, False]} isolated (their margin is not told), "
        f"{told[False, False]} of several positions (one mark is not told)\n"
    )
    for complete, name in ((True, "complete accounts"), (False, "the others")):
        alarms = [one for one in found.alarms if one.complete is complete]
        kinds = Counter(one.outcome for one in alarms)
        false = [one for one in alarms if one.outcome == "recovered"]
        out.write(
            f"below maintenance at the last fill's price, {name}: {kinds['liquidated']} times then liquidated, "
            f"{kinds['recovered']} times not ({sum(one.lasting for one in false)} for more than a minute, "
            f"{len({one.account for one in false})} accounts), {kinds['open']} at the end\n"
        )


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Of what varies; nan otherwise."""
    spread = float(np.std(a) * np.std(b))
    return float(np.mean((a - a.mean()) * (b - b.mean()))) / spread if spread > 0 else float("nan")


def _shown(found: Estimate, digits: int = 3, signed: bool = False) -> str:
    sign = "+" if signed else ""
    if found.value is None:
        return found.reason or "-"
    if found.low is None or found.high is None:
        return f"{found.value:{sign}.{digits}f}"
    return f"{found.value:{sign}.{digits}f} [{found.low:{sign}.{digits}f}, {found.high:{sign}.{digits}f}]"
