"""Market events as columns: one NumPy record dtype per kind, gathered in batches.

A replay of millions of trades builds no Python object per trade. Times are exchange times in UTC nanoseconds; sources
that know no receive time repeat the exchange time. Prices are USD. Quantities are *base units* on linear contracts and
*USD* on inverse ones, whatever the venue quotes: conversion is the source's work. ``market`` indexes the
:class:`~forcedmove_server.market.instruments.InstrumentRegistry` that the source was opened with.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Records = NDArray[np.void]

_COMMON = [("time_ns", "<i8"), ("received_ns", "<i8"), ("price", "<f8"), ("quantity", "<f8"), ("market", "<i4")]

#: a trade; ``aggressor`` +1 when the taker bought, -1 when it sold, 0 when the venue does not say
TRADE = np.dtype([*_COMMON, ("aggressor", "<i4")])
#: the price that triggers liquidation on this venue: mark on most, oracle on some
MARK_PRICE = np.dtype(
    [("time_ns", "<i8"), ("received_ns", "<i8"), ("price", "<f8"), ("market", "<i4"), ("_pad", "<i4")]
)
#: contracts open, counted on ONE side
OPEN_INTEREST = np.dtype(
    [("time_ns", "<i8"), ("received_ns", "<i8"), ("quantity", "<f8"), ("market", "<i4"), ("_pad", "<i4")]
)
#: a forced close; ``side`` is the side of the position that was liquidated (0 long, 1 short)
LIQUIDATION = np.dtype([*_COMMON, ("side", "<i4")])
#: one price level of a book snapshot; ``side`` 0 bid, 1 ask; rows of one snapshot share market and time_ns
BOOK_DEPTH = np.dtype([*_COMMON, ("side", "<i4")])
#: a channel lost messages between ``begin_ns`` and ``time_ns``; ``channel`` is a :class:`Channel`
STREAM_GAP = np.dtype([("time_ns", "<i8"), ("begin_ns", "<i8"), ("market", "<i4"), ("channel", "<i4")])
#: from ``time_ns`` on a channel of a market is being fed (``live`` 1), or is not any more (0); collectors tell
FEED_STATE = np.dtype([("time_ns", "<i8"), ("market", "<i4"), ("channel", "<i4"), ("live", "<i4"), ("_pad", "<i4")])


class Channel(IntEnum):
    """The kinds of event a feed carries."""

    TRADES = 0
    MARK_PRICES = 1
    OPEN_INTEREST = 2
    LIQUIDATIONS = 3
    DEPTH = 4


@dataclass(frozen=True, slots=True)
class EventBatch:
    """All events of all markets in one span of event time: each array is sorted by ``time_ns``.

    ``until_ns`` is the watermark: later batches hold no event before it, except out-of-order rows, which a source
    counts as defects.
    """

    until_ns: int
    trades: Records = field(default_factory=lambda: np.empty(0, TRADE))
    mark_prices: Records = field(default_factory=lambda: np.empty(0, MARK_PRICE))
    open_interest: Records = field(default_factory=lambda: np.empty(0, OPEN_INTEREST))
    liquidations: Records = field(default_factory=lambda: np.empty(0, LIQUIDATION))
    depth: Records = field(default_factory=lambda: np.empty(0, BOOK_DEPTH))
    gaps: Records = field(default_factory=lambda: np.empty(0, STREAM_GAP))
    feed_states: Records = field(default_factory=lambda: np.empty(0, FEED_STATE))

    def __len__(self) -> int:
        return sum(len(rows) for rows in self.by_kind().values())

    def by_kind(self) -> dict[str, Records]:
        """Return the arrays by field name: ``trades``, ``mark_prices``, ``open_interest``, ..."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "until_ns"}


EVENT_DTYPES: dict[str, np.dtype[Any]] = {
    "trades": TRADE,
    "mark_prices": MARK_PRICE,
    "open_interest": OPEN_INTEREST,
    "liquidations": LIQUIDATION,
    "depth": BOOK_DEPTH,
    "gaps": STREAM_GAP,
    "feed_states": FEED_STATE,
}
