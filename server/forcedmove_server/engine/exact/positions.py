"""Who told which exact positions, and for how long that counts: changes checked as a whole, then put into the map."""

from __future__ import annotations

import logging
import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from forcedmove_kernels.fixed_point import PRICE_BITS
from forcedmove_server.config import ExactConfig
from forcedmove_server.engine.exact.ingest import Ingest
from forcedmove_server.engine.exact.rows import ExactRows, Held, MarketChange
from forcedmove_server.engine.pipeline import Pipeline
from forcedmove_server.engine.rules import LEVERAGES
from forcedmove_server.errors import InputError, LimitError
from forcedmove_server.inference.markets import IMPLAUSIBLE_OPEN_INTEREST_USD
from forcedmove_server.market.ingest import IngestAck, IngestRequest
from forcedmove_server.market.positions import (
    ExactPosition,
    HeldPosition,
    HeldPositions,
    PositionAck,
    PositionChange,
    PositionKey,
    PositionState,
)

_LOG = logging.getLogger(__name__)

#: names that others may use; those of the server's own producers have a colon in them
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LOOK_S = 1.0
#: last sequences that are remembered of producers that are gone: those gone longest are forgotten first
_REMEMBERED = 4096


@dataclass(slots=True)
class _Producer:
    sequence: int
    heard_s: float
    representative: bool = False
    held: dict[PositionKey, Held] = field(default_factory=dict)


class ExactPositions:
    """Implements what the engine is asked about exact positions. Belongs to its thread."""

    def __init__(self, pipeline: Pipeline, config: ExactConfig, clock: Callable[[], float]) -> None:
        """``clock`` gives the seconds by which producers grow old."""
        self._pipeline, self._config, self._clock = pipeline, config, clock
        self._producers: dict[str, _Producer] = {}
        #: last sequences of clients that have no place any more, longest gone first
        self._gone: OrderedDict[str, int] = OrderedDict()
        #: by market key: those whose market is not ready
        self._waiting: dict[str, list[Held]] = {}
        self._looked_s = -_LOOK_S
        self._full: set[str] = set()
        self._ingest = Ingest(self)

    @property
    def _rows(self) -> ExactRows:
        return self._pipeline.exact

    def ingest(self, request: IngestRequest) -> IngestAck:
        """Settle a request of a stream; to be called after a sweep, and :meth:`fill` after the last of several."""
        return self._ingest.take(request)

    def change(self, change: PositionChange) -> PositionAck:
        """Apply a change, all of it or nothing; to be called after a sweep.

        A sequence that is not newer than the producer's last changes nothing, also after the producer was gone for a
        while. Raises InputError naming the field, UnknownNameError for a market that is not here, and LimitError.
        """
        producer, applied, left_out = self.apply(change)
        self.fill()
        return self._ack(producer, applied, left_out)

    def fill(self) -> None:
        """Bring the map's rows up to date with what was applied since."""
        self._rows.fill()

    def apply(self, change: PositionChange, places: Sequence[str] = ()) -> tuple[_Producer, bool, int]:
        """Apply a change as :meth:`change` does, but for the map's rows: :meth:`fill` is to follow, once for many.

        ``places`` are what errors call the positions, where those are not what was sent. Returns the producer, whether
        anything was applied, and how many positions lenience left out.
        """
        if change.sequence < 1:
            raise InputError("sequence", change.sequence, "must be above zero, and rise with every change")
        producer = self._producers.get(change.producer)
        if producer is not None and change.sequence <= producer.sequence:
            return producer, False, 0
        if producer is None and change.sequence <= self._gone.get(change.producer, 0):
            return self._as_gone(change.producer), False, 0
        if producer is None:
            self._check_producers(change.producer)
        before = producer.held if producer is not None else {}
        told, left_out = self._checked(change, before, places)
        new = {key: held for key, held in told.items() if held is not before.get(key)}
        gone = {key for key in (before if change.replace else (*change.removed, *new)) if key in before}
        gone -= told.keys() - new.keys()
        count = len(before) - len(gone) + len(new)
        if count > self._config.max_positions:
            raise LimitError(
                f"{change.producer} would have {count} positions, exact.max_positions is {self._config.max_positions}"
            )
        changes = self._changes([before[key] for key in gone], new.values())
        self._rows.check_room(changes)
        if producer is None:
            producer = _Producer(0, 0.0)
            if new:  # who has nothing to tell takes no place
                self._producers[change.producer] = producer
                self._gone.pop(change.producer, None)
            else:
                self._remember(change.producer, change.sequence)
        producer.sequence, producer.heard_s = change.sequence, self._clock()
        self._drop(producer, gone)
        producer.held |= new
        for held in new.values():
            if held.state is PositionState.WAITING:
                self._waiting.setdefault(held.position.key.market, []).append(held)
        if change.representative != producer.representative:
            producer.representative = change.representative
            for held in producer.held.values():
                held.representative = change.representative
        self._rows.change(changes)
        return producer, True, left_out

    def held(self, name: str) -> HeldPositions:
        """Return what a producer told and still stands; of one that is gone its last sequence."""
        producer = self._producers.get(name)
        if producer is None:
            return HeldPositions(self._gone.get(name, 0), 0.0, ())
        return HeldPositions(
            producer.sequence, self._expires_in_s(producer), tuple(_as_held(held) for held in producer.held.values())
        )

    def last_sequence(self, name: str) -> int:
        """Return the newest sequence of a producer that is settled; 0 where nothing is known of it."""
        producer = self._producers.get(name)
        return self._gone.get(name, 0) if producer is None else producer.sequence

    def holdings(self, name: str) -> Mapping[PositionKey, Held]:
        """Return what a producer holds, by key."""
        producer = self._producers.get(name)
        return {} if producer is None else producer.held

    def hear(self, name: str) -> None:
        """Let what a producer told stand on: it is there."""
        if name in self._producers:
            self._producers[name].heard_s = self._clock()

    def note(self, name: str, sequence: int) -> None:
        """Count a request that changes nothing: its producer was heard of, and goes on behind it."""
        producer = self._producers.get(name)
        if producer is None:
            self._remember(name, sequence)
        else:
            producer.sequence, producer.heard_s = sequence, self._clock()

    def refresh(self) -> None:
        """Bring the map up to date, after a sweep: who was not heard of for too long is gone, who waited may begin."""
        self._tell_crossed()
        now_s = self._clock()
        if now_s - self._looked_s >= _LOOK_S:
            self._looked_s = now_s
            for name, producer in list(self._producers.items()):
                if self._expires_in_s(producer) <= 0:
                    self._expire(name, producer)
        for key in list(self._waiting):
            market = self._pipeline.registry.find(key)
            if market is not None and self._rows.is_ready(market):
                self._begin(market, self._waiting.pop(key))
        self._rows.fill()

    def _checked(
        self, change: PositionChange, before: Mapping[PositionKey, Held], places: Sequence[str]
    ) -> tuple[dict[PositionKey, Held], int]:
        """Return the positions by key, with what their markets make of them, and how many were left out.

        Who is told again as it is stays the same object; who is told again otherwise keeps its age.
        """
        new: dict[PositionKey, Held] = {}
        left_out = 0
        for place, position in enumerate(change.positions):
            named = places[place] if places else f"positions[{place}]"
            try:
                held = self._held(named, position, change)
                if position.key in new:
                    raise InputError(named, position.key.market, "told twice, with the same account and side")
            except InputError:
                if not change.lenient:
                    raise
                left_out += 1
                continue
            new[position.key] = _renewed(before.get(position.key), held)
        for place, key in enumerate(change.removed):
            if key in new:
                raise InputError(f"removed[{place}]", key.market, "is set in the same change")
        return new, left_out

    def _held(self, field_name: str, position: ExactPosition, change: PositionChange) -> Held:
        position.check(field_name)
        opened_at_s = self._pipeline.now_s if position.opened_at_ns is None else position.opened_at_ns // 10**9
        held = Held(position, min(opened_at_s, max(self._pipeline.now_s, 0)), change.representative, change.producer)
        registry = self._pipeline.registry
        market = registry.find(position.key.market) if change.lenient else registry.index_of(position.key.market)
        if market is None or not self._rows.is_ready(market):
            return held
        price = float(self._pipeline.inference.markets.price[market])
        mark = price * float(self._pipeline.inference.markets.bin_width[market]) / (1 << PRICE_BITS)
        if not self._rows.place(market, held):
            raise InputError(
                f"{field_name}.liquidation_price_usd",
                position.liquidation_price_usd,
                f"must be {'below' if position.key.side == 0 else 'above'} the mark, {mark:g}: it has been crossed",
            )
        if registry[market].notional_usd(held.quantity, mark) > IMPLAUSIBLE_OPEN_INTEREST_USD:
            raise InputError(f"{field_name}.quantity", held.quantity, "is not a plausible position")
        held.state = PositionState.LIVE
        return held

    def _changes(self, gone: Iterable[Held], new: Iterable[Held]) -> dict[int, MarketChange]:
        """Return what leaves markets, and what comes to them."""
        changes: dict[int, MarketChange] = {}
        for coming, some in ((False, gone), (True, new)):
            for held in some:
                if held.state is PositionState.LIVE:
                    market = self._pipeline.registry.index_of(held.position.key.market)
                    change = changes.setdefault(market, MarketChange())
                    (change.coming if coming else change.leaving).append(held)
        return changes

    def _drop(self, producer: _Producer, gone: Iterable[PositionKey]) -> None:
        waiting = []
        for key in gone:
            held = producer.held.pop(key)
            if held.state is PositionState.WAITING:
                waiting.append(held)
        for held in waiting:
            others = self._waiting[held.position.key.market]
            others.remove(held)
            if not others:
                del self._waiting[held.position.key.market]

    def _begin(self, market: int, waiting: list[Held]) -> None:
        """Put positions into the map whose market has become ready."""
        key, alive = self._pipeline.registry[market].key, []
        for held in waiting:
            if self._rows.place(market, held):
                alive.append(held)
            else:
                held.state = PositionState.CROSSED
        if len(alive) < len(waiting):
            _LOG.info("%s: %d exact positions had been crossed before the map began", key, len(waiting) - len(alive))
        changes = {market: MarketChange(coming=alive)} if alive else {}
        try:
            self._rows.check_room(changes)
        except LimitError as error:
            self._waiting[key] = alive
            if key not in self._full:
                self._full.add(key)
                _LOG.warning("%d exact positions wait: %s", len(alive), error)
            return
        self._full.discard(key)
        self._rows.change(changes)

    def _expire(self, name: str, producer: _Producer) -> None:
        changes = self._changes(producer.held.values(), ())
        if producer.held:
            _LOG.warning(
                "exact positions of %s are gone: %d, not heard of for %g s",
                name,
                len(producer.held),
                self._config.max_age_s,
            )
        self._drop(producer, list(producer.held))
        del self._producers[name]
        self._remember(name, producer.sequence)
        self._rows.change(changes)

    def _remember(self, name: str, sequence: int) -> None:
        """Keep the last sequence of a client that has no place, so that an older message is not taken for news.

        The server's own producers send in order; nobody can send for them.
        """
        if ":" in name:
            return
        self._gone[name] = sequence
        self._gone.move_to_end(name)
        if len(self._gone) > _REMEMBERED:
            self._gone.popitem(last=False)

    def _as_gone(self, name: str) -> _Producer:
        return _Producer(self._gone[name], self._clock() - self._config.max_age_s)

    def _tell_crossed(self) -> None:
        crossed, self._rows.crossed = self._rows.crossed, []
        for market, count in Counter(held.position.key.market for held in crossed).items():
            _LOG.info("%s: %d exact positions were crossed", market, count)

    def _check_producers(self, name: str) -> None:
        if ":" in name:
            return
        others = sum(":" not in known for known in self._producers)
        if others >= self._config.max_producers:
            raise LimitError(f"there are {others} producers of exact positions; exact.max_producers allows no more")

    def _expires_in_s(self, producer: _Producer) -> float:
        return self._config.max_age_s - (self._clock() - producer.heard_s)

    def _ack(self, producer: _Producer, applied: bool, left_out: int = 0) -> PositionAck:
        states = Counter(held.state for held in producer.held.values())
        return PositionAck(
            applied=applied,
            sequence=producer.sequence,
            live=states[PositionState.LIVE],
            waiting=states[PositionState.WAITING],
            left_out=left_out,
            expires_in_s=self._expires_in_s(producer),
        )


def check_producer(name: str) -> None:
    """Raise InputError for a name that no client can have."""
    if not _NAME.fullmatch(name):
        raise InputError("producer", name[:80], "must be 1 to 64 letters, digits, dots, dashes and underscores")


def _renewed(before: Held | None, now: Held) -> Held:
    """Return what is held from now on of a position that may have been told before."""
    if before is None or before.state is PositionState.CROSSED:
        return now
    if now.position.opened_at_ns is None:
        now.opened_at_s = before.opened_at_s
    # what is given as notional follows the mark
    same = now.position == before.position and now.position.quantity is not None
    return before if same and now.state is before.state else now


def _as_held(held: Held) -> HeldPosition:
    live = held.state is PositionState.LIVE
    quantity = held.quantity if held.state is not PositionState.WAITING else held.position.quantity
    return HeldPosition(held.position, held.state, quantity, float(LEVERAGES[held.tier]) if live else None)
