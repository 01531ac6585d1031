"""How long a market's tape was missing: what is told of its feed and, where nobody tells, silences beyond chance.

Where trades are missing, volume is unknown and not zero. A market's missing time is the union of

* gaps that are announced for its trades: lost connections, missing numbers, holes that a replay finds;
* the time since its feed of trades was told to be lost, until it is told to be fed. One that is told to be fed when it
  already is belongs to a recorder that was started anew: its trades were missing since the last of them;
* while nobody tells of the feed, silences longer than a minute that a Poisson process would show with a chance below
  ``model.tape_silence_chance``. Its rate is that of seconds with a trade, since one order makes many trades at once,
  over those sixths of the two hours before that had any. A trade that comes after a minute's silence, and is stamped
  more than a minute past every observation and mark of its batch, has a wrong clock: it neither ends a silence nor
  counts. A batch with no observation and no mark has no such reference, and there all trades count.

The silence rule takes the rate for constant over those two hours. Where it is not, chance is more frequent than it
says. Measured false alarms, at a chance of 1e-6: a rate that follows the hour of the day, 115 s in 480 h; one that is
20 times lower every other 2 h, 8 % of all time; log-normal times between trades (sd 1.3), 8 %; Pareto ones (1.8),
16 %; a market that trades 8 h a day, all of its closed hours. The volume opened was 1.00 to 1.08 times what it should
be.

An observation knows what is stamped up to its own time. Counts are integers and a union does not mind what is told
twice, so that it does not matter how events are cut into batches.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.market.events import Channel, EventBatch, Records

I64 = NDArray[np.int64]
Bools = NDArray[np.bool_]

_SECOND_NS = 10**9
#: a shorter silence replaces next to nothing, and trading pauses for seconds more often than chance would have it
_SHORTEST_NS = 60 * _SECOND_NS
#: rates are counted over spans of ten minutes, of which the last twelve count
_SPAN_S, _SPANS = 600, 12
#: seconds with a trade from which on a rate counts as known
_LEAST_SECONDS = 30
#: spans of missing time remembered of a market; nothing older than a forgotten one is missing any more
_MOST_MISSING = 64
_NEVER = np.iinfo(np.int64).max
#: of a feed of which nobody told, and of one that is fed
_UNTOLD, _LIVE = -1, -2
#: what happens; of one time, in this order
_GAP, _HOLE, _STATE, _OBSERVATION = 0, 1, 2, 3


class TapeCoverage:
    """Missing time of the tapes of ``capacity`` markets."""

    def __init__(self, capacity: int, silence_chance: float) -> None:
        self._improbable = -math.log(silence_chance)
        #: nothing before is missing: a market's first observation, or its last one before it ever traded
        self._floor_ns = np.full(capacity, -1, np.int64)
        #: when the feed was lost, or one of the two above
        self._lost_ns = np.full(capacity, _UNTOLD, np.int64)
        self._last_ns = np.full(capacity, -1, np.int64)  # the newest trade
        self._longest_ns = np.full(capacity, _NEVER, np.int64)  # silence after it that may be chance
        # seconds with a trade by span, in a ring
        self._span = np.full((capacity, _SPANS + 1), -1, np.int64)
        self._seconds = np.zeros((capacity, _SPANS + 1), np.int64)
        # the last silence beyond chance of a feed that was told to live, as (begin, end)
        self._unexplained: dict[int, tuple[int, int]] = {}
        self._missing: dict[int, list[tuple[int, int]]] = {}
        self._owed_ns = np.zeros(capacity, np.int64)  # missing time that no observation was told of

    def take(self, batch: EventBatch, taped: Bools, first: Bools) -> I64:
        """Take a batch in; return the missing time that each of its ``O`` observations of open interest tells first.

        ``taped`` and ``first`` bool ``[O]`` say of each whether its market has traded by then, and whether it is the
        market's first. These begin anew: they know of no missing time, and none before them counts later.
        """
        interest, trades = batch.open_interest, batch.trades
        market, anew = interest["market"].astype(np.int64), first | ~taped
        gaps = batch.gaps[batch.gaps["channel"] == Channel.TRADES]
        states = batch.feed_states[batch.feed_states["channel"] == Channel.TRADES]
        tape = self._count(self._of_now(trades, batch))
        newest, longest = tape.before(market, interest["time_ns"])
        silent = (newest >= 0) & (interest["time_ns"] - newest > longest)
        holes = tape.holes()
        found = np.zeros(len(interest), np.int64)
        restless = (self._lost_ns >= 0) | (self._owed_ns > 0)
        for concerned in (gaps["market"], states["market"], holes.market, market[silent]):
            restless[concerned] = True
        calm = ~restless[market]
        np.maximum.at(self._floor_ns, market[calm & anew], interest["time_ns"][calm & anew])
        seen = np.flatnonzero(~calm)
        told_since, _ = tape.before(states["market"].astype(np.int64), states["time_ns"])
        happened = _in_order(
            _Happened.of(_GAP, gaps["market"], gaps["time_ns"], gaps["begin_ns"]),
            _Happened.of(_HOLE, holes.market, holes.time_ns, holes.begin_ns),
            _Happened.of(_STATE, states["market"], states["time_ns"], told_since, states["live"]),
            _Happened.of(
                _OBSERVATION, market[seen], interest["time_ns"][seen], np.where(silent, newest, -1)[seen], seen
            ),
        )
        for kind, m, time_ns, begin_ns, value in zip(*(column.tolist() for column in happened), strict=True):
            lost_ns = int(self._lost_ns[m])
            if kind == _GAP or (kind == _HOLE and lost_ns == _UNTOLD):
                self._miss(m, begin_ns, time_ns)
            elif kind == _HOLE:
                self._unexplained[m] = begin_ns, time_ns
            elif kind == _STATE and value:
                self._fed(m, time_ns, begin_ns)
            elif kind == _STATE:
                self._lost_ns[m] = lost_ns if lost_ns >= 0 else time_ns
            elif kind == _OBSERVATION:
                since_ns = lost_ns if lost_ns != _UNTOLD else begin_ns
                if anew[value]:
                    self._floor_ns[m] = time_ns
                    self._missing.pop(m, None)
                elif since_ns >= 0:
                    self._miss(m, since_ns, time_ns)
                found[value] = 0 if anew[value] else self._owed_ns[m]
                self._owed_ns[m] = 0
        return found

    def lost(self, markets: list[int], now_ns: int) -> list[int]:
        """Return which of these markets' tapes are missing at a time, of those that ever had one."""
        lost, last = self._lost_ns[markets], self._last_ns[markets]
        silent = (lost == _UNTOLD) & (now_ns - last > self._longest_ns[markets])
        missing = (last >= 0) & ((lost >= 0) | silent)
        return [m for m, is_missing in zip(markets, missing.tolist(), strict=True) if is_missing]

    def _fed(self, market: int, time_ns: int, newest_ns: int) -> None:
        """Note that a feed is told to live from now on, with ``newest_ns`` as the time of its newest trade, or -1."""
        lost_ns = int(self._lost_ns[market])
        begin_ns, end_ns = self._unexplained.pop(market, (-1, -1))
        if lost_ns >= 0:
            self._miss(market, lost_ns, time_ns)
        elif lost_ns == _LIVE and begin_ns >= 0 and time_ns - end_ns <= _SHORTEST_NS:
            self._miss(market, begin_ns, end_ns)  # a recorder's first trades may come before it tells of them
        elif lost_ns == _LIVE and newest_ns >= 0:
            self._miss(market, newest_ns, time_ns)
        self._lost_ns[market] = _LIVE

    def _miss(self, market: int, begin_ns: int, end_ns: int) -> None:
        floor_ns = int(self._floor_ns[market])
        if floor_ns < 0 or end_ns <= max(begin_ns, floor_ns):
            return
        spans = self._missing.setdefault(market, [])
        self._owed_ns[market] += _united(spans, max(begin_ns, floor_ns), end_ns)
        if len(spans) > _MOST_MISSING:
            self._floor_ns[market] = spans.pop(0)[1]

    def _of_now(self, trades: Records, batch: EventBatch) -> Records:
        """Leave out trades that follow a silence and lie past all that is known of the time; see the module."""
        known = [int(rows["time_ns"].max()) for rows in (batch.open_interest, batch.mark_prices) if len(rows)]
        if not known:
            return trades
        late = np.flatnonzero(trades["time_ns"] > max(known) + _SHORTEST_NS)
        if not len(late):
            return trades
        keep = np.ones(len(trades), bool)
        for m in np.unique(trades["market"][late]).tolist():
            rows = np.flatnonzero(trades["market"] == m)
            time_ns = trades["time_ns"][rows]
            previous_ns = np.concatenate(([self._last_ns[m]], time_ns[:-1]))
            jumps = (time_ns > max(known) + _SHORTEST_NS) & (time_ns - previous_ns > _SHORTEST_NS) & (previous_ns >= 0)
            keep[rows[np.maximum.accumulate(jumps)]] = False
        return trades[keep]

    def _count(self, trades: Records) -> _Tape:
        """Count seconds with a trade by span; return the tape with the silence that may follow each trade."""
        order = np.argsort(trades["market"], kind="stable")
        market, time_ns = trades["market"][order].astype(np.int64), trades["time_ns"][order]
        opens = np.ones(len(market), bool)
        opens[1:] = market[1:] != market[:-1]
        previous_ns = np.concatenate(([-1], time_ns[:-1]))[: len(market)]
        previous_ns[opens] = self._last_ns[market[opens]]
        last_ns, last_longest = self._last_ns.copy(), self._longest_ns.copy()
        second = time_ns // _SECOND_NS
        counted = second != previous_ns // _SECOND_NS
        span = second // _SPAN_S
        begins = np.flatnonzero(opens | (span != np.concatenate(([-1], span[:-1]))[: len(span)]))
        seconds = np.add.reduceat(counted.astype(np.int64), begins) if len(begins) else begins
        market_of, span_of = market[begins], span[begins]
        place = span_of % (_SPANS + 1)
        # markets that begin a span are followed one by one: in the first second of it all, else next to none
        beginning = np.isin(market_of, market_of[self._span[market_of, place] != span_of])
        np.add.at(self._seconds, (market_of[~beginning], place[~beginning]), seconds[~beginning])
        longest = self._longest_ns[market_of]
        for k in np.flatnonzero(beginning).tolist():
            m, s, p = int(market_of[k]), int(span_of[k]), int(place[k])
            if self._span[m, p] != s:
                self._span[m, p], self._seconds[m, p] = s, 0
                self._longest_ns[m] = self._may_be_chance(m, s)
            self._seconds[m, p] += seconds[k]
            longest[k] = self._longest_ns[m]
        closes = np.concatenate((opens[1:], [True]))[: len(market)]
        self._last_ns[market[closes]] = time_ns[closes]
        longest = np.repeat(longest, np.diff(np.append(begins, len(market))))
        return _Tape(market, time_ns, longest, last_ns, last_longest)

    def _may_be_chance(self, market: int, span: int) -> int:
        """Longest silence, in ns, that the rate of the spans before one allows for."""
        counts = (self._span[market] >= span - _SPANS) & (self._span[market] < span) & (self._seconds[market] > 0)
        seconds = int(self._seconds[market, counts].sum())
        if seconds < _LEAST_SECONDS:
            return int(_NEVER)
        idle = max(1 - seconds / (_SPAN_S * int(counts.sum())), 1e-9)
        return max(_SHORTEST_NS, math.ceil(self._improbable / -math.log(idle)) * _SECOND_NS)


class _Happened(NamedTuple):
    """What may concern missing time, columns i64 ``[N]``; see :meth:`TapeCoverage.take`."""

    kind: I64
    market: I64
    time_ns: I64
    begin_ns: I64
    value: I64

    @classmethod
    def of(cls, kind: int, market: I64, time_ns: I64, begin_ns: I64, value: I64 | None = None) -> _Happened:
        columns = [market, time_ns, begin_ns, np.zeros(len(market)) if value is None else value]
        return cls(np.full(len(market), kind, np.int64), *(column.astype(np.int64) for column in columns))


class _Tape(NamedTuple):
    """A batch's trades market by market in time, i64 ``[N]`` each, and what was known of every market, i64 ``[M]``."""

    market: I64
    time_ns: I64
    longest: I64  # silence after a trade that may be chance, ns
    last_ns: I64
    last_longest: I64

    def before(self, market: I64, time_ns: I64) -> tuple[I64, I64]:
        """Return markets' newest trades up to some times, -1 where there is none, and the silence that may follow."""
        trades = len(self.market)
        if not trades or not len(market):
            return self.last_ns[market], self.last_longest[market]
        markets, times = np.concatenate((self.market, market)), np.concatenate((self.time_ns, time_ns))
        order = np.lexsort((np.arange(len(markets)) >= trades, times, markets))
        at = np.empty(len(markets), np.int64)
        at[order] = np.maximum.accumulate(np.where(order < trades, order, -1))
        at = at[trades:]
        newest, longest = self.last_ns[market], self.last_longest[market]
        own = np.flatnonzero(at >= 0)
        own = own[self.market[at[own]] == market[own]]
        newest[own], longest[own] = self.time_ns[at[own]], self.longest[at[own]]
        return newest, longest

    def holes(self) -> _Happened:
        """Return the silences between trades that cannot be chance."""
        opens = np.ones(len(self.market), bool)
        opens[1:] = self.market[1:] != self.market[:-1]
        before_ns, longest = np.empty_like(self.time_ns), np.empty_like(self.longest)
        before_ns[1:], longest[1:] = self.time_ns[:-1], self.longest[:-1]
        before_ns[opens], longest[opens] = self.last_ns[self.market[opens]], self.last_longest[self.market[opens]]
        found = (before_ns >= 0) & (self.time_ns - before_ns > longest)
        return _Happened.of(_HOLE, self.market[found], self.time_ns[found], before_ns[found])


def _in_order(*kinds: _Happened) -> _Happened:
    columns = _Happened(*(np.concatenate(column) for column in zip(*kinds, strict=True)))
    order = np.lexsort((columns.kind, columns.time_ns, columns.market))
    return _Happened(*(column[order] for column in columns))


def _united(spans: list[tuple[int, int]], begin_ns: int, end_ns: int) -> int:
    """Add a span to disjoint ones that are in order, in place; return how much longer their union became."""
    new_ns = end_ns - begin_ns
    apart, first, last = [], begin_ns, end_ns
    for begin, end in spans:
        if end < begin_ns or begin > end_ns:
            apart.append((begin, end))
        else:
            new_ns -= min(end, end_ns) - max(begin, begin_ns)
            first, last = min(first, begin), max(last, end)
    spans[:] = sorted([*apart, (first, last)])
    return new_ns
