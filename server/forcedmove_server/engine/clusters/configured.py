"""The watch of a running engine: with the forecast's distribution, and telling the scorecard."""

from __future__ import annotations

import numpy as np

from forcedmove_server.config import Config
from forcedmove_server.engine.cascade.answer import path_spreads
from forcedmove_server.engine.cascade.forecast import path_forecast, point_forecast
from forcedmove_server.engine.clusters.watch import ClusterWatch
from forcedmove_server.engine.learning import Learner
from forcedmove_server.engine.maps import SymbolState
from forcedmove_server.engine.pipeline import Pipeline
from forcedmove_server.engine.scores import Scores

#: random paths behind the 95th percentile that an event tells; always the same ones
P95_PATHS, P95_SEED = 400, 1


def configured_watch(
    pipeline: Pipeline, config: Config, epoch: int, learner: Learner, scores: Scores | None
) -> ClusterWatch:
    """Return a watch of a pipeline; ``scores`` None where no scorecard is kept."""

    def total_p95(state: SymbolState, shock_usd: float) -> float | None:
        certainty = learner.certainty(state.rows.rows.astype(np.int64))
        point = point_forecast(pipeline.backend, state, shock_usd)
        spreads = path_spreads(pipeline, state, certainty, point)
        paths = path_forecast(pipeline.backend, state, point, P95_PATHS, P95_SEED, spreads)
        return next((q.total_usd for q in paths.quantiles if q.probability == 0.95), None)

    return ClusterWatch(
        pipeline,
        config.arming,
        epoch,
        total_p95,
        None if scores is None else scores.alarm,
        None if scores is None else scores.cascade,
    )
