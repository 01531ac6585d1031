"""The impact model against what flow did: net aggressive flow of a span, and how far the middle of the book moved.

At the beginning of each span there is a book. What the model says of a flow of ``Q`` USD is how far from the middle
that book, and beyond its last level the square-root law, hold ``Q`` together (engine.depth). What happened is the move
of the middle in the direction of the flow until the end of the span: others trade and quote meanwhile, so that single
spans scatter widely and only many of one size say anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.engine.depth import ImpactLaw
from forcedmove_server.market.events import Records

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Spans:
    """Spans of one market, all float64 ``[n]``: net flow in USD (buying above 0), moves as fractions of the price.

    ``moved`` is what happened, ``by_book`` what book and law say, ``by_law`` what the law alone says; all are positive
    in the direction of the flow.
    """

    flow_usd: F64
    moved: F64
    by_book: F64
    by_law: F64


@dataclass(frozen=True, slots=True)
class ImpactRow:
    """Spans of about one predicted size: how many, and medians in basis points. ``error`` is of the single spans."""

    spans: int
    predicted_bp: float
    moved_bp: float
    law_bp: float
    error_bp: float


def measure_spans(trades: Records, depth: Records, span_s: float, law: ImpactLaw) -> Spans:
    """Return the spans of one linear market, one after the other without overlap; rows sorted by time.

    A span begins and ends with a book; those between which nothing aggressive was traded, or whose end is missing, are
    left out.
    """
    at = np.flatnonzero(np.diff(depth["time_ns"], prepend=-1))
    times, ends = depth["time_ns"][at], np.append(at[1:], len(depth))
    middles = np.array([_middle(depth[a:b]) for a, b in zip(at.tolist(), ends.tolist(), strict=True)])
    signed = trades["aggressor"] * trades["price"] * trades["quantity"]
    upto = np.concatenate([[0.0], np.cumsum(signed)])
    rows = []
    begin, span_ns = 0, int(span_s * 1e9)
    while begin < len(times):
        end = int(np.searchsorted(times, times[begin] + span_ns))
        if end == len(times):
            break
        first, last = np.searchsorted(trades["time_ns"], (times[begin], times[end]), "right")
        flow = float(upto[last] - upto[first])
        if flow and times[end] - times[begin] <= 1.5 * span_ns and middles[begin] > 0 and middles[end] > 0:
            sign = 1.0 if flow > 0 else -1.0
            book = depth[at[begin] : ends[begin]]
            rows.append(
                (
                    flow,
                    sign * float(np.log(middles[end] / middles[begin])),
                    held_within(book, middles[begin], int(flow > 0), abs(flow), law),
                    law.y * law.sigma_day * float(np.sqrt(abs(flow) / law.volume_day_usd)),
                )
            )
        begin = end
    columns = np.array(rows, np.float64).reshape(-1, 4).T
    return Spans(*columns)


def _middle(book: Records) -> float:
    bids, asks = (book["price"][book["side"] == side] for side in (0, 1))
    return float(bids.max() + asks.min()) / 2 if len(bids) and len(asks) else 0.0


def held_within(book: Records, middle: float, side: int, flow_usd: float, law: ImpactLaw) -> float:
    """How far from the middle, as a fraction, one side of a book and the law beyond it hold a flow.

    Between levels the book counts as if spread evenly. ``side`` 0 bids, 1 asks.
    """
    own = book[book["side"] == side]
    away = np.abs(own["price"] / middle - 1)
    order = np.argsort(away, kind="stable")
    away = away[order]
    held = np.cumsum((own["price"] * own["quantity"])[order])
    if len(held) and flow_usd <= held[-1]:
        return float(np.interp(flow_usd, np.concatenate([[0.0], held]), np.concatenate([[0.0], away])))
    reach, inside = (float(away[-1]), float(held[-1])) if len(held) else (0.0, 0.0)
    beyond = (flow_usd - inside) / law.volume_day_usd * (law.y * law.sigma_day) ** 2
    return float(np.sqrt(reach**2 + beyond))


def by_size(parts: Sequence[Spans], edges_bp: Sequence[float]) -> list[ImpactRow]:
    """Group spans of any markets by what book and law say: an :class:`ImpactRow` between each two ``edges_bp``."""
    predicted, moved, law = (
        np.concatenate([getattr(part, name) for part in parts]) * 1e4 for name in ("by_book", "moved", "by_law")
    )
    found = []
    for low, high in pairwise(edges_bp):
        own = (predicted >= low) & (predicted < high)
        if own.any():
            found.append(
                ImpactRow(
                    spans=int(own.sum()),
                    predicted_bp=float(np.median(predicted[own])),
                    moved_bp=float(np.median(moved[own])),
                    law_bp=float(np.median(law[own])),
                    error_bp=float(np.median(np.abs(predicted[own] - moved[own]))),
                )
            )
    return found
