"""What the RPC layer may ask of an engine. The engine answers on its own thread; nothing here blocks on a reader."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol, TypeVar

from forcedmove_server.engine.bands import Uncertainty
from forcedmove_server.engine.cascade.forecast import ShockQuestion
from forcedmove_server.engine.clusters.log import EventLog
from forcedmove_server.engine.frames import RenderedView, SymbolMap, Tick, ViewSpec
from forcedmove_server.engine.scan.books import Snapshot
from forcedmove_server.engine.taken import TakenQuestion
from forcedmove_server.market.ingest import IngestAck, IngestRequest
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.market.positions import HeldPositions, PositionAck, PositionChange
from forcedmove_server.scorecard.summary import MarketRow, Summary, Where

T = TypeVar("T")


class ViewService(Protocol):
    """The engine as streams of maps see it: what a gateway has of it."""

    epoch: int
    registry: InstrumentRegistry
    #: deadlines skipped because a tick overran
    missed_ticks: int

    def latest(self) -> Tick:
        """Return the newest tick. Raises NotReadyError before the first one that has a map."""
        ...

    def on_tick(self, callback: Callable[[Tick], None]) -> Callable[[], None]:
        """Call ``callback`` on the engine thread after every tick; returns the function that stops it."""
        ...

    def watch(self, symbol: str, spec: ViewSpec) -> Callable[[], None]:
        """Have every tick carry this view of ``symbol`` whenever it changes, from the next tick on, starting with one
        rendering even if nothing changed. Counted: returns the function that gives the wish back.
        """
        ...

    def render(self, symbol: str, spec: ViewSpec) -> Future[tuple[SymbolMap, RenderedView]]:
        """Render one view now. The future raises UnknownNameError, NotReadyError or InputError."""
        ...


class EngineService(ViewService, Protocol):
    """The engine as its readers see it."""

    #: what armed, triggered and came of it; any thread may read it
    events: EventLog

    def uncertainty(self, symbol: str, spec: ViewSpec) -> Future[tuple[SymbolMap, Uncertainty]]:
        """Render one view now, with what its credible bands are made of; any thread may then ask for one.

        The view is one that has bands. The future raises as that of :meth:`render`.
        """
        ...

    def simulate(
        self, symbol: str, question: Callable[[SymbolMap], ShockQuestion]
    ) -> Future[tuple[SymbolMap, TakenQuestion]]:
        """Take what a question about a shock is answered with, whose price may depend on the map that it is followed
        through; any thread may then compute the answer.

        The future raises UnknownNameError, NotReadyError, InputError, UnfitMapError, LimitError, and what ``question``
        raises.
        """
        ...

    def at_tick(self, look: Callable[[Snapshot], T]) -> Future[T]:
        """Look at what the newest tick was made from; ``look`` is short, for no tick comes meanwhile.

        The future raises NotReadyError before the first map, and what ``look`` raises.
        """
        ...

    def scorecard(self, where: Where) -> Future[Summary]:
        """Summarise what was scored of one part of the markets.

        The future raises NotReadyError, saying why, where no scorecard is kept.
        """
        ...

    def scorecard_rows(self) -> Future[tuple[MarketRow, ...]]:
        """List point values of every venue, symbol, side, horizon and map. The future raises as ``scorecard`` does."""
        ...

    def set_positions(self, change: PositionChange) -> Future[PositionAck]:
        """Take in a change of exact positions, all of it or nothing; done when the map that has it was published.

        The future raises InputError naming the field, UnknownNameError, LimitError or NotReadyError.
        """
        ...

    def ingest(self, request: IngestRequest) -> Future[IngestAck]:
        """Settle a request of a stream, all of it or nothing; done when the map that has it was published.

        What is wrong with it is in the answer; the future raises NotReadyError where it may be sent again.
        """
        ...

    def positions(self, producer: str) -> Future[HeldPositions]:
        """Return the positions that a producer told of; nothing of one that is not known."""
        ...
