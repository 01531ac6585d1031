"""``forcedmove compile``: fill the kernel cache, so that no later start has to compile."""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np

from forcedmove_server.commands import reports_errors
from forcedmove_server.commands.arguments import add_config_argument, read_base_config
from forcedmove_server.engine.frames import AXES, ViewSpec
from forcedmove_server.engine.maps import build_map, symbol_states
from forcedmove_server.engine.offline import OfflineRun
from forcedmove_server.engine.views import plan_view
from forcedmove_server.sources.make import bounded_simulation

HELP = "compile the kernels into the cache; later starts are quick"

#: more than one, because cohorts merge every hour
_HOURS = 1.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.description = "Run an hour of the simulated market through every kernel, so that all are compiled."
    add_config_argument(parser)


@reports_errors
def run(args: argparse.Namespace) -> int:
    """Use every kernel once, the way the engine does."""
    begin = time.monotonic()
    offline = OfflineRun(bounded_simulation(1, ("BTC",), _HOURS), read_base_config(args))
    offline.finish()
    pipeline = offline.pipeline
    markets = np.array(pipeline.mapped_markets("BTC"), np.int64)
    pipeline.store.centre(markets, int(pipeline.inference.markets.price[markets[0]]))
    pipeline.store.refresh(pipeline.now_s)
    state = symbol_states(pipeline, ["BTC"], pipeline.notional())["BTC"]
    build_map(pipeline, state, 1)
    for keep in AXES[-1:], AXES:
        view = plan_view(pipeline.store, state.rows, ViewSpec(keep=keep, weighting="fresh"))
        for _ in range(2):  # from the second time on it is told what changed
            pipeline.store.resident.render_watched({keep: view.asked})
    sys.stdout.write(f"backend {pipeline.backend_choice.name}: kernels ready in {time.monotonic() - begin:.1f} s\n")
    return 0
