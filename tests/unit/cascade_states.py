"""Symbol states made by hand, for chains that need no engine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.arrays import Clusters, Notional
from forcedmove_server.engine.cascade.withdrawal import Withdrawal
from forcedmove_server.engine.depth import ImpactLaw, VisibleBook
from forcedmove_server.engine.maps import SymbolState
from forcedmove_server.engine.views import SymbolRows

WIDTH = 50.0
LAW = ImpactLaw(sigma_day=0.03, volume_day_usd=1e9, y=1.0, withdrawal_fraction=0.043)


def state_of(
    profile: NDArray[np.uint64],
    visible: NDArray[np.float64],
    mark_usd: float,
    first_bin: int,
    law: ImpactLaw = LAW,
    venues: dict[str, NDArray[np.uint64]] | None = None,
    width: float = WIDTH,
) -> SymbolState:
    """A state with ``profile`` u64 ``[2, C]`` cents and ``visible`` float64 ``[2, C]`` USD, its mark a whole unit."""
    units = round(mark_usd * 1024 / width)
    named = venues or {"binance": profile}
    rows = SymbolRows(
        symbol="BTC",
        markets=np.arange(len(named), dtype=np.int32),
        venues=tuple(named),
        notional=Notional(np.zeros(len(named)), np.ones(len(named))),
        bin_width_usd=width,
        mark_units=units,
    )
    none = np.zeros(0, np.int32)
    clusters = Clusters(np.zeros(2, np.int64), none, none, none, np.zeros(0, np.uint64))
    return SymbolState(
        rows=rows,
        venue_cents=named,
        profile=profile,
        visible=VisibleBook.of_one(visible),
        law=law,
        first_bin=first_bin,
        books=1,
        sigma_measured=True,
        volume_measured=True,
        clusters=(clusters, clusters),
        withdrawal=Withdrawal(law.withdrawal_fraction),
    )
