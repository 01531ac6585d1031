"""What a forecast takes of a tick stands still while the pipeline goes on."""

from __future__ import annotations

import numpy as np
import pytest

from forcedmove_server.config import CalibrationConfig
from forcedmove_server.engine.cascade.answer import forecast
from forcedmove_server.engine.cascade.forecast import ShockQuestion
from forcedmove_server.engine.learning import Learner
from forcedmove_server.engine.maps import symbol_states
from forcedmove_server.engine.pipeline import Pipeline
from forcedmove_server.engine.taken import TakenQuestion, take_question
from tests.unit.market_feed import fed_pipeline, minute

MINUTES = 5


def taken(pipeline: Pipeline, **asked: float) -> TakenQuestion:
    state = symbol_states(pipeline, ["BTC"], pipeline.notional())["BTC"]
    certainty = Learner(pipeline, CalibrationConfig()).certainty(state.rows.rows.astype(np.int64))
    question = ShockQuestion(state.rows.mark_usd * 0.97, **asked)  # type: ignore[arg-type]
    return take_question(pipeline, state, certainty, question)


ASKED = {"paths": 200, "seed": 3, "coupling_s": 5.0, "curve_points": 8, "duration_s": 600.0}


def test_the_answer_is_that_of_the_pipeline_itself() -> None:
    pipeline = fed_pipeline(MINUTES)
    found = taken(pipeline, **ASKED)
    assert found.forecast() == forecast(pipeline, found.state, found.certainty, found.question)


def test_nothing_that_comes_later_is_in_it() -> None:
    pipeline = fed_pipeline(MINUTES)
    found = taken(pipeline, **ASKED)
    answer, interest = found.forecast(), found.still.inference.markets.open_interest.copy()
    for number in range(MINUTES, MINUTES + 3):
        pipeline.take(minute(number))
    assert not np.array_equal(pipeline.inference.markets.open_interest, interest)
    assert np.array_equal(found.still.inference.markets.open_interest, interest)
    assert found.still.now_ns < pipeline.now_ns
    assert found.forecast() == answer
    assert forecast(pipeline, found.state, found.certainty, found.question) != answer


def test_a_grid_is_taken_for_random_paths_alone() -> None:
    pipeline = fed_pipeline(MINUTES)
    assert taken(pipeline, paths=0).still.store.resident is None
    grid = taken(pipeline, paths=1).still.store.resident
    assert grid is not None
    with pytest.raises(AssertionError, match="not taken"):
        grid.leverage_grid(np.array([3], np.int32), weighted=False)
