"""What every reader of recorded files yields: blocks of event columns in file order, and the rules they share.

A *feed* is a run of files that continue one another (one kind of one market, or one grouped file). Its readers decode
a block of lines at a time into the event dtypes; ``market`` in these rows counts the instruments that the feed
announced, and the merge turns it into the registry's index.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.market.events import EVENT_DTYPES, Channel, Records
from forcedmove_server.market.instruments import Instrument

Times = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

SECOND_NS = 1_000_000_000
DAY_NS = 86_400 * SECOND_NS
#: exchange times outside 2009..2100 are damage, and would overflow sums
EARLIEST_NS, LATEST_NS = 1_230_768_000 * SECOND_NS, 4_102_444_800 * SECOND_NS


class Note(NamedTuple):
    """A defect: kind, number of rows and one place where it was seen."""

    kind: str
    rows: int
    place: str


class ImpliedPrice(NamedTuple):
    """A price that follows from a row's quantity and value; the replay compares it with trades of the same time."""

    key: str
    time_ns: int
    price: float
    place: str


@dataclass(slots=True)
class Block:
    """Decoded rows of a feed: no later block holds a row before ``watermark_ns``; ``instruments`` are new ones."""

    kinds: dict[str, Records] = field(default_factory=dict)
    watermark_ns: int = EARLIEST_NS
    instruments: list[Instrument] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    implied: list[ImpliedPrice] = field(default_factory=list)
    bytes_read: int = 0


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """A file that a reader recognised: ``kind`` is the reader's word for its content, ``name`` its symbol if named.

    ``begins_ns`` and ``ends_ns`` are the day or month in the file's name; files that name none span all time.
    """

    path: Path
    kind: str
    name: str = ""
    begins_ns: int = EARLIEST_NS
    ends_ns: int = LATEST_NS


@dataclass(frozen=True, slots=True)
class Options:
    """How to read: what every format's ``feeds`` is given."""

    book: InstrumentBook
    kinds: frozenset[str]  # the event kinds to yield
    block_bytes: int = 1 << 20  # decompressed bytes decoded at a time


@dataclass(slots=True)
class Feed:
    """Files that continue one another. ``open(wanted)`` starts reading: ``wanted`` says which market keys to keep."""

    name: str
    files: list[RecordedFile]
    keys: list[str]  # market keys that the files hold, as far as their first lines show
    open: Callable[[Callable[[str], bool]], Iterator[Block]]
    further: Callable[[], list[Instrument]] | None = None  # reads the files for markets further down; None if none
    own_gaps: frozenset[Channel] = frozenset()  # channels whose gaps the feed itself knows

    @property
    def size_bytes(self) -> int:
        """Bytes on disk."""
        return sum(f.path.stat().st_size for f in self.files)


class Place:
    """Turns a row number of a block into ``file:line``; ``lines`` are the line numbers where rows were skipped."""

    def __init__(self, path: Path, first_line: int, lines: NDArray[np.int64] | None = None) -> None:
        self.path, self.first_line, self.lines = path, first_line, lines

    def __call__(self, row: int) -> str:
        """Return the place of a row."""
        line = self.first_line + row if self.lines is None else int(self.lines[row])
        return f"{self.path}:{line}"

    def of(self, rows: NDArray[np.int64]) -> Place:
        """Return the places of a selection of rows."""
        lines = self.first_line + rows if self.lines is None else self.lines[rows]
        return Place(self.path, self.first_line, lines)


class TimeOrder:
    """Decides which rows of a feed are early enough to be put in order, whatever the block size.

    A row more than ``span_ns`` behind the newest before it is late and dropped; one less far behind is kept and sorted
    into place. A lone row further than that ahead of both neighbours is a damaged stamp: believing it would make all
    that follows late.
    """

    def __init__(self, span_ns: int) -> None:
        self.span_ns = span_ns
        self.newest = EARLIEST_NS

    @property
    def watermark_ns(self) -> int:
        """No row admitted later is before this time."""
        return self.newest - self.span_ns

    def narrow(self, keep: Mask, time_ns: Times, what: str, place: Place, notes: list[Note]) -> Mask:
        """Return which of the rows to keep are early enough; defects are noted as ``<what>.<defect>``."""
        if keep.all():
            admitted = self._admit(time_ns, what, place, notes)
            return keep if admitted is None else admitted
        rows = np.flatnonzero(keep)
        admitted = self._admit(time_ns[rows], what, place.of(rows), notes)
        narrowed = np.zeros(len(keep), np.bool_)
        narrowed[rows if admitted is None else rows[admitted]] = True
        return narrowed

    def _admit(self, time_ns: Times, what: str, place: Place, notes: list[Note]) -> Mask | None:
        """Return which rows to keep, None for all."""
        if not len(time_ns):
            return None
        if time_ns[0] >= self.newest and time_ns[-1] <= LATEST_NS and bool(np.all(time_ns[1:] >= time_ns[:-1])):
            self.newest = max(self.newest, self._believable_end(time_ns))
            return None
        keep = (time_ns >= EARLIEST_NS) & (time_ns <= LATEST_NS)
        note_rows(notes, f"{what}.bad_time", ~keep, place)
        rows = np.flatnonzero(keep)
        times = time_ns[rows]
        if len(times) > 1:
            first = self.newest if self.newest > EARLIEST_NS else times[1]
            before = np.concatenate(([first], times[:-1]))
            after = np.concatenate((times[1:], times[-1:]))
            spike = (times - before > self.span_ns) & (times - after > self.span_ns)
            note_rows(notes, f"{what}.time_spike", spike, place, rows)
            rows, times = rows[~spike], times[~spike]
        if not len(times):
            return np.zeros(len(time_ns), np.bool_)
        newest_before = np.maximum.accumulate(np.concatenate(([self.newest], times[:-1])))
        behind = newest_before - times
        late = behind > self.span_ns
        note_rows(notes, f"{what}.late", late, place, rows)
        note_rows(notes, f"{what}.out_of_order", (behind > 0) & ~late, place, rows)
        self.newest = max(self.newest, self._believable_end(times[~late]))
        mask = np.zeros(len(time_ns), np.bool_)
        mask[rows[~late]] = True
        return mask

    def _believable_end(self, times: Times) -> int:
        """Newest time of a block; a last row that leaps a day ahead waits for its successor to confirm it."""
        if not len(times):
            return self.newest
        last = int(times.max())
        if last == int(times[-1]):
            previous = int(times[:-1].max()) if len(times) > 1 else self.newest
            if previous > EARLIEST_NS and last - previous > DAY_NS + self.span_ns:
                return previous
        return last


def note_rows(notes: list[Note], kind: str, bad: Mask, place: Place, rows: NDArray[np.int64] | None = None) -> None:
    """Note the rows where ``bad`` is set; ``rows`` maps them to rows of the block."""
    count = int(np.count_nonzero(bad))
    if count:
        first = int(np.argmax(bad))
        notes.append(Note(kind, count, place(int(rows[first]) if rows is not None else first)))


def positive(values: Floats) -> Mask:
    """Where values are finite and greater than zero."""
    return np.asarray((values > 0) & (values < np.inf), np.bool_)


def build(kind: str, time_ns: Times, **columns: Any) -> Records:
    """Fill rows of one kind; a missing ``received_ns`` repeats the exchange time, other missing fields are zero."""
    dtype = EVENT_DTYPES[kind]
    rows = np.zeros(len(time_ns), dtype)
    rows["time_ns"] = time_ns
    if "received_ns" in (dtype.names or ()):
        rows["received_ns"] = time_ns
    for name, values in columns.items():
        rows[name] = values
    return rows


def decimal_step(values: Floats, sample: int = 4096, most: int = 9) -> float:
    """Return the power of ten that values are multiples of, judged on a sample; 1.0 for whole or no numbers."""
    sampled = values[np.isfinite(values)][:sample]
    for decimals in range(most):
        scaled = sampled * 10.0**decimals
        if np.all(np.abs(scaled - np.rint(scaled)) <= np.abs(scaled) * 1e-12 + 1e-9):
            return float(10.0**-decimals)
    return float(10.0**-most)


class InstrumentBook:
    """The descriptions one replay has settled on, by market key; several feeds may describe the same market.

    Until reading begins a description may become finer: the smallest steps seen in any file win. Then it is fixed.
    """

    def __init__(self, contract_sizes: Mapping[str, float] | None = None) -> None:
        self.contract_sizes = dict(contract_sizes or {})
        self.fixed = False
        self._known: dict[str, Instrument] = {}

    def describe(self, instrument: Instrument) -> str:
        """Add a description or refine the known one. Returns the market key."""
        known = self._known.get(instrument.key)
        if known is None:
            self._known[instrument.key] = instrument
        elif not self.fixed:
            self._known[instrument.key] = dataclasses.replace(
                known,
                quantity_step=min(known.quantity_step, instrument.quantity_step),
                price_step=min(known.price_step, instrument.price_step),
            )
        return instrument.key

    def __getitem__(self, key: str) -> Instrument:
        return self._known[key]


class SeenIds:
    """Recognises ids that came before: those of a whole file delivered twice, or of rows repeated nearby."""

    def __init__(self, remembered: int = 1 << 16) -> None:
        self._remembered = remembered
        self._tail = np.empty(0, np.int64)

    @property
    def newest(self) -> int | None:
        """Highest id so far."""
        return int(self._tail[-1]) if len(self._tail) else None

    def once(self, ids: NDArray[np.int64]) -> Mask:
        """Return which rows carry an id for the first time. An id below all that are remembered counts as seen."""
        first = np.ones(len(ids), np.bool_)
        if not len(ids):
            return first
        rising = bool(np.all(ids[1:] > ids[:-1]))
        if not rising:
            first[:] = False
            first[np.unique(ids, return_index=True)[1]] = True
        if self.newest is not None and ids.min() <= self.newest:
            first &= (ids >= self._tail[0]) & ~np.isin(ids, self._tail)
        self._tail = np.unique(np.concatenate((self._tail, ids[first])))[-self._remembered :]
        return first
