"""Every venue's parser against its emulator: what is true comes back, whatever the venue's units and sides."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pytest

from forcedmove_server.collectors.books import BookKeeper
from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.records import (
    Book,
    Event,
    Liquidation,
    Mark,
    OpenInterest,
    OpenInterestValue,
    Pong,
    Record,
    Refused,
    Reply,
    Subscribed,
    Trade,
    Unknown,
    Unlisted,
)
from forcedmove_server.collectors.venue import Stream, Venue
from forcedmove_server.collectors.venues import venue_class, venue_names
from forcedmove_server.margin.venues import VENUES
from forcedmove_server.market.events import Channel
from forcedmove_server.market.instruments import ContractType
from tests.emulator.ccxt_markets import markets
from tests.emulator.truth import Truth
from tests.emulator.venue import EmulatedVenue, RestRequest
from tests.emulator.venues import emulator_class, emulator_names
from tests.emulator.wire import connected, request_of

NAMES = venue_names()
SYMBOLS = ("BTC", "ETH", "SOL")
_NOW_NS = 1_790_000_000_000_000_000


def test_there_is_a_parser_an_emulator_and_a_margin_rule_for_every_venue() -> None:
    assert NAMES == emulator_names() == sorted(venue.name for venue in VENUES)


@pytest.fixture(params=NAMES)
def emulator(request: pytest.FixtureRequest) -> EmulatedVenue:
    made = emulator_class(request.param)
    return made(made.native_ids(SYMBOLS))


@pytest.fixture
def venue(emulator: EmulatedVenue) -> Venue:
    return venue_class(emulator.collector.name)(emulator.listings)


def test_streams_cover_what_the_venue_publishes(venue: Venue, emulator: EmulatedVenue) -> None:
    kinds = {ContractType.INVERSE if one.inverse else ContractType.LINEAR for one in emulator.listings.values()}
    for kind in kinds:
        own = _of(emulator, kind)
        by_stream = {
            c
            for s in venue.streams
            if s.contract_type in (None, kind)
            for t in venue.topics(s, own)
            for c in t.channels
        }
        polled = {poll.channel for poll in venue.polls(kind, own)}
        assert {Channel.TRADES, Channel.MARK_PRICES, Channel.OPEN_INTEREST, Channel.DEPTH} <= by_stream | polled


def test_every_event_comes_back(venue: Venue, emulator: EmulatedVenue) -> None:
    truth = Truth(emulator.listings, seed=3)
    for event in truth.initial(_NOW_NS):
        emulator.publish(event)
    received: list[Record] = []
    sessions = []
    for stream in venue.streams:
        session, parser, records = connected(venue, stream, emulator)
        sessions.append((session, parser))
        received += records
    received += _polled(venue, emulator)
    sent: list[Event] = []
    for number in range(400):
        event = truth.event(_NOW_NS + number * 50_000_000)
        sent.append(event)
        for message in emulator.publish(event):
            for session, parser in sessions:
                for content in session.deliver(message):
                    received += parser.parse(content)
        if isinstance(event, Mark | OpenInterest | Liquidation) and number % 20 == 0:
            received += _polled(venue, emulator)
    received += _polled(venue, emulator)
    assert not [r for r in received if isinstance(r, Unknown | Unlisted | Refused)]
    _same_trades(sent, received)
    _same_liquidations(emulator, sent, received)
    _same_states(sent, received)
    _same_books(sent, received)


def test_pings_are_answered(venue: Venue, emulator: EmulatedVenue) -> None:
    for stream in venue.streams:
        session, parser, _ = connected(venue, stream, emulator)
        if stream.ping_s and parser.ping():  # without one of the venue's own, pings are the protocol's
            answers = [record for content in session.receive(parser.ping()) for record in parser.parse(content)]
            assert any(isinstance(record, Pong) for record in answers), f"{stream.name}: our ping is not answered"
        for content in session.keepalive():
            replies = [record for record in parser.parse(content) if isinstance(record, Reply)]
            assert replies, f"{stream.name}: the venue's ping is not answered"
            for reply in replies:
                session.receive(reply.content)


def test_topics_are_given_up(venue: Venue, emulator: EmulatedVenue) -> None:
    for stream in venue.streams:
        session, parser, _ = connected(venue, stream, emulator)
        names = [topic.name for topic in parser.topics(stream, list(_listed(emulator, stream)))]
        for request in parser.unsubscribe(names[: stream.topics_per_message], 99):
            for content in session.receive(request):
                records = parser.parse(content)
                assert not [r for r in records if isinstance(r, Refused | Unknown)]
                confirmed = {name for record in records if isinstance(record, Subscribed) for name in record.topics}
                assert confirmed.isdisjoint(names[: stream.topics_per_message]), "what ends is no confirmation"


def test_ccxt_lists_the_same_markets(emulator: EmulatedVenue) -> None:
    adopted = {one.native_id: one for market in markets(emulator) if (one := emulator.collector.adopt(market))}
    assert sorted(adopted) == sorted(emulator.listings)
    for key, listing in adopted.items():
        described = emulator.listings[key]
        assert listing.instrument.base == described.instrument.base
        assert listing.instrument.quote == described.instrument.quote
        assert (listing.inverse, listing.units) == (described.inverse, described.units)
        assert math.isclose(listing.contract, described.contract)


def _of(emulator: EmulatedVenue, kind: ContractType | None) -> list[Listing]:
    return [one for one in emulator.listings.values() if kind is None or one.inverse == (kind is ContractType.INVERSE)]


def _listed(emulator: EmulatedVenue, stream: Stream) -> list[Listing]:
    return _of(emulator, stream.contract_type)


def _polled(venue: Venue, emulator: EmulatedVenue) -> list[Record]:
    records: list[Record] = []
    for kind in ContractType:
        for poll in venue.polls(kind, _of(emulator, kind)) if _of(emulator, kind) else ():
            answer = emulator.answer(request_of(poll.url, poll.method, poll.body))
            assert answer is not None, f"no answer to {poll.url}"
            records += venue.parse_answer(poll, answer.encoded())
    return records


def _same_trades(sent: Sequence[Event], received: Sequence[Record]) -> None:
    expected = [event for event in sent if isinstance(event, Trade)]
    closing = {(e.listing.native_id, round(e.quantity, 9)): e for e in sent if isinstance(e, Liquidation)}
    found = []
    for record in received:
        if isinstance(record, Trade) and not record.replayed:
            liquidation = closing.get((record.listing.native_id, round(record.quantity, 9)))
            if liquidation is None:
                found.append(record)
            else:  # some venues tell a liquidation among the trades that it is: the taker closed the position
                assert record.aggressor == (-1, 1)[liquidation.side]
    assert len(found) == len(expected)
    for one, other in zip(expected, found, strict=True):
        _same_price_and_quantity(one, other)
        assert other.aggressor == one.aggressor


def _same_liquidations(emulator: EmulatedVenue, sent: Sequence[Event], received: Sequence[Record]) -> None:
    found = [record for record in received if isinstance(record, Liquidation)]  # a list that is polled replays the past
    if not emulator.publishes_liquidations:
        assert not found
        return
    expected = {
        (event.listing.native_id, round(event.quantity, 9)): event for event in sent if isinstance(event, Liquidation)
    }
    assert expected
    seen = set()
    for record in found:  # a poll may show one more than once
        key = record.listing.native_id, round(record.quantity, 9)
        seen.add(key)
        _same_price_and_quantity(expected[key], record)
        assert record.side == expected[key].side
    assert seen == set(expected)


def _same_price_and_quantity(one: Trade | Liquidation, other: Trade | Liquidation) -> None:
    assert other.listing.native_id == one.listing.native_id
    assert math.isclose(other.price, one.price, rel_tol=1e-9)
    assert math.isclose(other.quantity, one.quantity, rel_tol=1e-9)
    assert abs(other.time_ns - one.time_ns) < 1_000_000_000  # some venues tell whole seconds


def _same_states(sent: Sequence[Event], received: Sequence[Record]) -> None:
    marks = {event.listing.native_id: event.price for event in sent if isinstance(event, Mark)}
    interest = {event.listing.native_id: event.quantity for event in sent if isinstance(event, OpenInterest)}
    found_marks = {record.listing.native_id: record.price for record in received if isinstance(record, Mark)}
    found_interest = {}
    for record in received:
        if isinstance(record, OpenInterest):
            found_interest[record.listing.native_id] = record.quantity
        elif isinstance(record, OpenInterestValue):
            found_interest[record.listing.native_id] = record.value_usd / found_marks[record.listing.native_id]
    for key, price in marks.items():
        assert math.isclose(found_marks[key], price, rel_tol=1e-9)
    for key, quantity in interest.items():
        assert math.isclose(found_interest[key], quantity, rel_tol=1e-6)


def _same_books(sent: Sequence[Event], received: Sequence[Record]) -> None:
    keepers: dict[str, BookKeeper] = defaultdict(BookKeeper)
    for record in received:
        if isinstance(record, Book):
            assert keepers[record.listing.native_id].take(record), "a book's message does not follow the one before"
    last = {event.listing.native_id: event for event in sent if isinstance(event, Book)}
    assert last
    for key, book in last.items():
        for found, expected in zip(keepers[key].top(len(book.bids)), (book.bids, book.asks), strict=True):
            assert np.array(found) == pytest.approx(np.array(expected), rel=1e-9)


def test_the_session_refuses_what_the_venue_has_not(emulator: EmulatedVenue) -> None:
    assert emulator.answer(RestRequest(next(iter(emulator.hosts)), "GET", "/no/such/path", {})) is None
