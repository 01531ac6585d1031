"""A parser and an emulated session joined without a socket."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

from forcedmove_server.collectors.records import Record, Refused, Reply, Subscribed
from forcedmove_server.collectors.venue import Stream, Venue
from forcedmove_server.market.instruments import ContractType
from tests.emulator.venue import Content, EmulatedSession, EmulatedVenue, RestRequest


def request_of(url: str, method: str = "GET", body: str = "") -> RestRequest:
    """The request that a URL makes."""
    parts = urlsplit(url)
    return RestRequest(parts.netloc, method, parts.path, dict(parse_qsl(parts.query)), body.encode())


def connected(venue: Venue, stream: Stream, emulator: EmulatedVenue) -> tuple[EmulatedSession, Venue, list[Record]]:
    """Open one stream and subscribe to all its topics; a parser of its own, and what it read meanwhile."""
    parser = type(venue)(emulator.listings)
    url = stream.url
    if stream.ticket:
        answer = emulator.answer(request_of(stream.ticket, "POST"))
        assert answer is not None, f"no answer to {stream.ticket}"
        url = parser.connect_to(stream, answer.encoded())
    parts = urlsplit(url)
    assert parts.netloc in emulator.hosts, f"{parts.netloc} is not among the emulator's hosts"
    session = emulator.session(emulator, parts.netloc, parts.path)
    records: list[Record] = []
    wanted = [
        one
        for one in emulator.listings.values()
        if stream.contract_type is None or one.inverse == (stream.contract_type is ContractType.INVERSE)
    ]
    topics = [topic.name for topic in parser.topics(stream, wanted)]
    for content in session.greeting():
        records += exchanged(session, parser, content)
    for number, begin in enumerate(range(0, len(topics), stream.topics_per_message), 1):
        accepted = []
        for request in parser.subscribe(topics[begin : begin + stream.topics_per_message], number):
            for content in session.receive(request):
                accepted += exchanged(session, parser, content)
        assert any(isinstance(r, Subscribed) for r in accepted), f"{stream.name}: nothing confirms {topics[begin]}"
        assert not [r for r in accepted if isinstance(r, Refused)], accepted
        records += accepted
    return session, parser, records


def exchanged(session: EmulatedSession, parser: Venue, content: Content) -> Iterator[Record]:
    """Parse a message and send back what it asks for, to the end."""
    session.said.append(content)
    for record in parser.parse(content):
        yield record
        if isinstance(record, Reply):
            for answer in session.receive(record.content):
                yield from exchanged(session, parser, answer)
