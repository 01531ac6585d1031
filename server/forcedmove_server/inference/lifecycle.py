"""Market events to position deltas: the OI-conserving lifecycle of MODEL section 2.

Between two observations of a market's open interest, trades fill a volume histogram by entry bucket and trigger prices
widen the extremes. At the observation this becomes one update: the extremes sweep, what survives is scaled, what opened
is appended. The kernels do those three; nothing here looks at a cohort.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.arrays import NOT_OBSERVED, Updates
from forcedmove_kernels.backend import Backend
from forcedmove_kernels.fixed_point import PRICE_BITS
from forcedmove_server.config import ModelConfig
from forcedmove_server.inference.coverage import TapeCoverage
from forcedmove_server.inference.histograms import Histograms
from forcedmove_server.inference.intervals import Intervals
from forcedmove_server.inference.markets import BUCKETS, MarketTable
from forcedmove_server.inference.openings import bar_path, entry_spread, split_openings, with_path
from forcedmove_server.inference.plausible import without_implausible
from forcedmove_server.inference.tape_rate import TapeRate
from forcedmove_server.market.defects import Defects
from forcedmove_server.market.events import EventBatch
from forcedmove_server.market.instruments import InstrumentRegistry

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]

_DAY_NS = 86_400 * 10**9
#: a market's price axis is fixed by the median of this many first prices at most
_FIRST_PRICES = 9
#: observations worked on at once: their histograms take 16 KiB each
_MOST_OBSERVATIONS = 256


class PositionInference:
    """Turns event batches into lifecycle updates, one per market and observation of its open interest."""

    def __init__(self, registry: InstrumentRegistry, model: ModelConfig, backend: Backend, max_markets: int) -> None:
        self.markets = MarketTable(registry, max_markets)
        self.coverage = TapeCoverage(max_markets, model.tape_silence_chance)
        self._rate = TapeRate(max_markets, model)
        self.defects = Defects()
        self._model = model
        self._backend = backend

    def step(self, batch: EventBatch) -> Iterator[Updates]:
        """Yield the updates of one batch, in time order; apply each before asking for the next.

        Raises InstrumentError when an open interest cannot be in its instrument's unit.
        """
        self._admit_new(batch)
        for part in _parts(without_implausible(batch, self.markets, self.defects)):
            yield from self._step(part)
        for rows in batch.by_kind().values():
            np.add.at(self.markets.events, rows["market"], 1)

    def sweep(self) -> Updates | None:
        """Return an update that only sweeps: levels crossed since the last update die now, not at the next observation.

        None when no market's price has moved since.
        """
        markets = self.markets
        moved = np.flatnonzero((markets.low < markets.high) & (markets.open_interest >= 0))
        if not len(moved):
            return None
        price = markets.price[moved]
        update = Updates(
            market=moved.astype(np.int32),
            low=markets.low[moved],
            high=markets.high[moved],
            price=price,
            open_interest=np.full((len(moved), 2), NOT_OBSERVED, np.uint32),
            opened_at=(markets.price_ns[moved] // 10**9).astype(np.uint32),
            first_open=np.arange(len(moved) + 1, dtype=np.int64),
            open_entry=price,
            open_lots=np.zeros(len(moved), np.uint32),
        )
        markets.low[moved] = markets.high[moved] = price
        return update

    def _admit_new(self, batch: EventBatch) -> None:
        for rows in batch.by_kind().values():
            if len(rows) and int(rows["market"].max()) >= self.markets.capacity:
                self.markets.refuse(int(rows["market"].max()))
        for rows in (batch.mark_prices, batch.trades):
            new = np.flatnonzero(self.markets.bin_width[rows["market"]] == 0)
            for market in np.unique(rows["market"][new]).tolist():
                first = rows["price"][rows["market"] == market][:_FIRST_PRICES]
                self.markets.admit(market, float(np.median(first)), int(rows["time_ns"][0]))

    def _step(self, batch: EventBatch) -> Iterator[Updates]:
        """Yield the updates of a part of a batch that has few observations."""
        markets = self.markets
        spans = Intervals(batch, markets)
        interest = batch.open_interest
        priced = spans.price[spans.observed] > 0
        self.defects.note("open_interest.before_any_price", int((~priced).sum()))
        # rounds in order, so that each round's updates are one slice
        chosen = np.flatnonzero(priced)
        chosen = chosen[np.argsort(spans.round[chosen], kind="stable")]
        rows, round_, closes = interest[chosen], spans.round[chosen], spans.observed[chosen]
        market = rows["market"].astype(np.int64)
        lot_known = markets.lot[spans.market] > 0
        lots = markets.lots(market, rows["quantity"], spans.price[closes])
        lot_fixed_by = _row_fixing_the_lot(spans, market, closes, lot_known)
        # the first observation fixes the lot; volume before it has no use
        counted = spans.trade_row > lot_fixed_by[spans.column(batch.trades["market"])]
        histograms = Histograms(self._backend, spans, markets, batch.trades, counted)
        # a move beyond the histogram between two observations: counted at its edge
        self.defects.note("trades.outside_histogram", histograms.clamped)
        first_trade = np.full(len(spans.market), spans.rows, np.int64)
        np.minimum.at(first_trade, spans.column(batch.trades["market"]), spans.trade_row)
        taped = markets.has_tape[market] | (closes >= first_trade[spans.column(rows["market"])])
        before = _previous(lots, market, round_, markets.open_interest)
        before_ns = _previous(rows["time_ns"], market, round_, markets.open_interest_ns)
        traded, weight, first_bucket = histograms.of(closes)
        volume = traded.sum(1).astype(np.float64)
        elapsed_ns = np.where(before < 0, 0, np.maximum(rows["time_ns"] - before_ns, 0))
        missing_ns = self._missing_ns(batch, chosen, taped, before, elapsed_ns)
        assumed = self._assumed(market, round_, volume, before, taped, elapsed_ns, missing_ns)
        opened = self._opened(lots, before, volume + assumed)
        traded, weight, first_bucket = self._fill_untaped(
            spans, closes, (traded, weight, first_bucket), before < 0, assumed
        )
        first_open, entry, open_lots = split_openings(traded, weight, first_bucket, opened, spans.price[closes])
        self._carry(spans, batch, histograms)
        markets.open_interest[market] = lots
        markets.open_interest_ns[market] = rows["time_ns"]
        for number in range(int(round_.max(initial=-1)) + 1):
            begin, end = np.searchsorted(round_, (number, number + 1))
            if begin == end:
                continue
            part, openings = slice(begin, end), slice(first_open[begin], first_open[end])
            yield Updates(
                market=market[part].astype(np.int32),
                low=spans.low[closes[part]],
                high=spans.high[closes[part]],
                price=spans.price[closes[part]],
                open_interest=np.stack([lots[part]] * 2, 1).astype(np.uint32),
                opened_at=(rows["time_ns"][part] // 10**9).astype(np.uint32),
                first_open=first_open[begin : end + 1] - first_open[begin],
                open_entry=entry[openings],
                open_lots=open_lots[openings],
            )

    def _missing_ns(
        self, batch: EventBatch, chosen: I64, taped: NDArray[np.bool_], before: I64, elapsed_ns: I64
    ) -> I64:
        """Return how long the tape was missing, as the ``chosen`` observations know by their time.

        Of a market that never traded it is all the time that they close, of others what :class:`TapeCoverage` says.
        """
        # what came before any price is no observation of the lifecycle, but coverage begins anew there as well
        ever, first = np.zeros((2, len(batch.open_interest)), bool)
        ever[chosen], first[chosen] = taped, before < 0
        told = self.coverage.take(batch, ever, first)[chosen]
        return np.where(taped, told, elapsed_ns)

    def _assumed(
        self,
        market: I64,
        round_: I64,
        volume: F64,
        before: I64,
        taped: NDArray[np.bool_],
        elapsed_ns: I64,
        missing_ns: I64,
    ) -> F64:
        """Return lots that were traded while the tape was missing, float64 ``[O]``."""
        interest, days, missing = np.maximum(before, 0).astype(np.float64), elapsed_ns / _DAY_NS, missing_ns / _DAY_NS
        counts = taped & (before >= 0)
        lot = self.markets.lot[market]
        covered = np.where(counts, days - missing, 0.0)
        rate = self._rate.follow(market, round_, np.where(counts, volume * lot, 0.0), interest * lot, days, covered)
        assumed: F64 = np.where(taped, rate, self._model.assumed_volume_per_oi_day) * interest * missing
        return assumed

    def _opened(self, lots: I64, before: I64, traded: F64) -> I64:
        """Lots opened per side: ``max(dOI, 0) + turnover (max(V, |dOI|) - |dOI|)``, at most the open interest."""
        first = before < 0
        change = np.where(first, lots, lots - before)
        replaced = np.floor(self._model.turnover * np.maximum(traded - np.abs(change), 0))
        opened = np.minimum(np.maximum(change, 0) + replaced, lots).astype(np.int64)
        return np.where(first, lots, opened)

    def _fill_untaped(
        self, spans: Intervals, closes: I64, tape: tuple[U64, U64, I64], first: NDArray[np.bool_], assumed: F64
    ) -> tuple[U64, U64, I64]:
        """Give rows without trades the histogram of their price path, and new markets a spread of old entries.

        Rows of which a part of the tape is missing get their ``assumed`` volume (lots) along their path on top of it.
        Returns volume and turnover, wider where they have to be, and every row's first bucket.
        """
        volume, turnover, first_bucket = tape
        seen = volume.any(1)
        part = np.flatnonzero(~first & seen & (assumed > 0))
        filled: list[tuple[I64, I64, U64, U64]] = []
        for row, make in ((np.flatnonzero(first), self._old_entries), (np.flatnonzero(~first & ~seen), self._path)):
            if len(row):
                filled.append((row, *make(spans, closes[row])))
        if len(part):
            path = self._path(spans, closes[part])
            partly = first_bucket[part], volume[part], turnover[part]
            filled.append((part, *with_path(*partly, *path, np.rint(assumed[part]).astype(np.uint64))))
        width = max(volume.shape[1], *(made[2].shape[1] for made in filled), 0)
        wide = np.zeros((2, len(volume), width), np.uint64)
        wide[:, :, : volume.shape[1]] = volume, turnover
        for row, begins, made_volume, made_turnover in filled:
            first_bucket[row] = begins
            wide[:, row] = 0
            wide[0, row, : made_volume.shape[1]], wide[1, row, : made_volume.shape[1]] = made_volume, made_turnover
        return wide[0], wide[1], first_bucket

    def _old_entries(self, spans: Intervals, row: I64) -> tuple[I64, U64, U64]:
        begins = np.maximum((spans.price[row] >> PRICE_BITS).astype(np.int64) - BUCKETS // 2, 0)
        return (begins, *entry_spread(begins, BUCKETS, spans.price[row], self._model.initial_entry_spread))

    def _path(self, spans: Intervals, row: I64) -> tuple[I64, U64, U64]:
        return bar_path(spans.low[row], spans.high[row], spans.price[row], BUCKETS)

    def _carry(self, spans: Intervals, batch: EventBatch, histograms: Histograms) -> None:
        """Keep each market's open interval for the next batch."""
        markets, open_row = self.markets, spans.pending
        markets.price[spans.market] = spans.price[open_row]
        seen = spans.price[open_row] > 0
        markets.low[spans.market[seen]] = spans.low[open_row[seen]]
        markets.high[spans.market[seen]] = spans.high[open_row[seen]]
        markets.first_bucket[spans.market] = spans.first_bucket[open_row]
        histograms.carry()
        markets.has_tape[batch.trades["market"]] = True


def _parts(batch: EventBatch) -> Iterator[EventBatch]:
    """Cut a batch in time so that each part has few observations."""
    interest = batch.open_interest
    if len(interest) <= _MOST_OBSERVATIONS:
        yield batch
        return
    ends = [*interest["time_ns"][_MOST_OBSERVATIONS - 1 :: _MOST_OBSERVATIONS].tolist(), batch.until_ns]
    kinds = {kind: rows for kind, rows in batch.by_kind().items() if kind not in ("liquidations", "depth")}
    begins = dict.fromkeys(kinds, 0)
    for number, end_ns in enumerate(ends):
        last = number == len(ends) - 1
        part = {}
        for kind, rows in kinds.items():
            # an observation closes everything up to and including its own time
            end = len(rows) if last else int(np.searchsorted(rows["time_ns"], end_ns, "right"))
            part[kind] = rows[begins[kind] : end]
            begins[kind] = end
        yield EventBatch(until_ns=end_ns, **part)


def _row_fixing_the_lot(spans: Intervals, market: I64, closes: I64, lot_known: NDArray[np.bool_]) -> I64:
    """Return per market of ``spans`` the interval whose observation fixed its lot; -1 where an earlier batch did."""
    fixed = np.where(lot_known, -1, spans.rows)
    np.minimum.at(fixed, spans.column(market.astype(np.int32)), closes)
    return np.where(lot_known, -1, fixed)


def _previous(value: I64, market: I64, round_: I64, carried: I64) -> I64:
    """Value of the observation before, of the same market: from this part, else the carried one (i64 ``[M]``)."""
    order = np.lexsort((round_, market))
    shifted = np.empty_like(value)
    shifted[order[1:]] = value[order[:-1]]
    first = np.ones(len(market), bool)
    first[order[1:]] = market[order[1:]] != market[order[:-1]]
    return np.where(first, carried[market], shifted)
