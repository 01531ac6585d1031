"""Listings and events for tests that need no venue."""

from __future__ import annotations

import dataclasses
from typing import Any

from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.records import Book, Liquidation, Mark, OpenInterest, OpenInterestValue, Trade
from forcedmove_server.collectors.venue import listing_of

NOW_NS = 1_790_000_000_000_000_000
SECOND_NS = 1_000_000_000
MS_NS = 1_000_000


def listed(native_id: str = "BTCUSDT", market: int = 0) -> Listing:
    coin = native_id.removesuffix("USDT")
    return dataclasses.replace(listing_of("fake", native_id, coin, "USDT"), market=market)


BTC, ETH = listed(), listed("ETHUSDT", 1)


def trade(number: int = 1, time_ns: int = NOW_NS, listing: Listing = BTC, **fields: Any) -> Trade:
    return Trade(listing, time_ns, 100.0, float(number), 1, fields.pop("trade_id", number), **fields)


def liquidation(number: int = 1, time_ns: int = NOW_NS, listing: Listing = BTC, **fields: Any) -> Liquidation:
    return Liquidation(listing, time_ns, 100.0, float(number), 0, number, **fields)


def mark(price: float = 100.0, time_ns: int = NOW_NS, listing: Listing = BTC) -> Mark:
    return Mark(listing, time_ns, price)


def interest(quantity: float = 5.0, time_ns: int = NOW_NS, listing: Listing = BTC) -> OpenInterest:
    return OpenInterest(listing, time_ns, quantity)


def interest_value(value_usd: float, time_ns: int = NOW_NS, listing: Listing = BTC) -> OpenInterestValue:
    return OpenInterestValue(listing, time_ns, value_usd)


def book(
    bids: dict[float, float],
    asks: dict[float, float],
    snapshot: bool = False,
    sequence: int = -1,
    previous: int = -1,
    time_ns: int = NOW_NS,
    listing: Listing = BTC,
) -> Book:
    return Book(listing, time_ns, tuple(bids.items()), tuple(asks.items()), snapshot, sequence, previous)
