"""The largest moves one by one: was the mass where open interest vanished?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from forcedmove_server.market.events import Records
from forcedmove_server.scorecard.report.markup import Markup, table, tag
from forcedmove_server.scorecard.report.result import LargeMove
from forcedmove_server.scorecard.report.wording import SIDES, duration, map_name, moment, number, percent
from forcedmove_server.scorecard.tables import MarketName


def largest_moves(
    moves: Records, names: Sequence[str], horizon_ns: int, name_of: Callable[[int], MarketName], most: int = 20
) -> tuple[LargeMove, ...]:
    """Return the ``most`` moves that were largest in standard deviations of the time before them, largest first.

    ``moves`` as in :func:`~forcedmove_server.scorecard.measures.released.released`, of one horizon; ``names`` are the
    maps in the order of their columns.
    """
    deviations = moves["size"] / moves["volatility"]
    order = np.lexsort((moves["market"], moves["at_ns"], -deviations))[:most]
    found = []
    for row, z in zip(moves[order], deviations[order].tolist(), strict=True):
        name = name_of(int(row["market"]))
        found.append(
            LargeMove(
                at_ns=int(row["at_ns"]),
                horizon_ns=horizon_ns,
                venue=name.venue,
                symbol=name.symbol,
                side=int(row["side"]),
                size=float(row["size"]),
                deviations=z,
                released=float(row["released"]),
                maps=tuple(names),
                crossed=tuple(row["crossed"].tolist()),
            )
        )
    return tuple(found)


def largest_table(found: tuple[LargeMove, ...]) -> Markup:
    """Return a row per move: what left, and what each map had there. All moves are of one horizon."""
    if not found:
        return tag("p", "No move could be scored at this horizon.", class_="none")
    rows = [
        (
            f"{moment(move.at_ns)} UTC",
            f"{move.venue} {move.symbol} {SIDES[move.side]}s",
            percent(move.size),
            number(move.deviations, 1),
            percent(move.released, 2),
            *(percent(share, 2) for share in move.crossed),
        )
        for move in found
    ]
    head = ("from", "market, side", "move", "deviations", "OI released", *map(map_name, found[0].maps))
    note = "Shares of open interest at the start: what left in the window, and what each map had at the levels crossed."
    return table(f"Largest moves, {duration(found[0].horizon_ns)}", head, rows, words=2, note=note)
