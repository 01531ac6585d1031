"""Venues change, without a word, whether a number is sent as one or as text: the events are the same either way."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence

import pytest

from forcedmove_server.collectors.fields import unpacked
from forcedmove_server.collectors.records import Book, Mark, OpenInterest, OpenInterestValue, Record, Reply, Trade
from forcedmove_server.collectors.venue import Poll, Stream, Venue
from forcedmove_server.collectors.venues import venue_class, venue_names
from forcedmove_server.market.instruments import ContractType
from tests.emulator.truth import Truth
from tests.emulator.venue import Content, EmulatedVenue
from tests.emulator.venues import emulator_class
from tests.emulator.wire import connected, request_of
from tests.wire.number_forms import as_numbers, as_texts

_NOW_NS = 1_790_000_000_000_000_000
Form = Callable[[bytes], bytes]
Parse = Callable[[Content], list[Record]]
FORMS = pytest.mark.parametrize("form", [as_numbers, as_texts])
VENUES = pytest.mark.parametrize("name", venue_names())


@VENUES
@FORMS
def test_samples(name: str, form: Form) -> None:
    module = importlib.import_module(f"tests.wire.test_{name}")
    parser, other = venue_class(name)(module.LISTINGS), venue_class(name)(module.LISTINGS)
    compared = [record for sample in module.SAMPLES for record in _both(parser.parse, other.parse, sample, form)]
    assert any(isinstance(record, Trade) for record in compared)


@VENUES
@FORMS
def test_what_the_emulator_sends(name: str, form: Form) -> None:
    """A connection from its greeting on, and every poll: trades, marks, open interest, liquidations, books."""
    compared = {type(record) for record in _compared(name, form)}
    assert compared & {OpenInterest, OpenInterestValue}
    assert name == "paradex" or {Trade, Mark, Book} <= compared, "Paradex pushes in binary"


def _compared(name: str, form: Form) -> Iterator[Record]:
    emulator = emulator_class(name)(emulator_class(name).native_ids(("BTC", "ETH")))
    venue = venue_class(name)(emulator.listings)
    truth = Truth(emulator.listings, seed=5)
    for event in truth.initial(_NOW_NS):
        emulator.publish(event)
    connections = []
    for stream in venue.streams:
        session, parser, _ = connected(venue, stream, emulator)
        other = _subscribed(venue, stream, emulator)
        for message in session.said:
            other.parse(_formed(message, form))
        connections.append((session, parser, other))
    for number in range(60):
        for message in emulator.publish(truth.event(_NOW_NS + number * 50_000_000)):
            for session, parser, other in connections:
                for frame in session.deliver(message):
                    yield from _both(parser.parse, other.parse, frame, form)
    for kind in ContractType:
        own = [one for one in emulator.listings.values() if one.inverse == (kind is ContractType.INVERSE)]
        for poll in [*venue.polls(kind, own), *venue.census(kind)] if own else ():
            answer = emulator.answer(request_of(poll.url, poll.method, poll.body))
            if answer is not None:
                yield from _both(_answered(venue, poll), _answered(venue, poll), answer.encoded(), form)


def _subscribed(venue: Venue, stream: Stream, emulator: EmulatedVenue) -> Venue:
    """Return a parser that has asked for the same as that of ``connected``, and has read nothing yet."""
    parser = type(venue)(emulator.listings)
    wanted = [
        one
        for one in emulator.listings.values()
        if stream.contract_type is None or one.inverse == (stream.contract_type is ContractType.INVERSE)
    ]
    topics = [topic.name for topic in parser.topics(stream, wanted)]
    for number, begin in enumerate(range(0, len(topics), stream.topics_per_message), 1):
        parser.subscribe(topics[begin : begin + stream.topics_per_message], number)
    return parser


def _answered(venue: Venue, poll: Poll) -> Parse:
    return lambda answer: venue.parse_answer(poll, answer)


def _both(parse: Parse, parse_other: Parse, message: Content, form: Form) -> list[Record]:
    expected, found = parse(message), parse_other(_formed(message, form))
    assert _told(found) == _told(expected), _formed(message, form)
    return expected if _json(message) else []


def _formed(message: Content, form: Form) -> Content:
    content = _json(message)
    return form(content) if content else message


def _json(message: Content) -> bytes:
    """The message without packing; empty where it is no JSON: a ping, or Paradex's binary frames."""
    content = message.encode() if isinstance(message, str) else unpacked(message)
    return content if content.lstrip()[:1] in (b"{", b"[") else b""


def _told(records: Sequence[Record]) -> list[str]:
    """Records as text, so that NaN equals NaN; what is sent back repeats the venue's own form."""
    return [type(record).__name__ if isinstance(record, Reply) else repr(record) for record in records]
