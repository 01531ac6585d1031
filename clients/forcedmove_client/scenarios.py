"""Calls of the asynchronous client about many shocks and about one's own positions."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from forcedmove.v1 import scan_pb2_grpc, whatif_pb2_grpc
from forcedmove_client.calls import Calls
from forcedmove_client.errors import ServerError
from forcedmove_client.forecasts import Levels
from forcedmove_client.frames import SideName
from forcedmove_client.margin import ContractName, OtherPosition, liquidation_request
from forcedmove_client.requests import Names
from forcedmove_client.scan import MeasureName, ScanEstimate, ScanResult, ScanStream, scan_request
from forcedmove_client.whatif import WhatIf, what_if_of, what_if_request


class ScenarioCalls(Calls):
    """What ``AsyncClient`` offers through the services Scan and WhatIf."""

    def iter_scan(
        self,
        shocks: Iterable[float],
        symbols: Names = (),
        *,
        paths: int = 0,
        seed: int = 0,
        venues: Names = (),
        min_notional_usd: float = 0.0,
        max_distance: float = 0.0,
        sort: MeasureName = "fragility",
        top: int = 0,
        horizon_s: float | None = None,
        timeout_s: float = 60.0,
        estimate_only: bool = False,
    ) -> ScanStream:
        """Follow every shock through the map of every symbol (none: all), and yield symbols as they finish.

        ``shocks`` are moves of the mark, below zero for longs, above for shorts, with so many random ``paths`` of each.
        Only positions on ``venues`` fire. Symbols with less than ``min_notional_usd`` up to the furthest shocks are
        left out, and those that tip further away than ``max_distance`` or not at all. The summary ranks the ``top``
        (0: all) by ``sort``. Touch probabilities are for ``horizon_s``, a day by default. What the server cannot do
        within ``timeout_s`` it refuses before it begins. Iterating raises as ScanStream says.
        """
        moves = np.array(list(shocks), np.float64)
        request = scan_request(
            symbols, moves.tolist(), paths, seed, venues, min_notional_usd, max_distance, sort, top, horizon_s,
            estimate_only,
        )  # fmt: skip
        call = scan_pb2_grpc.ScanServiceStub(self._channel).Scan(request, timeout=timeout_s)
        return ScanStream(call, moves, self.target)

    async def scan(
        self,
        shocks: Iterable[float],
        symbols: Names = (),
        *,
        paths: int = 0,
        seed: int = 0,
        venues: Names = (),
        min_notional_usd: float = 0.0,
        max_distance: float = 0.0,
        sort: MeasureName = "fragility",
        top: int = 0,
        horizon_s: float | None = None,
        timeout_s: float = 60.0,
    ) -> ScanResult:
        """Return a whole scan; arguments as in ``iter_scan``.

        Raises InvalidArgumentError, UnknownNameError, LimitExceededError, UnavailableError or ServerError.
        """
        stream = self.iter_scan(
            shocks, symbols, paths=paths, seed=seed, venues=venues, min_notional_usd=min_notional_usd,
            max_distance=max_distance, sort=sort, top=top, horizon_s=horizon_s, timeout_s=timeout_s,
        )  # fmt: skip
        try:
            return await stream.result()
        finally:
            await stream.aclose()

    async def estimate_scan(
        self, shocks: Iterable[float], symbols: Names = (), *, paths: int = 0, timeout_s: float = 60.0
    ) -> ScanEstimate:
        """Return what a scan would come to, without running it.

        Raises InvalidArgumentError, UnknownNameError, UnavailableError, or LimitExceededError for one that the server
        would refuse.
        """
        stream = self.iter_scan(shocks, symbols, paths=paths, timeout_s=timeout_s, estimate_only=True)
        async for _ in stream:
            pass
        if stream.estimate is None:
            raise ServerError(f"{self.target}: a scan ended without its estimate")
        return stream.estimate

    async def what_if(
        self,
        *,
        side: SideName,
        entry_price: float,
        quantity: float,
        venue: str,
        symbol: str,
        contract: ContractName | None = None,
        contract_size: float | None = None,
        leverage: float | None = None,
        margin: float | None = None,
        balance: float | None = None,
        others: Iterable[OtherPosition] = (),
        extra_margin: float = 0.0,
        maintenance_rate: float | None = None,
        maintenance_amount: float | None = None,
        fee_rate: float | None = None,
        formula: str = "",
        max_leverage: float | None = None,
        horizons_s: Iterable[float] = (),
        leverages: Iterable[float] = (),
        added_margins: Iterable[float] = (),
        price: float | None = None,
        move: float | None = None,
        bids: Levels = (),
        asks: Levels = (),
        book_ends: bool = False,
    ) -> WhatIf:
        """Return where a position is liquidated, which shock's chain gets there and how likely that is, with tables by
        leverage and by added margin (of the values given, or usual ones).

        The position is as in ``liquidation_price``; it does not enter the map, and the server keeps nothing of it. A
        shock to ``price``, or by ``move``, is followed too. ``bids`` and ``asks``, pairs of a price in USD and base
        units, take the place of the visible book; with ``book_ends`` nothing rests beyond it.
        Raises InvalidArgumentError naming the field, UnknownNameError or UnavailableError.
        """
        position = liquidation_request(
            venue=venue, symbol=symbol, side=side, entry_price=entry_price, quantity=quantity, contract=contract,
            contract_size=contract_size, leverage=leverage, margin=margin, balance=balance, others=others,
            extra_margin=extra_margin, maintenance_rate=maintenance_rate, maintenance_amount=maintenance_amount,
            fee_rate=fee_rate, formula=formula, max_leverage=max_leverage,
        )  # fmt: skip
        request = what_if_request(
            position, horizons_s=horizons_s, leverages=leverages, added_margins=added_margins, price=price, move=move,
            bids=bids, asks=asks, book_ends=book_ends,
        )  # fmt: skip
        return what_if_of(await self._ask(whatif_pb2_grpc.WhatIfServiceStub(self._channel).WhatIf, request))
