"""The calls of all public tier tables, as ccxt knows them."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from forcedmove_server.margin.feeds import FEEDS
from tests.unit.margin_markets import markets_of

#: tables that need a key, or a call that ccxt does not have
IMPORT_ONLY = {"binance", "aster", "bingx", "cryptocom"}


@pytest.fixture(scope="module")
def ccxt() -> Any:
    """The library, whose import may warn of things that are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("ccxt", reason="ccxt is not installed")


@pytest.mark.parametrize("venue", FEEDS)
def test_calls_exist_in_ccxt(venue: str, ccxt: Any) -> None:
    calls = [*FEEDS[venue].calls([*markets_of({"A-USDT-SWAP": "A/USDT:USDT", "B-USD-SWAP": "B/USD:B"}).values()])]
    assert bool(calls) == (venue not in IMPORT_ONLY)
    for name in FEEDS[venue].exchanges:
        exchange = getattr(ccxt, name)()
        for call in calls:
            assert callable(getattr(exchange, call.method)), call.method
