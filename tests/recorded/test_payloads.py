"""Recorded payloads of every venue through its parser, against what they should say."""

from __future__ import annotations

import importlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import pytest

from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.records import (
    Book,
    Liquidation,
    Mark,
    OpenInterest,
    OpenInterestValue,
    Record,
    Trade,
)
from forcedmove_server.collectors.venue import Venue
from forcedmove_server.collectors.venues import venue_class, venue_names
from forcedmove_server.errors import MalformedMessage
from tests.recorded.payloads import FIXTURES, Row, files, messages
from tests.wire.number_forms import as_numbers, as_texts

pytestmark = pytest.mark.recorded


class Described(dict[str, Listing]):
    """Listings made up from their ids."""

    def __init__(self, venue: type[Venue]) -> None:
        super().__init__()
        self._venue = venue

    def get(self, key: str, default: Listing | None = None) -> Listing | None:  # type: ignore[override]
        return self._venue.describe(key)


def rows(records: Sequence[Record]) -> Iterator[Row]:
    """Events as rows."""
    for record in records:
        if isinstance(record, Trade):
            side = {1: "buy", -1: "sell", 0: ""}[record.aggressor]
            yield Row("trade", record.listing.native_id, side, record.price, record.quantity, _ms(record.time_ns))
        elif isinstance(record, Liquidation):
            side = ("long", "short")[record.side]
            yield Row("liquidation", record.listing.native_id, side, record.price, record.quantity, _ms(record.time_ns))
        elif isinstance(record, Mark):
            yield Row("mark", record.listing.native_id, "", record.price, None, _ms(record.time_ns))
        elif isinstance(record, OpenInterest):
            yield Row("open_interest", record.listing.native_id, "", None, record.quantity, _ms(record.time_ns))
        elif isinstance(record, OpenInterestValue):
            yield Row("open_interest_usd", record.listing.native_id, "", None, record.value_usd, _ms(record.time_ns))
        elif isinstance(record, Book):
            for side, levels in (("bid", record.bids), ("ask", record.asks)):
                for price, quantity in levels:
                    yield Row("book", record.listing.native_id, side, price, quantity, _ms(record.time_ns))


@pytest.mark.parametrize("name", venue_names())
def test_recorded_payloads_say_what_they_should(name: str) -> None:
    if not FIXTURES.exists():
        pytest.skip(f"{FIXTURES} is not here: recorded payloads stand beside development checkouts only")
    oracle = importlib.import_module(f"tests.recorded.payloads.{name}")
    compared: Counter[str] = Counter()
    for path in files(name):
        parser = venue_class(name)(Described(venue_class(name)))
        for message in messages(path):
            expected: list[Row] | None = oracle.expected(message)
            try:
                records = parser.parse(json.dumps(message))
            except MalformedMessage as error:
                if expected is not None:
                    pytest.fail(f"{path.name}: {error}")
                continue
            if expected is None:
                continue
            found = list(rows(records))
            assert len(found) == len(expected), f"{path.name}: {message}: {found} instead of {expected}"
            for one, other in zip(sorted(expected, key=str), sorted(found, key=str), strict=True):
                assert _same(one, other), f"{path.name}: {other} instead of {one} in {message}"
                compared[one.kind] += 1
    for kind, least in oracle.AT_LEAST.items():
        assert compared[kind] >= least, f"only {compared[kind]} rows of kind {kind} were compared"


@pytest.mark.parametrize("name", venue_names())
@pytest.mark.parametrize("form", [as_numbers, as_texts])
def test_recorded_numbers_may_be_text_and_the_other_way_round(name: str, form: Callable[[bytes], bytes]) -> None:
    if not FIXTURES.exists():
        pytest.skip(f"{FIXTURES} is not here: recorded payloads stand beside development checkouts only")
    compared = 0
    for path in files(name):
        parser, other = (venue_class(name)(Described(venue_class(name))) for _ in range(2))
        for message in messages(path):
            content = json.dumps(message).encode()
            try:
                expected = list(rows(parser.parse(content)))
            except MalformedMessage:
                continue
            found = list(rows(other.parse(form(content))))
            assert list(map(repr, found)) == list(map(repr, expected)), f"{path.name}: {form(content)!r}"
            compared += len(expected)
    assert compared


def test_recorded_amounts_of_htx_are_sums_of_two_sides() -> None:
    """What its documentation says, and why trades are halved: one odd amount would be of a single side."""
    if not FIXTURES.exists():
        pytest.skip(f"{FIXTURES} is not here: recorded payloads stand beside development checkouts only")
    amounts: dict[int, int] = {}
    sizes: list[int] = []
    for path in files("htx"):
        for message in messages(path):
            if not isinstance(message, dict):
                continue
            if str(message.get("ch", "")).endswith(".trade.detail"):
                for trade in message.get("tick", {}).get("data", ()):
                    if "trade-id" not in trade and "tradeId" not in trade:  # those of spot are in coins
                        amounts[trade["id"]] = trade["amount"]
            elif str(message.get("topic", "")).endswith(".liquidation_orders"):
                sizes += [row["volume"] for row in message.get("data", ())]
    assert len(amounts) >= 18
    assert all(amount % 2 == 0 for amount in amounts.values())
    assert any(size % 2 for size in sizes), "liquidations are of one side"


def _same(one: Row, other: Row) -> bool:
    if (one.kind, one.native_id, one.side) != (other.kind, other.native_id, other.side):
        return False
    close = all(
        a is None or b is None or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) or (math.isnan(a) and math.isnan(b))
        for a, b in ((one.price, other.price), (one.quantity, other.quantity))
    )
    return close and (one.ts_ms is None or one.ts_ms == other.ts_ms)


def _ms(time_ns: int) -> int:
    return time_ns // 1_000_000
