"""Maps and books of a tick as scans run on them: small copies, which any thread may read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.backend import Backend, select_backend
from forcedmove_kernels.fixed_point import LONG
from forcedmove_server.engine.chains import cell_of, lower_edge, overfull
from forcedmove_server.engine.depth import ImpactLaw, VisibleBook, remaining
from forcedmove_server.engine.frames import Tick
from forcedmove_server.engine.maps import SymbolState

F64 = NDArray[np.float64]
U64 = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the newest tick was made from. Nothing of it changes, but the next tick leaves it behind."""

    tick: Tick
    states: Mapping[str, SymbolState]
    backend: Backend


@dataclass(frozen=True, slots=True)
class ScanBook:
    """One symbol: what fires and what rests per cell of its axis, and the law of the depth beyond."""

    symbol: str
    mark_usd: float
    first_bin: int
    bin_width: float
    notional: U64  # [2, C] cents, of the venues that are asked for
    visible: VisibleBook  # of all venues
    law: ImpactLaw
    sigma_measured: bool

    @property
    def cells(self) -> int:
        """Cells of the axis, the outer two included."""
        return int(self.notional.shape[1])

    def cell(self, price_usd: float) -> int:
        """Cell of a price; the outer cells stand for everything outside the window."""
        return cell_of(price_usd, self.first_bin, self.bin_width, self.cells)

    def edge(self, cell: int) -> float:
        """Lower edge of a cell in USD."""
        return lower_edge(cell, self.first_bin, self.bin_width)


def size_of(snapshot: Snapshot) -> tuple[int, int]:
    """Return how many symbols have a map, and how many cells an axis has."""
    return len(snapshot.tick.maps), max((state.profile.shape[1] for state in snapshot.states.values()), default=0)


@dataclass(frozen=True, slots=True)
class TakenBooks:
    """The books of a scan, the maps' stamps by symbol, and how many symbols there are none of."""

    backend: Backend
    books: tuple[ScanBook, ...]
    stamps: Mapping[str, tuple[int, int]]  # seq and event time
    missing: int


def take_books(symbols: Iterable[str] | None, venues: tuple[str, ...]) -> Callable[[Snapshot], TakenBooks]:
    """Return what takes the books of some symbols (None: all) out of a snapshot.

    Only positions on ``venues`` (empty: all) fire. A symbol without a market on any of them is missing, and so is one
    that holds more than kernels take on a side.
    """
    wanted = None if symbols is None else tuple(symbols)

    def take(snapshot: Snapshot) -> TakenBooks:
        names = tuple(snapshot.tick.maps) if wanted is None else wanted
        found, stamps = [], {}
        for name in names:
            state, newest = snapshot.states.get(name), snapshot.tick.maps.get(name)
            if state is None or newest is None or not state.rows.mark_usd > 0:
                continue
            chosen = [cents for venue, cents in state.venue_cents.items() if not venues or venue in venues]
            if chosen:
                notional: U64 = np.stack(chosen).sum(axis=0, dtype=np.uint64) if venues else state.profile.copy()
                if overfull(notional) is not None:
                    continue
                stamps[name] = newest.seq, newest.event_time_ns
                found.append(
                    replace(book_of(state), notional=notional, visible=VisibleBook(*(a.copy() for a in state.visible)))
                )
        return TakenBooks(snapshot.backend, tuple(found), stamps, len(names) - len(found))

    return take


def book_of(state: SymbolState) -> ScanBook:
    """Return a state as chains run through it. Its arrays are views into those of all symbols: copy them to keep it."""
    return ScanBook(
        symbol=state.rows.symbol,
        mark_usd=state.rows.mark_usd,
        first_bin=state.first_bin,
        bin_width=state.rows.bin_width_usd,
        notional=state.profile,
        visible=state.visible,
        law=state.law,
        sigma_measured=state.sigma_measured,
    )


def beside(backend: Backend) -> Backend:
    """Return a backend for work beside the engine's thread.

    On a processor one with a single thread: kernels on several wait for each other's launches, ticks included. A GPU
    gives batches of chains a queue of lower priority by itself.
    """
    return select_backend("cpu", threads=1)[0] if backend.name == "cpu" else backend


@dataclass(frozen=True, slots=True)
class Outward:
    """One side of a book by position: cells from the mark's (position 0) to the outer one, the way a shock goes.

    ``fires`` u64 ``[L]`` cents, ``visible`` float64 ``[L]`` USD, ``unseen`` ``[L]`` which part the law fills, ``edges``
    float64 ``[L + 1]`` USD, nearest first: position ``p`` lies between edges ``p`` and ``p + 1``. ``left`` float64
    ``[L]`` is the depth that a chain meets over what rests there now (engine.depth).
    """

    book: ScanBook
    side: int
    fires: U64
    visible: F64
    unseen: F64
    edges: F64
    left: F64

    @property
    def sign(self) -> int:
        """Direction in prices: -1 down, 1 up."""
        return -1 if self.side == LONG else 1

    def position(self, price_usd: float) -> int:
        """Position of a price on this side; one of the other side is at the mark."""
        return max(self.sign * (self.book.cell(price_usd) - self.book.cell(self.book.mark_usd)), 0)

    def prices(self) -> F64:
        """Lower edges of all positions' cells in USD, float64 ``[L]``: where the mark is that has reached them.

        As :func:`~forcedmove_server.engine.chains.lower_edge`, to the bit: a quotient of two exact numbers.
        """
        cells = self.book.cell(self.book.mark_usd) + self.sign * np.arange(len(self.fires))
        multiple = (self.book.first_bin + np.maximum(cells - 1, 0)).astype(np.float64)
        width = Decimal(repr(float(self.book.bin_width)))
        found: F64 = multiple * float(width.scaleb(self._decimals)) / 10.0**self._decimals
        return found

    @property
    def _decimals(self) -> int:
        exponent = Decimal(repr(float(self.book.bin_width))).as_tuple().exponent
        return max(-int(exponent), 0)


def outward(book: ScanBook, side: int) -> Outward:
    """Return one side of a book, 0 long or 1 short, by position."""
    mark, cells = book.cell(book.mark_usd), book.cells
    edges: F64 = np.asarray((book.first_bin + np.arange(cells + 1) - 1) * book.bin_width, np.float64)
    if side == LONG:
        way, by_position = slice(mark, None, -1), edges[mark + 1 :: -1]
        moved = np.maximum(book.mark_usd - by_position[:-1], 0)
    else:
        way, by_position = slice(mark, None), edges[mark:]
        moved = np.maximum(by_position[:-1] - book.mark_usd, 0)
    left = remaining(moved, book.mark_usd, book.law)
    usd, unseen = (values[side, way] for values in book.visible)
    return Outward(book, side, book.notional[side, way], usd, unseen, by_position, left)
