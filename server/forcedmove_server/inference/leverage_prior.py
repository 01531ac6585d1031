"""How open interest is spread over leverage before there is evidence: a mixture per venue.

MODEL section 3: a cross-margined, low-leverage bulk and an isolated, high-leverage tail. No published table is trusted
(open-source priors disagree threefold on the 100x share), so the prior is two log-normals whose medians are what was
measured on real accounts, and only the size of the tail differs between venues.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LeveragePrior:
    """A bulk and a tail, each log-normal in leverage. ``tail_share`` is the tail's share of notional."""

    tail_share: float
    bulk_median: float
    bulk_log_sd: float = 0.65
    tail_median: float = 18.0
    tail_log_sd: float = 0.75


#: Hyperliquid, February 2026, large accounts by effective leverage: 67 % below 3x, 27 % at 3-7x, 3 % above 10x; the
#: tail is twice what those accounts show, because small ones are levered higher
_ON_CHAIN = LeveragePrior(tail_share=0.06, bulk_median=2.1)
#: centralised venues: isolated retail accounts are a larger part. The tail was chosen by how well what it puts near the
#: mark foretells open interest that leaves when it is crossed: fitted on a month, tested on the next (docs/MODEL.md)
_CENTRALISED = LeveragePrior(tail_share=0.15, bulk_median=2.6, tail_median=90.0, tail_log_sd=0.4)
#: where the median of the tail lies at most, as a share of what a market offers: there the boldest take less
_BOLDEST = 0.75
_ON_CHAIN_VENUES = frozenset({"hyperliquid", "dydx", "lighter", "paradex", "aster"})


def prior_for(venue: str) -> LeveragePrior:
    """Return the prior of a venue."""
    return _ON_CHAIN if venue in _ON_CHAIN_VENUES else _CENTRALISED


def tier_shares(prior: LeveragePrior, leverages: F64, max_leverage: float) -> F64:
    """Share of notional per leverage tier: float64 ``[T]``, summing to one; zero above ``max_leverage``.

    A tier stands for the leverages between the geometric means with its neighbours; the lowest tier for all below.
    The lowest tier is always offered, whatever the maximum.
    """
    shares = sum(_parts(prior, leverages, max_leverage))
    offered = leverages <= max_leverage
    offered[0] = True
    shares = np.where(offered, shares, 0.0)
    result: F64 = shares / shares.sum()
    return result


def tail_membership(prior: LeveragePrior, leverages: F64, max_leverage: float) -> F64:
    """Share of each tier's weight that the prior has from its tail: float64 ``[T]`` in 0..1."""
    bulk, tail = _parts(prior, leverages, max_leverage)
    found: F64 = tail / np.maximum(bulk + tail, np.finfo(np.float64).tiny)
    return found


def _parts(prior: LeveragePrior, leverages: F64, max_leverage: float) -> tuple[F64, F64]:
    """Shares of bulk and tail per tier, all tiers offered: float64 ``[T]`` each, together one."""
    median = min(prior.tail_median, _BOLDEST * max_leverage)
    edges = np.sqrt(leverages[:-1] * leverages[1:])
    found = []
    for share, middle, log_sd in (
        (1 - prior.tail_share, prior.bulk_median, prior.bulk_log_sd),
        (prior.tail_share, median, prior.tail_log_sd),
    ):
        cumulative = [_log_normal_cdf(float(edge), middle, log_sd) for edge in edges]
        found.append(share * np.diff(np.array([0.0, *cumulative, 1.0])))
    return found[0], found[1]


def _log_normal_cdf(value: float, median: float, log_sd: float) -> float:
    return 0.5 * (1 + math.erf(math.log(value / median) / (log_sd * math.sqrt(2))))
