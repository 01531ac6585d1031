"""How open interest is spread over leverage before there is evidence: a mixture per venue.

MODEL section 3: a cross-margined, low-leverage bulk and an isolated, high-leverage tail. No published table is trusted
(open-source priors disagree threefold on the 100x share), so the prior is two log-normals whose medians are what was
measured on real accounts, and only the size of the tail differs between venues.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

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
    prior = replace(prior, tail_median=min(prior.tail_median, _BOLDEST * max_leverage))
    edges = np.sqrt(leverages[:-1] * leverages[1:])
    cumulative = np.array([_mixture_cdf(prior, float(edge)) for edge in edges])
    shares = np.diff(np.concatenate(([0.0], cumulative, [1.0])))
    offered = leverages <= max_leverage
    offered[0] = True
    shares = np.where(offered, shares, 0.0)
    result: F64 = shares / shares.sum()
    return result


def _mixture_cdf(prior: LeveragePrior, leverage: float) -> float:
    bulk = _log_normal_cdf(leverage, prior.bulk_median, prior.bulk_log_sd)
    tail = _log_normal_cdf(leverage, prior.tail_median, prior.tail_log_sd)
    return (1 - prior.tail_share) * bulk + prior.tail_share * tail


def _log_normal_cdf(value: float, median: float, log_sd: float) -> float:
    return 0.5 * (1 + math.erf(math.log(value / median) / (log_sd * math.sqrt(2))))
