"""Recorded files as a source: deterministic, columnar, tolerant of what real recordings look like."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from forcedmove_server.errors import FileFormatError, InstrumentError, UnknownNameError
from forcedmove_server.market.defects import Defects
from forcedmove_server.market.events import EVENT_DTYPES, EventBatch
from forcedmove_server.market.instruments import Instrument, InstrumentRegistry
from forcedmove_server.sources.batching import in_time_order
from forcedmove_server.sources.replay.blocks import (
    EARLIEST_NS,
    LATEST_NS,
    SECOND_NS,
    Block,
    Feed,
    ImpliedPrice,
    InstrumentBook,
    Options,
)
from forcedmove_server.sources.replay.detect import FORMATS, find_files
from forcedmove_server.sources.replay.gaps import GapWatch
from forcedmove_server.sources.replay.merge import Lane, merge

__all__ = ["ReplaySource"]

_HOUR_NS = 3600 * SECOND_NS
#: event time of a batch: files of bars alone have few rows in five minutes
_WINDOW_NS, _BARS_WINDOW_NS = 300 * SECOND_NS, _HOUR_NS
#: decoded text held per feed; many feeds share this much
_MAX_BLOCK_BYTES, _ALL_BLOCKS_BYTES, _MIN_BLOCK_BYTES = 1 << 20, 1 << 26, 1 << 16


class ReplaySource:
    """Replays a recorded file, or all recorded files below a folder, in event-time order.

    ``format`` is ``auto`` or a key of ``detect.FORMATS``; ``symbols`` are names as people type them (BTC,
    binance:BTCUSDT, BTC/USDT:USDT); ``kinds`` limits the event kinds read; ``from_ns`` is inclusive and ``until_ns``
    exclusive; ``contract_sizes`` gives the size of contracts by market key where the built-in table does not know it. A
    batch spans at most ``window_ns`` and about ``max_rows``. The same files and arguments give the same batches.

    Raises FileFormatError, UnknownNameError or InstrumentError at once for input that cannot be used at all; later
    defects are counted.
    """

    def __init__(
        self,
        name: str,
        path: str | Path,
        format: str = "auto",
        symbols: Collection[str] | None = None,
        kinds: Collection[str] | None = None,
        from_ns: int | None = None,
        until_ns: int | None = None,
        contract_sizes: Mapping[str, float] | None = None,
        window_ns: int | None = None,
        max_rows: int = 1 << 16,
    ) -> None:
        self.name = name
        #: whether the last pass read all there is, rather than stopping at ``until_ns``
        self.ran_out = False
        #: the day or month at which the files begin, by their names; None where one names none
        self.begins_ns: int | None = None
        self.defects = Defects()
        self._from_ns = EARLIEST_NS if from_ns is None else from_ns
        self._until_ns = LATEST_NS if until_ns is None else until_ns
        self._max_rows = max_rows
        self._book = InstrumentBook(contract_sizes)
        self._feeds, window = self._open(Path(path), format, frozenset(EVENT_DTYPES if kinds is None else kinds))
        self._window_ns = window_ns or window
        self._keys = self._resolve(symbols) if symbols else None
        if self._keys is not None:
            keys = self._keys
            self._feeds = [feed for feed in self._feeds if feed.further or not keys.isdisjoint(feed.keys)]
        self._bytes = sum(feed.size_bytes for feed in self._feeds)
        self._bytes_read = 0
        self._found_at_once = Defects(self.defects.counts.copy(), self.defects.samples.copy())

    @property
    def instruments(self) -> list[Instrument]:
        """The instruments that the files hold, as far as their first lines show, before any filter by symbol."""
        return [self._book[key] for key in dict.fromkeys(key for feed in self._feeds for key in feed.keys)]

    def batches(self, registry: InstrumentRegistry) -> Iterator[EventBatch]:
        """Yield the events; see :class:`Source`. Each call replays from the start and counts defects anew."""
        self.defects.counts, self.defects.samples = (
            self._found_at_once.counts.copy(),
            self._found_at_once.samples.copy(),
        )
        self._bytes_read = 0
        return self._read(registry)

    def progress(self) -> float | None:
        """Share of the bytes read so far."""
        return min(1.0, self._bytes_read / self._bytes) if self._bytes else 1.0

    def _open(self, path: Path, format_name: str, kinds: frozenset[str]) -> tuple[list[Feed], int]:
        """Return the feeds, and the window that suits them."""
        unknown = kinds - EVENT_DTYPES.keys()
        if unknown:
            raise UnknownNameError("event kind", sorted(unknown)[0], list(EVENT_DTYPES))
        by_format = find_files(path, format_name, self.defects)
        feeds: list[Feed] = []
        begins: list[int] = []
        for name, files in by_format.items():
            kept = [
                file
                for file in files
                if file.begins_ns - _HOUR_NS < self._until_ns and file.ends_ns + _HOUR_NS > self._from_ns
            ]
            begins += [file.begins_ns for file in kept]
            share = max(_MIN_BLOCK_BYTES, min(_MAX_BLOCK_BYTES, _ALL_BLOCKS_BYTES // max(1, len(files))))
            feeds += FORMATS[name].feeds(kept, Options(self._book, kinds, share))
        if not feeds:
            wanted = f"{', '.join(sorted(kinds))} between {_shown(self._from_ns)} and {_shown(self._until_ns)}"
            raise FileFormatError("path", str(path), f"holds no {wanted}")
        self.begins_ns = min(begins) if min(begins) > EARLIEST_NS else None
        return feeds, _BARS_WINDOW_NS if by_format.keys() <= {"oi-bars"} else _WINDOW_NS

    def _resolve(self, symbols: Collection[str]) -> set[str]:
        held = InstrumentRegistry(self.instruments)
        try:
            return {held[k].key for name in symbols for k in held.resolve(name)}
        except UnknownNameError:
            for feed in self._feeds:
                for instrument in feed.further() if feed.further else ():
                    if instrument.key not in {known.key for known in held}:
                        held.add(instrument)
            return {held[k].key for name in symbols for k in held.resolve(name)}

    def _read(self, registry: InstrumentRegistry) -> Iterator[EventBatch]:
        self._book.fixed = True
        self.ran_out = False
        keys = self._keys
        watch = GapWatch(registry, self.defects)
        implied: list[ImpliedPrice] = []

        def arrived(lane: Lane, block: Block) -> None:
            for note in block.notes:
                self.defects.note(*note)
            self._bytes_read += block.bytes_read
            implied.extend(block.implied)
            for instrument in block.instruments:
                market = _register(registry, instrument)
                lane.markets = np.append(lane.markets, np.int32(market))
                watch.muted |= {(market, channel) for channel in lane.feed.own_gaps}

        pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"replay-{self.name}")
        try:
            lanes = [Lane(feed, lambda key: keys is None or key in keys, pool, self._from_ns) for feed in self._feeds]
            for batch in merge(lanes, arrived, self._window_ns, self._max_rows, self._until_ns):
                implied = _check_implied(implied, batch, registry)
                holes = watch.see(batch)
                yield dataclasses.replace(batch, gaps=in_time_order([batch.gaps, holes])) if len(holes) else batch
            self._bytes_read = self._bytes
            self.ran_out = all(lane.first_ns() > LATEST_NS for lane in lanes)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _register(registry: InstrumentRegistry, instrument: Instrument) -> int:
    """Index of an instrument; one that another source described with other steps is the same instrument."""
    try:
        known = registry.index_of(instrument.key)
    except UnknownNameError:
        return registry.add(instrument)
    same = (instrument.base, instrument.contract_type) == (registry[known].base, registry[known].contract_type)
    return known if same else registry.add(instrument)


def _check_implied(implied: list[ImpliedPrice], batch: EventBatch, registry: InstrumentRegistry) -> list[ImpliedPrice]:
    """Compare prices that quantities and values imply with the trades of their time. Returns those still to come.

    Raises InstrumentError when they differ by more than a factor of two: contracts or coins were taken for base units.
    """
    due = [price for price in implied if price.time_ns < batch.until_ns]
    if due and len(batch.trades):
        last = np.zeros(len(registry))
        last[batch.trades["market"]] = batch.trades["price"]
        for price in due:
            symbol = registry[registry.index_of(price.key)].symbol
            traded = max((last[market] for market in registry.markets_of(symbol)), default=0.0)
            if traded > 0 and not 0.5 <= price.price / traded <= 2.0:
                reason = f"quantity and value imply this price, but {symbol} trades at {traded:g}; linear or inverse?"
                raise InstrumentError("price", price.price, reason, f"{price.place} ({price.key})")
    return [price for price in implied if price.time_ns >= batch.until_ns]


def _shown(time_ns: int) -> str:
    return str(np.datetime64(time_ns, "ns").astype("datetime64[s]")) + "Z"
