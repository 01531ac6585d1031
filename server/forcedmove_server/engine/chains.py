"""Cascade chains in prices and dollars: from a kernel's cells to what readers are told."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.arrays import Chain
from forcedmove_kernels.backend import Backend
from forcedmove_kernels.fixed_point import MAX_ROW_CENTS, PRICE_BITS
from forcedmove_server.engine.frames import SIDES, ChainInfo, LevelInfo, SideName
from forcedmove_server.errors import InputError, UnfitMapError

U64 = NDArray[np.uint64]

#: price units beyond which no window lies; what is further, infinity included, is outside all of them
_FAR = float(1 << 62)


def cell_of(price: float, first_bin: int, bin_width: float, cells: int) -> int:
    """Cell of a USD price on an axis of ``cells`` cells: 0 below the window, ``cells - 1`` above it."""
    units = price * (1 << PRICE_BITS) / bin_width
    if units > _FAR:
        return cells - 1
    absolute = round(units) >> PRICE_BITS  # as price_units, without its limit
    return min(max(absolute - first_bin + 1, 0), cells - 1)


def lower_edge(cell: int, first_bin: int, bin_width: float) -> float:
    """Lower edge of a cell in USD; the cell below the window has none and gives the window's own.

    Decimal, so that bin 3 of width 0.1 starts at 0.3.
    """
    return float(Decimal(repr(float(bin_width))) * (first_bin + max(cell - 1, 0)))


def overfull(profile: U64) -> int | None:
    """Return a side of a profile, u64 ``[2, C]`` cents, that holds more than MAX_ROW_CENTS; None where none does.

    Kernels take no such row: it is a contract's size that was misunderstood, not a market.
    """
    found = np.flatnonzero(profile.sum(1, dtype=np.float64) > MAX_ROW_CENTS)
    return int(found[0]) if len(found) else None


def check_rows(symbol: str, profile: U64) -> None:
    """Raise UnfitMapError for a symbol whose profile is :func:`overfull`."""
    side = overfull(profile)
    if side is not None:
        held = float(profile[side].sum(dtype=np.float64)) / 100
        reason = f"more than the {MAX_ROW_CENTS / 100:g} USD that chains are followed through on one side"
        raise UnfitMapError(symbol, f"notional_usd of {SIDES[side]}s", held, reason)


def check_shock(shock: float, first_bin: int, bin_width: float, cells: int) -> int:
    """Return the cell that a shock in USD leads to. Raises InputError for a price outside the window."""
    cell = cell_of(shock, first_bin, bin_width, cells)
    if not 0 < cell < cells - 1:
        low, high = lower_edge(1, first_bin, bin_width), lower_edge(cells - 1, first_bin, bin_width)
        raise InputError("price_usd", shock, f"must lie in the map's window, {low:g} to {high:g}")
    return cell


def follow_shock(
    backend: Backend, notional: U64, depth: U64, first_bin: int, bin_width: float, mark: float, shock: float
) -> Chain:
    """Run the kernel for a shock in USD; ``notional`` and ``depth`` u64 ``[C]`` cents are those of the side it hits.

    Below the mark that is longs and bids, above it shorts and asks. A shock that stays in the mark's own bin has no
    direction in cells, which the kernel reads as down; upwards the axis is mirrored.
    """
    cells = len(notional)
    start, hit = (cell_of(price, first_bin, bin_width, cells) for price in (mark, shock))
    if start != hit or shock <= mark:
        return backend.cascade_chain(notional, depth, start, hit)
    last = cells - 1
    flipped = backend.cascade_chain(
        np.ascontiguousarray(notional[::-1]), np.ascontiguousarray(depth[::-1]), last - start, last - hit
    )
    return Chain(
        last - flipped.near, last - flipped.far, flipped.notional, last - flipped.reached, last - flipped.terminal
    )


def chain_info(
    chain: Chain,
    side: SideName,
    first_bin: int,
    bin_width: float,
    mark: float,
    shock: float,
    venue_cents: Mapping[str, U64],
) -> ChainInfo:
    """Put a kernel's chain into prices and dollars.

    ``venue_cents`` is what fires per venue and cell, u64 ``[C]`` cents, for at least one venue; its sum is the notional
    that the chain was run on. A level's trigger is the lower edge of its largest bin (the one met first among equals),
    its venues come largest first. Mark and shock are exact; other prices are lower edges of bins, except that a mark
    which stays in the shock's bin stays at the shock.
    """
    cells = len(next(iter(venue_cents.values())))
    shock_cell = cell_of(shock, first_bin, bin_width, cells)

    def price_at(cell: int) -> float:
        return shock if cell == shock_cell else lower_edge(cell, first_bin, bin_width)

    levels = []
    cumulative = 0
    for near, far, notional, reached in zip(chain.near, chain.far, chain.notional, chain.reached, strict=True):
        low, high = sorted((int(near), int(far)))
        held = {venue: cents[low : high + 1] for venue, cents in venue_cents.items()}
        total: U64 = np.asarray(list(held.values()), np.uint64).sum(axis=0)
        peak = low + int(np.argmax(total)) if near <= far else high - int(np.argmax(total[::-1]))
        share = {venue: int(cents.sum()) for venue, cents in held.items()}
        cumulative += int(notional)
        levels.append(
            LevelInfo(
                trigger_price_usd=lower_edge(peak, first_bin, bin_width),
                notional_usd=int(notional) / 100,
                venues=tuple(sorted((v for v in share if share[v]), key=lambda venue: -share[venue])),
                cumulative_usd=cumulative / 100,
                price_after_usd=price_at(int(reached)),
            )
        )
    terminal = price_at(chain.terminal)
    return ChainInfo(
        side=side,
        start_price_usd=mark,
        shock_price_usd=shock,
        levels=tuple(levels),
        total_usd=cumulative / 100,
        terminal_price_usd=terminal,
        amplification=(mark - terminal) / (mark - shock) if mark != shock else 1.0,
        beyond_window=chain.terminal in (0, cells - 1),
    )
