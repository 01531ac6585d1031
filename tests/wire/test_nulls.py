"""A member that is null counts as one that is missing: venues write both."""

from __future__ import annotations

import copy
import importlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from forcedmove_server.collectors.fields import unpacked, without_nulls
from forcedmove_server.collectors.records import Event, Record, Trade, Unknown
from forcedmove_server.collectors.venues import venue_class, venue_names
from forcedmove_server.collectors.venues.bybit import Bybit
from forcedmove_server.collectors.venues.htx import Htx
from forcedmove_server.errors import MalformedMessage
from forcedmove_server.market.instruments import ContractType
from tests.wire.test_bybit import LISTINGS as BYBIT
from tests.wire.test_htx import INTEREST
from tests.wire.test_htx import LISTINGS as HTX

#: a member by the names and the places that lead to it
Path = tuple[str | int, ...]


def members(value: Any, path: Path = ()) -> Iterator[Path]:
    """Every member of every object within ``value``."""
    if isinstance(value, dict):
        for name, one in value.items():
            yield (*path, name)
            yield from members(one, (*path, name))
    elif isinstance(value, list):
        for place, one in enumerate(value):
            yield from members(one, (*path, place))


def changed(message: Any, path: Path, *, null: bool) -> bytes:
    """The message with one member null, or without it."""
    message = copy.deepcopy(message)
    owner = message
    for step in path[:-1]:
        owner = owner[step]
    if null:
        owner[path[-1]] = None
    else:
        del owner[path[-1]]
    return json.dumps(message, separators=(",", ":")).encode()


def sampled(name: str) -> Iterator[tuple[bytes, Any]]:
    """A venue's samples that are JSON, and what they say."""
    for sample in importlib.import_module(f"tests.wire.test_{name}").SAMPLES:
        content = sample.encode() if isinstance(sample, str) else unpacked(sample)
        try:
            message = json.loads(content)
        except ValueError:
            continue
        yield content, message


@pytest.mark.parametrize("name", venue_names())
def test_null_is_as_good_as_missing(name: str) -> None:
    """Members by which one kind of message is told from another are left out: without them it is of another kind."""
    listings = importlib.import_module(f"tests.wire.test_{name}").LISTINGS

    def events(message: bytes) -> list[str] | None:
        """What a new parser makes of it, as text, so that NaN equals NaN; None where it cannot be told."""
        try:
            records: list[Record] = venue_class(name)(listings).parse(message)
        except MalformedMessage:
            return None
        if any(isinstance(record, Unknown) for record in records):
            return None
        return [repr(record) for record in records if isinstance(record, Event)]

    compared = 0
    for _, message in sampled(name):
        for path in members(message):
            expected = events(changed(message, path, null=False))
            if expected is not None:
                assert events(changed(message, path, null=True)) == expected, (path, message)
                compared += bool(expected)
    assert compared > 10 or name == "bitfinex", "Bitfinex sends lists"


@pytest.mark.parametrize("name", venue_names())
def test_members_that_nobody_knows_may_be_null(name: str) -> None:
    listings = importlib.import_module(f"tests.wire.test_{name}").LISTINGS
    for content, message in sampled(name):
        try:
            expected = repr(venue_class(name)(listings).parse(content))
        except MalformedMessage:  # it is of a connection that has to be begun with another one
            continue
        found = json.dumps(_with_nulls(message), separators=(",", ":")).encode()
        assert repr(venue_class(name)(listings).parse(found)) == expected


def _with_nulls(value: Any) -> Any:
    """Add to every object a member that nobody knows; it is null."""
    if isinstance(value, dict):
        return {**{name: _with_nulls(one) for name, one in value.items()}, "unheard_of": None}
    return [_with_nulls(one) for one in value] if isinstance(value, list) else value


def test_answers_to_polls_may_have_nulls() -> None:
    htx = Htx(HTX)
    (poll,) = htx.polls(ContractType.LINEAR, list(HTX.values()))
    expected = htx.parse_answer(poll, INTEREST)
    assert len(expected) == 2
    for answer in (INTEREST.replace(b'"ok",', b'"ok","code":null,"op":null,'), INTEREST.decode()):
        assert htx.parse_answer(poll, answer) == expected


def test_what_is_wrong_beside_a_null_is_told_as_of_the_message_that_came() -> None:
    message = b'{"topic":"publicTrade.BTCUSDT","type":null,"ts":1790000000123,"data":[{"T":"never","s":"BTCUSDT"}]}'
    with pytest.raises(MalformedMessage, match="null") as raised:
        Bybit(BYBIT).parse(message)
    assert raised.value.sample == message[:200]
    with pytest.raises(MalformedMessage):
        Bybit(BYBIT).parse(message[:-10])
    with pytest.raises(MalformedMessage):
        Bybit(BYBIT).parse(b'{"topic":null,"data":' + b"[" * 100_000)


def test_nulls_are_taken_out_of_objects_only() -> None:
    message = b'{"a":null,"b":[null,{"c":null,"d":1.50,"e":"null"}],"f":12345678901234567}'
    assert without_nulls(message) == b'{"b":[null,{"d":1.5,"e":"null"}],"f":12345678901234567}'


def test_trades_with_nulls_are_read_in_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of Binance, Deribit, dYdX, Gate, Kraken and Lighter: they are too many to be read twice."""

    def refuse(message: bytes) -> bytes:
        raise AssertionError(message)

    monkeypatch.setattr("forcedmove_server.collectors.venue.without_nulls", refuse)
    optional = {
        "binance": "X",
        "deribit": "liquidation",
        "dydx": "type",
        "gate": "create_time",
        "krakenfutures": "type",
        "lighter": "type",
    }
    for name, member in optional.items():
        listings = importlib.import_module(f"tests.wire.test_{name}").LISTINGS
        read = 0
        for content, message in sampled(name):
            records = venue_class(name)(listings).parse(content)
            if not any(isinstance(record, Trade) for record in records):
                continue
            for path in members(message):
                inner = len(path) > 1 or (name, member) == ("krakenfutures", "type")
                if path[-1] == member and inner:
                    venue_class(name)(listings).parse(changed(message, path, null=True))
                    read += 1
        assert read, name
