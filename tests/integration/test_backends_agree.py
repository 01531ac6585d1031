"""The whole engine publishes the same bytes on every backend; the CUDA sources run on the CPU here."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from forcedmove_kernels import cuda
from forcedmove_server.config import ModelConfig
from forcedmove_server.engine.export import full_map
from forcedmove_server.engine.frames import AXES, ViewSpec
from forcedmove_server.engine.maps import build_map, symbol_states
from forcedmove_server.engine.pipeline import Pipeline
from forcedmove_server.engine.views import plan_view, render_view
from tests.cuda_host.device import CompilerMissing, HostDevice
from tests.unit.market_feed import ENGINE, minute, two_venue_registry

VIEWS = (
    ViewSpec(),
    ViewSpec(keep=AXES, weighting="fresh"),
    ViewSpec(keep=("venue", "price"), price_range_fraction=0.05, weighting="fresh"),
    ViewSpec(sides=("short",), leverage_max=20, keep=("leverage", "price")),
    ViewSpec(venues=("binance",), keep=("price",)),
)


def published(backend: str) -> list[object]:
    """What the engine would publish over some minutes, with a merge of cohorts and a moved window between."""
    pipeline = Pipeline(two_venue_registry(), dataclasses.replace(ENGINE, backend=backend), ModelConfig())  # type: ignore[arg-type]
    assert pipeline.backend_choice.name == backend
    told: list[object] = []
    for number in (*range(6), 90, 91):
        pipeline.take(minute(number, move=0.02))
        pipeline.sweep()
        for symbol in pipeline.registry.symbols():
            markets = np.array(pipeline.mapped_markets(symbol))
            mark = int(pipeline.inference.markets.price[markets[0]])
            pipeline.store.centre(markets, mark if number < 4 else mark * 5 // 4)
        told.append(pipeline.store.refresh(pipeline.now_s).tolist())
        for state in symbol_states(pipeline, pipeline.registry.symbols(), pipeline.notional()).values():
            told.append(build_map(pipeline, state, number))
            told += [
                render_view(pipeline.store, state.rows, spec).values.tobytes() for spec in VIEWS[: 5 - 4 * (number % 2)]
            ]
            planned = {(state.rows.symbol, spec): plan_view(pipeline.store, state.rows, spec) for spec in VIEWS[:-1]}
            drawn = pipeline.store.resident.render_watched({key: view.asked for key, view in planned.items()})
            told += [tuple(np.asarray(field).tobytes() for field in rendering) for rendering in drawn.values()]
    return [*told, full_map(pipeline)]


def test_every_backend_publishes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        device = HostDevice()
    except CompilerMissing as missing:
        pytest.skip(str(missing))
    monkeypatch.setattr(cuda, "open_backend", lambda index: cuda.CudaBackend(device))
    expected = published("reference")
    for backend in ("cpu", "cuda"):
        for number, (want, got) in enumerate(zip(expected, published(backend), strict=True)):
            assert want == got, (backend, number)
