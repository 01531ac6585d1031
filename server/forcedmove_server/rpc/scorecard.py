"""ScorecardService: how true the maps have been."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

import grpc

from forcedmove.v1 import model_pb2, scorecard_pb2
from forcedmove_server.engine.frames import SIDES
from forcedmove_server.engine.service import EngineService
from forcedmove_server.errors import LimitError
from forcedmove_server.rpc.figures import estimate_message, figures_of
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.requests import SIDE_NUMBERS, where_of
from forcedmove_server.rpc.status import guarded
from forcedmove_server.scorecard.rules import ScoringRules
from forcedmove_server.scorecard.summary import Headline, Invariants, MarketRow, ReachScore, Summary, Where

if TYPE_CHECKING:  # the stubs are generic, the classes are not
    from grpc.aio import ServicerContext

    ScorecardContext = ServicerContext[scorecard_pb2.GetScorecardRequest, scorecard_pb2.GetScorecardResponse]

SERVICE = scorecard_pb2.DESCRIPTOR.services_by_name["ScorecardService"].full_name

_EVIDENCE = {
    "positions": scorecard_pb2.EVIDENCE_POSITIONS,
    "liquidations": scorecard_pb2.EVIDENCE_LIQUIDATIONS,
}
#: tag and length in front of one row
_ROW_OVERHEAD_BYTES = 3


class ScorecardHandlers:
    """Handlers of one server. Summaries resample for up to seconds, so they are made one after the other."""

    def __init__(self, engine: EngineService, limits: Limits) -> None:
        self._engine, self._limits = engine, limits
        self._one_at_a_time = asyncio.Lock()

    def handler(self) -> grpc.GenericRpcHandler:
        """What a gRPC server registers."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "GetScorecard": grpc.unary_unary_rpc_method_handler(
                    self.get_scorecard,
                    scorecard_pb2.GetScorecardRequest.FromString,
                    scorecard_pb2.GetScorecardResponse.SerializeToString,
                )
            },
        )

    @guarded
    async def get_scorecard(
        self, request: scorecard_pb2.GetScorecardRequest, context: ScorecardContext
    ) -> scorecard_pb2.GetScorecardResponse:
        """Summarise one part of the markets."""
        where = where_of(request, self._engine.registry)
        async with self._one_at_a_time:
            summary = await asyncio.wrap_future(self._engine.scorecard(where))
            rows = await asyncio.wrap_future(self._engine.scorecard_rows()) if request.rows else ()
            return await asyncio.to_thread(response_of, summary, rows, self._limits)


def response_of(summary: Summary, rows: Iterable[MarketRow], limits: Limits) -> scorecard_pb2.GetScorecardResponse:
    """Return a summary as its message, with those of ``rows`` that belong to its part of the markets.

    Raises LimitError where there are more than one answer holds.
    """
    where = summary.where
    response = scorecard_pb2.GetScorecardResponse(
        venue=where.venue or "",
        symbol=where.symbol or "",
        side=_side(where.side),
        begin_time_ns=summary.begin_ns,
        end_time_ns=summary.end_ns,
        rules=rules_message(summary.rules),
        headline=_headline(summary.headline, summary.rules.level),
        figures=figures_of(summary),
        reliability=[message for score in summary.reach for message in _reliability(score)],
        invariants=_invariants(summary.invariants),
        unscored=[scorecard_pb2.Unscored(reason=some.reason, count=some.count) for some in summary.unscored],
    )
    size = response.ByteSize()
    for row in rows:
        if _belongs(row, where):
            message = response.rows.add()
            message.CopyFrom(_row(row))
            size += message.ByteSize() + _ROW_OVERHEAD_BYTES
            if size > limits.max_answer_bytes:
                raise LimitError(
                    f"more than {len(response.rows) - 1} rows do not fit the {limits.max_answer_bytes} bytes one "
                    "answer holds: name a venue, a symbol or a side, or ask without rows"
                )
    return response


def rules_message(rules: ScoringRules) -> scorecard_pb2.ScoringRules:
    """The thresholds, times in seconds."""
    return scorecard_pb2.ScoringRules(
        step_s=rules.step_ns / 1e9,
        horizons_s=[horizon / 1e9 for horizon in rules.horizons_ns],
        headline_horizon_s=rules.headline_horizon_ns / 1e9,
        move_threshold=rules.move_threshold,
        volatility_half_life_s=rules.volatility_half_life_ns / 1e9,
        least_volatility_cells=rules.least_volatility_cells,
        least_decile_bins=rules.least_decile_bins,
        bits_floor=rules.bits_floor,
        most_days=rules.most_days,
        most_moves_per_day=rules.most_moves_per_day,
        most_rows=rules.most_rows,
        resamples=rules.resamples,
        level=rules.level,
        least_blocks=rules.least_blocks,
        least_moves=rules.least_moves,
        seed=rules.seed,
    )


def _side(side: int | None) -> model_pb2.Side.ValueType:
    return model_pb2.SIDE_UNSPECIFIED if side is None else SIDE_NUMBERS[SIDES[side]]


def _belongs(row: MarketRow, where: Where) -> bool:
    asked = ((where.venue, row.venue), (where.symbol, row.symbol), (where.side, row.side))
    return all(wanted is None or wanted == found for wanted, found in asked)


def _headline(headline: Headline, level: float) -> scorecard_pb2.Headline:
    return scorecard_pb2.Headline(
        map=headline.map,
        baseline=headline.baseline or "",
        horizon_s=headline.horizon_ns / 1e9,
        bits=estimate_message(headline.bits, level),
        bits_from=_EVIDENCE[headline.bits_from],
        released=estimate_message(headline.released, level),
        gain=None if headline.gain is None else estimate_message(headline.gain, level),
    )


def _reliability(score: ReachScore) -> list[scorecard_pb2.ReliabilityBin]:
    return [
        scorecard_pb2.ReliabilityBin(
            horizon_s=score.horizon_ns / 1e9, n=some.n, forecast=some.forecast, observed=some.observed
        )
        for some in score.reach.reliability
    ]


def _invariants(invariants: Invariants) -> scorecard_pb2.Invariants:
    return scorecard_pb2.Invariants(
        checks=invariants.checks,
        worst_interest_error=invariants.worst_interest_error,
        worst_market=invariants.worst_market or "",
        worst_time_ns=invariants.worst_at_ns,
        worst_flow_error=invariants.worst_flow_error,
    )


def _row(row: MarketRow) -> scorecard_pb2.MarketScore:
    return scorecard_pb2.MarketScore(
        venue=row.venue,
        symbol=row.symbol,
        side=_side(row.side),
        horizon_s=row.horizon_ns / 1e9,
        map=row.map,
        moves=row.moves,
        crossed_mean=row.crossed_mean,
        released_mean=row.released_mean,
        positions=row.positions,
        position_bits=row.position_bits,
        liquidations=row.liquidations,
        liquidation_bits=row.liquidation_bits,
        captured_share=row.captured_share,
        capture_ratio=row.capture_ratio,
    )
