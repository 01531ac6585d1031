"""What a map takes for granted, in words and numbers; every snapshot carries it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forcedmove_server.engine.frames import AssumptionInfo
from forcedmove_server.margin.rules import rule_for

if TYPE_CHECKING:
    from forcedmove_server.engine.maps import SymbolState
    from forcedmove_server.engine.pipeline import Pipeline


def assumptions(pipeline: Pipeline, state: SymbolState) -> tuple[AssumptionInfo, ...]:
    """List what the map of one symbol assumes."""
    model, markets = pipeline.model, state.rows.markets.tolist()
    guessed = sorted({i.key for i in (pipeline.registry[m] for m in markets) if rule_for(i).assumed})
    untaped = [pipeline.registry[m].key for m in markets if not pipeline.inference.markets.has_tape[m]]
    listed = [
        AssumptionInfo("turnover", "share of volume that replaces positions; not fitted", model.turnover),
        AssumptionInfo("leverage_prior", "leverage is not observed: a fixed mixture of a low-leverage bulk and a tail"),
        AssumptionInfo("position_size", "USD size that selects the maintenance tier", model.typical_position_usd),
        AssumptionInfo("isolated_margin", "levels are isolated-margin levels; cross margin moves real ones"),
        AssumptionInfo(
            "initial_entries",
            "positions open before the first observation: entries spread log-normally around its price",
            model.initial_entry_spread,
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
        AssumptionInfo(
            "depth_withdrawal", "depth falls by e for every such fraction of a move", model.depth_withdrawal_fraction
        ),
    ]
    if untaped:
        listed.append(
            AssumptionInfo(
                "untaped_volume",
                f"no trades from {', '.join(untaped)}: volume taken as this many times open interest a day",
                model.assumed_volume_per_oi_day,
            )
        )
    if guessed:
        listed.append(AssumptionInfo("margin_rule", f"liquidation rule not confirmed: {', '.join(guessed)}"))
    return tuple(listed)
