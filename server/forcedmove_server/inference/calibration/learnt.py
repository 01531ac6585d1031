"""All that a calibration has learnt, as arrays that grow with markets and venues, and to and from a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.errors import FileFormatError, InputError
from forcedmove_server.inference.calibration import saved
from forcedmove_server.inference.calibration.band import Dispersion
from forcedmove_server.inference.calibration.evidence import BY_MARKET, BY_TIER, Evidence
from forcedmove_server.inference.calibration.market_fit import MarketFit, unseen
from forcedmove_server.inference.calibration.registered import Registered
from forcedmove_server.inference.calibration.released import BY_VENUE, Released
from forcedmove_server.inference.calibration.settings import CalibrationSettings
from forcedmove_server.inference.calibration.venue_fit import VenueFit, unfitted

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


class Learnt:
    """Markets, their evidence, and what was last made of it; times in nanoseconds of event time, None before any."""

    def __init__(self, leverages: F64, settings: CalibrationSettings) -> None:
        self.leverages, self.settings = leverages, settings
        tiers = len(leverages)
        self.markets = Registered(tiers)
        self.evidence = Evidence(0, tiers)
        self.released = Released(settings, 0, tiers)
        self.dispersions: list[Dispersion] = []
        self.venue_fit = unfitted(0, 2 * tiers, settings)
        self.market_fit = unseen(self.markets.prior, self.markets.tail, self.markets.venue, self.venue_fit, settings)
        self.clock_ns: int | None = None
        self.fitted_ns: int | None = None
        self.frozen = False

    def make_room(self) -> None:
        """Let arrays have as many rows as there are markets and venues."""
        width, markets = 2 * len(self.leverages), self.markets
        if markets.rows > len(self.evidence.size):
            added = slice(len(self.evidence.size), None)
            self.evidence.grow(markets.rows)
            nobody = np.zeros(markets.rows, np.int64)
            nothing = unfitted(1, width, self.settings)
            fit = unseen(markets.prior[added], markets.tail[added], nobody[added], nothing, self.settings)
            self.market_fit = MarketFit(*_joined(self.market_fit, fit))
        held = len(self.dispersions)
        if len(markets.venues) > held:
            self.released.grow(len(markets.venues))
            self.dispersions += [Dispersion(self.settings.level) for _ in markets.venues[held:]]
            new = unfitted(len(markets.venues) - held, width, self.settings)
            self.venue_fit = VenueFit(*_joined(self.venue_fit, new))

    def set_unseen(self, rows: I64) -> None:
        """Give markets the weights of their venue until the next fit."""
        markets = self.markets
        fit = unseen(markets.prior[rows], markets.tail[rows], markets.venue[rows], self.venue_fit, self.settings)
        for name in MarketFit.__slots__:
            getattr(self.market_fit, name)[rows] = getattr(fit, name)

    def forget(self, factor: float) -> None:
        """Multiply all evidence by ``factor``."""
        self.evidence.forget(factor)
        self.released.forget(factor)
        for dispersion in self.dispersions:
            dispersion.forget(factor)

    def state(self) -> saved.State:
        """Return everything in the form in which it is saved, markets in the order of venue and key."""
        markets, rows = self.markets, self.markets.sorted_rows
        of_markets = {"prior": markets.prior[rows], "tail": markets.tail[rows]}
        of_markets |= {name: getattr(self.evidence, name)[rows] for name in (*BY_TIER, *BY_MARKET)}
        of_markets |= {f"fit.{name}": getattr(self.market_fit, name)[rows] for name in MarketFit.__slots__}
        of_venues = {name: getattr(self.released, name) for name in BY_VENUE}
        of_venues |= {f"fit.{name}": getattr(self.venue_fit, name) for name in VenueFit.__slots__}
        covered = [dispersion.covered for dispersion in self.dispersions]
        of_venues["covered"] = np.array(covered).reshape(-1, len(Dispersion.LADDER))
        of_venues["bins"] = np.array([dispersion.bins for dispersion in self.dispersions])
        return saved.State(
            leverages=self.leverages,
            keys=tuple(markets.keys[row] for row in rows.tolist()),
            venue_of=tuple(markets.venues[markets.venue[row]] for row in rows.tolist()),
            live=tuple(markets.live[rows].tolist()),
            markets=of_markets,
            venues=tuple(markets.venues),
            publishes_all=tuple(None if value < 0 else bool(value) for value in markets.publishes.tolist()),
            of_venues=of_venues,
            clock_ns=self.clock_ns,
            fitted_ns=self.fitted_ns,
            frozen=self.frozen,
        )

    def restored(self, path: Path) -> Learnt:
        """Return what a file holds, for the markets registered here in their rows, and behind them the file's others.

        Those others are not live. Raises :class:`FileFormatError`.
        """
        state = saved.restored(path, self.state())
        found = Learnt(self.leverages, self.settings)
        found.markets = markets = self.markets.copy()
        try:
            for name, publishes_all in zip(state.venues, state.publishes_all, strict=True):
                markets.add_venue(name, publishes_all)
            for key, name, prior, tail in zip(
                state.keys, state.venue_of, state.markets["prior"], state.markets["tail"], strict=True
            ):
                if key not in markets.row_of:
                    markets.add(key, name, prior, state.publishes_all[state.venues.index(name)], tail, live=False)
                elif markets.venues[markets.venue[markets.row_of[key]]] != name:
                    raise InputError("venue", name, f"{key} belongs to another venue here")
        except InputError as error:
            raise FileFormatError(error.field, error.value, error.reason, str(path)) from error
        found.make_room()
        found._fill(state)
        return found

    def _fill(self, state: saved.State) -> None:
        venues = np.array([self.markets.venue_number(name) for name in state.venues], np.int64)
        for name in BY_VENUE:
            getattr(self.released, name)[venues] = state.of_venues[name]
        for name in VenueFit.__slots__:
            getattr(self.venue_fit, name)[venues] = state.of_venues[f"fit.{name}"]
        for number, covered, bins in zip(
            venues.tolist(), state.of_venues["covered"], state.of_venues["bins"].tolist(), strict=True
        ):
            self.dispersions[number].covered, self.dispersions[number].bins = covered.copy(), bins
        self.set_unseen(self.markets.sorted_rows)
        rows = np.array([self.markets.row_of[key] for key in state.keys], np.int64)
        for name in (*BY_TIER, *BY_MARKET):
            getattr(self.evidence, name)[rows] = state.markets[name]
        # what was fitted to another prior waits for the next fit
        same = (self.markets.prior[rows] == state.markets["prior"]).all((1, 2))
        for name in MarketFit.__slots__:
            getattr(self.market_fit, name)[rows[same]] = state.markets[f"fit.{name}"][same]
        self.clock_ns, self.fitted_ns, self.frozen = state.clock_ns, state.fitted_ns, state.frozen


def _joined(first: MarketFit | VenueFit, then: MarketFit | VenueFit) -> list[F64]:
    """Arrays of two fits, one below the other."""
    return [np.concatenate([getattr(first, name), getattr(then, name)]) for name in first.__slots__]
