"""How the markets of a map liquidate, as it is told to readers."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.engine.frames import MarginInfo, TierMultiplier
from forcedmove_server.engine.pipeline import Pipeline
from forcedmove_server.margin.equations import LONG, SHORT
from forcedmove_server.margin.multipliers import CROSS_WIDTH_SHARE, LEVERAGE_TIERS


def market_date(pipeline: Pipeline) -> date:
    """Day of the newest event: what the age of a table counts from, so that a replay says the same whenever it runs."""
    return datetime.fromtimestamp(pipeline.now_ns / 1e9, UTC).date()


def margin_info(pipeline: Pipeline, market: int) -> MarginInfo:
    """Describe a market's margin rule and the error of its multipliers: made once a day, since nothing else changes."""
    today = market_date(pipeline)
    known = pipeline.margin_infos.get(market)
    if known is None or known[0] != today:
        known = pipeline.margin_infos[market] = (today, _margin_info(pipeline, market, today))
    return known[1]


def _margin_info(pipeline: Pipeline, market: int, today: date) -> MarginInfo:
    made = pipeline.store.margins[market]
    rule, provenance = made.rule, made.rule.provenance
    after_days, error_bp = pipeline.tiers_stale_after_days, made.error * 1e4
    return MarginInfo(
        formula=rule.formula.name,
        confidence=str(rule.confidence),
        assumed=rule.assumed,
        trigger=str(rule.trigger),
        fee_rate=rule.fee_rate,
        max_leverage=min(rule.leverage_limit, pipeline.registry[market].max_leverage),
        tiers=provenance.describe(today, after_days),
        tiers_as_of="" if provenance.as_of is None else provenance.as_of.isoformat(),
        tiers_stale=provenance.stale(today, after_days),
        error_bp=made.worst_error_bp,
        cross_width_share=CROSS_WIDTH_SHARE,
        source=rule.source,
        multipliers=tuple(
            TierMultiplier(
                leverage=leverage,
                ratio=_pair(made.ratio, tier),
                error_bp=_pair(error_bp, tier),
                cross_width=_pair(made.cross_width, tier),
            )
            for tier, leverage in enumerate(LEVERAGE_TIERS[: int(pipeline.store.rules.tiers[market])])
        ),
    )


def _pair(values: NDArray[np.float64], tier: int) -> tuple[float, float]:
    return float(values[LONG, tier]), float(values[SHORT, tier])
