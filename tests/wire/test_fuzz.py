"""Whatever bytes arrive, a parser raises MalformedMessage or nothing, and what it returns can be used.

``FORCEDMOVE_FUZZ`` sets the number of inputs per venue (``make fuzz`` runs a million in all).
"""

from __future__ import annotations

import importlib
import json
import math
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forcedmove_server.collectors.fields import unpacked
from forcedmove_server.collectors.records import Book, Liquidation, Mark, OpenInterest, OpenInterestValue, Record, Trade
from forcedmove_server.collectors.venue import Poll
from forcedmove_server.collectors.venues import venue_class, venue_names
from forcedmove_server.errors import MalformedMessage
from forcedmove_server.market.instruments import ContractType
from tests.wire.fuzzing import hostile_messages

INPUTS = int(os.environ.get("FORCEDMOVE_FUZZ", "5000"))


def _usable(record: Record) -> None:
    if isinstance(record, Trade | Liquidation):
        assert record.price > 0
        assert record.quantity > 0
        assert math.isfinite(record.price)
        assert math.isfinite(record.quantity)
    elif isinstance(record, Mark):
        assert 0 < record.price < math.inf
    elif isinstance(record, OpenInterest):
        assert 0 <= record.quantity < math.inf
    elif isinstance(record, OpenInterestValue):
        assert 0 <= record.value_usd < math.inf
    elif isinstance(record, Book):
        assert all(price > 0 and 0 <= size < math.inf for price, size in (*record.bids, *record.asks))
    if isinstance(record, Trade | Liquidation | Mark | OpenInterest | Book):
        assert record.time_ns == 0 or 1e18 < record.time_ns < 5e18


@pytest.mark.parametrize("name", venue_names())
def test_hostile_messages(name: str) -> None:
    module = importlib.import_module(f"tests.wire.test_{name}")
    parser = venue_class(name)(module.LISTINGS)
    polls: list[Poll] = [
        poll
        for kind in ContractType
        for poll in parser.polls(kind, [one for one in module.LISTINGS.values() if one.inverse == (kind == "inverse")])
    ]
    used = 0
    for number, message in enumerate(hostile_messages(module.SAMPLES, INPUTS, seed=7)):
        for poll in (None, *polls[number % len(polls) : number % len(polls) + 1]) if polls else (None,):
            try:
                records = parser.parse(message) if poll is None else parser.parse_answer(poll, message)
            except MalformedMessage:
                continue
            used += 1
            for record in records:
                _usable(record)
    assert used, "no mutation was readable: the samples are not this venue's"


@pytest.mark.parametrize("name", venue_names())
def test_samples_are_readable(name: str) -> None:
    module = importlib.import_module(f"tests.wire.test_{name}")
    parser = venue_class(name)(module.LISTINGS)
    for sample in module.SAMPLES:
        assert parser.parse(sample), sample


@pytest.mark.parametrize("name", venue_names())
def test_the_order_of_fields_does_not_matter(name: str) -> None:
    module = importlib.import_module(f"tests.wire.test_{name}")
    turned = 0
    for sample in module.SAMPLES:
        try:
            content = json.loads(unpacked(sample))
        except ValueError:
            continue  # not JSON
        other = json.dumps(_turned(content), separators=(",", ":"))
        parser, second = venue_class(name)(module.LISTINGS), venue_class(name)(module.LISTINGS)
        assert sorted(map(repr, second.parse(other))) == sorted(map(repr, parser.parse(sample))), sample
        turned += 1
    assert turned


def _turned(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _turned(value) for key, value in reversed(content.items())}
    return [_turned(value) for value in content] if isinstance(content, list) else content


@given(st.binary(max_size=200))
def test_any_bytes(message: bytes) -> None:
    for name in venue_names():
        parser = venue_class(name)({})
        try:
            parser.parse(message)
        except MalformedMessage:
            continue
