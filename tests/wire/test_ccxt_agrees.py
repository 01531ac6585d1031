"""ccxt as a second reader: what an emulator sends as a trade means the same to ccxt's websocket classes as to ours.

Emulators and parsers are ours; ccxt's handlers were written by others, against the live venues.
"""

from __future__ import annotations

import math

import pytest

from forcedmove_server.collectors.records import Trade
from forcedmove_server.collectors.venues import venue_class, venue_names
from forcedmove_server.market.events import Channel
from tests.emulator.ccxt_markets import markets
from tests.emulator.ccxt_trades import trade_reader
from tests.emulator.truth import Truth
from tests.emulator.venues import emulator_class
from tests.emulator.wire import connected

TRADES = 30
_NOW_NS = 1_790_000_000_000_000_000
#: amounts that ccxt leaves as the venue counts them, both sides together
_BOTH_SIDES = {"htx"}
#: data come under numbers, so that a reader has to have heard what was said before
_NUMBERED_CHANNELS = {"bitfinex"}


@pytest.mark.parametrize("name", venue_names())
def test_ccxt_reads_the_same_trades(name: str) -> None:
    emulator = emulator_class(name)(emulator_class(name).native_ids(("BTC", "ETH")))
    linear = {key: one for key, one in emulator.listings.items() if not one.inverse}
    truth = Truth(linear, seed=2)
    listed = {market["symbol"]: market for market in markets(emulator)}
    venue = venue_class(name)(emulator.listings)
    streams = [stream for stream in venue.streams if Channel.TRADES in stream.channels]
    sessions = [
        (connected(venue, stream, emulator), trade_reader(name, stream.url, list(listed.values())))
        for stream in streams
    ]
    for (session, _, _), read in sessions if name in _NUMBERED_CHANNELS else ():
        for content in session.said:
            read(content)
    compared = 0
    for number in range(TRADES):
        sent = truth.trade(list(linear.values())[number % len(linear)], _NOW_NS + number * 1_000_000)
        for message in emulator.publish(sent):
            for (session, parser, _), read in sessions:
                for content in session.deliver(message):
                    found, read_by_ccxt = parser.parse(content), read(content)
                    if not found and not read_by_ccxt:  # a repetition, which both leave out
                        continue
                    (ours,) = [record for record in found if isinstance(record, Trade)]
                    (theirs,) = read_by_ccxt
                    assert theirs["side"] == {1: "buy", -1: "sell"}[ours.aggressor]
                    assert math.isclose(theirs["price"] / ours.listing.units, ours.price)
                    # ccxt's amount is in contracts; some of its classes convert to coins already
                    size = listed[theirs["symbol"]]["contractSize"] or 1.0
                    coins = ours.quantity / ours.listing.units * (2 if name in _BOTH_SIDES else 1)
                    assert any(math.isclose(theirs["amount"] * unit, coins) for unit in (1.0, size))
                    assert abs(theirs["timestamp"] - sent.time_ns // 1_000_000) <= 1000
                    compared += 1
    assert compared == TRADES
