"""What a map takes for granted, in words and numbers; every snapshot carries it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from forcedmove_server.engine.frames import AssumptionInfo
from forcedmove_server.engine.margins import margin_info
from forcedmove_server.margin.facts import Confidence
from forcedmove_server.margin.multipliers import CROSS_WIDTH_SHARE

if TYPE_CHECKING:
    from forcedmove_server.config import ModelConfig
    from forcedmove_server.engine.maps import SymbolState
    from forcedmove_server.engine.pipeline import Pipeline


def assumptions(pipeline: Pipeline, state: SymbolState) -> tuple[AssumptionInfo, ...]:
    """List what the map of one symbol assumes."""
    model, markets = pipeline.model, state.rows.markets.tolist()
    untaped = [pipeline.registry[m].key for m in markets if not pipeline.inference.markets.has_tape[m]]
    lost = [pipeline.registry[m].key for m in pipeline.inference.coverage.lost(markets, pipeline.now_ns)]
    listed = [
        AssumptionInfo("turnover", "share of volume that replaces positions; not fitted", model.turnover),
        AssumptionInfo("leverage_prior", "leverage is not observed: a fixed mixture of a low-leverage bulk and a tail"),
        AssumptionInfo(
            "tier_width",
            "levels of a leverage tier are spread over this share of its interval, whose ends are the geometric means "
            "with its neighbours",
            model.tier_width,
        ),
        AssumptionInfo(
            "level_width",
            "a level is spread over the prices that are nearer or further than it by this share of its distance from "
            f"the mark, by half of it {model.level_width_near:.2%} from the mark",
            model.level_width,
        ),
        AssumptionInfo("position_size", "USD size that selects the maintenance tier", model.typical_position_usd),
        AssumptionInfo(
            "isolated_margin",
            "levels are isolated-margin levels; nine cross-margined ones in ten stay within this share of their "
            "distance for a day",
            CROSS_WIDTH_SHARE,
        ),
        AssumptionInfo(
            "initial_entries",
            "positions open before the first observation: entries spread log-normally around its price",
            model.initial_entry_spread,
        ),
        AssumptionInfo(
            "credible_band",
            "bands, on request: leverage weights of a venue's markets vary as one, those of venues and sides "
            "independently, besides an error of the prior and of entries before the first observation that all share; "
            "positions come one by one, of the size that was printed or by which open interest rose, or of this many "
            "USD; levels lie as the map spreads them",
            model.typical_position_usd,
        ),
        AssumptionInfo("freshness", "half-life in hours of the fresh weighting", model.freshness_half_life_hours),
        AssumptionInfo(
            "volatility",
            "daily volatility " + ("measured on the stream" if state.sigma_measured else "not measured yet: a default"),
            state.law.sigma_day,
        ),
        AssumptionInfo(
            "volume",
            "daily volume in USD "
            + ("measured on the stream" if state.volume_measured else "guessed from open interest"),
            state.law.volume_day_usd,
        ),
        AssumptionInfo(
            "impact",
            f"depth: {state.books} visible books, beyond them the square-root law with this Y",
            model.impact_y,
        ),
        AssumptionInfo("depth_withdrawal", _withdrawal(state, model), state.law.withdrawal_fraction),
    ]
    listed += _exact_assumptions(pipeline, markets)
    stale = sorted(pipeline.registry[m].key for m in pipeline.left_out(state.rows.symbol))
    if stale:
        listed.append(
            AssumptionInfo(
                "stale_feeds",
                f"left out of the map: feeds of prices are lost, or older than this many seconds: {', '.join(stale)}",
                float(model.stale_after_s),
            )
        )
    if untaped:
        listed.append(
            AssumptionInfo(
                "untaped_volume",
                f"no trades from {', '.join(untaped)}: volume taken as this many times open interest a day",
                model.assumed_volume_per_oi_day,
            )
        )
    if lost:
        listed.append(
            AssumptionInfo(
                "missing_trades",
                f"trades are missing from {', '.join(lost)}: volume taken as in so many hours before, or "
                "as of markets without trades where less than ten minutes were seen",
                model.tape_memory_hours,
            )
        )
    return (*listed, *_margin_assumptions(pipeline, markets))


def _withdrawal(state: SymbolState, model: ModelConfig) -> str:
    """Say how depth withdraws, and what that rests on."""
    found, told = state.withdrawal, "depth falls by e for every such fraction of a move, to a tenth at most: "
    if found.measured is None or found.error is None:
        return f"{told}the default; too few books were seen"
    return (
        f"{told}the default, weighed against {found.samples} samples of {found.markets} books (slope "
        f"{found.measured:.1f} +- {found.error:.1f}); beyond the largest move seen, {found.largest_move:.2%}, by e for "
        f"every {model.depth_withdrawal_fraction:g}"
    )


def _exact_assumptions(pipeline: Pipeline, markets: list[int]) -> Iterator[AssumptionInfo]:
    """Say how much of a map is known, and where more is told than there is."""
    exact, lot = pipeline.exact, pipeline.inference.markets.lot
    known = [market for market in markets if exact.held(market)]
    for market, live, excess in zip(known, exact.live(known), exact.excess(known), strict=True):
        key, (long, short) = pipeline.registry[market].key, (live * lot[market]).tolist()
        yield AssumptionInfo(
            "exact_positions",
            f"{key}: {len(exact.held(market))} positions with known liquidation prices, {long:g} long and {short:g} "
            "short, are taken out of what is inferred; they do not close but by being told or crossed",
            float(live.sum()) / max(2 * int(pipeline.inference.markets.open_interest[market]), 1),
        )
        if excess.any():
            yield AssumptionInfo(
                "exact_excess",
                f"{key}: more is told than its open interest, so that the map exceeds it, on the worse side by this "
                "many of its units",
                float(excess.max() * lot[market]),
            )


def _margin_assumptions(pipeline: Pipeline, markets: list[int]) -> Iterator[AssumptionInfo]:
    """What is taken for granted of rules and ladders: each thing once, with the markets it concerns."""
    about = [(pipeline.registry[m].key, margin_info(pipeline, m), pipeline.store.margins[m].rule) for m in markets]
    if not about:
        return
    yield AssumptionInfo(
        "multiplier_error",
        "basis points of the entry by which a level may be off for positions of a tenth to ten times the typical size",
        max(info.error_bp for _, info, _ in about),
    )
    for note in dict.fromkeys(note for _, _, rule in about for note in rule.notes):
        yield AssumptionInfo("margin_rule", note)
    unsure = sorted(key for key, info, _ in about if info.confidence in (Confidence.MEM, Confidence.ASSUMED))
    if unsure:
        yield AssumptionInfo("margin_rule", f"rule or ladder not confirmed: {', '.join(unsure)}")
    for key, info, _ in about:
        if info.tiers_stale:
            yield AssumptionInfo("margin_tiers", f"{key}: {info.tiers}")
