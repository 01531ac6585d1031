"""Replaced addresses: a host that nobody would call is told of, with what was probably meant."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from forcedmove_server.collectors.hosts import check_hosts, discovery_hosts, feed_hosts
from forcedmove_server.collectors.venues import venue_class, venue_names
from forcedmove_server.config import LiveSourceConfig
from forcedmove_server.errors import ConfigError
from forcedmove_server.sources.make import make_source
from tests.emulator.venues import emulator_class

BASE = "http://127.0.0.1:9000"


@pytest.mark.parametrize("name", venue_names())
def test_the_hosts_of_each_venue_are_those_that_its_emulator_answers_on(name: str) -> None:
    own = feed_hosts(venue_class(name))
    assert own, "a venue has feeds"
    assert own <= emulator_class(name).hosts <= own | discovery_hosts(venue_class(name))


@pytest.mark.parametrize(
    ("host", "venues", "said"),
    [
        ("fapi.binance.co", ("binance",), r"did you mean 'fapi\.binance\.com'"),
        ("stream.bybit.con", ("okx", "bybit"), r"did you mean 'stream\.bybit\.com'"),
        ("proxy.example", ("bybit",), r"hosts of feeds: .*api\.bybit\.com, .*stream\.bybit\.com"),
        ("fapi.binance.co", (), r"did you mean 'fapi\.binance\.com'"),
        ("api.bybit.com:443", ("bybit",), r"did you mean 'api\.bybit\.com'"),
    ],
)
def test_a_host_that_no_venue_calls_is_refused(host: str, venues: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=rf"urls = '{host}': no venue calls this host; .*{said}"):
        make_source(LiveSourceConfig(venues=venues, urls={host: BASE}))


def test_the_first_of_several_is_told() -> None:
    with pytest.raises(ConfigError, match=r"'wrong\.example'"):
        check_hosts(["api.bybit.com", "wrong.example", "other.example"], ["bybit"])


@pytest.mark.parametrize(
    ("host", "venues"),
    [("stream.bybit.com", ("bybit",)), ("www.okx.com", ("okx", "bybit")), ("api.huobi.pro", ()), ("sapi.xt.com", ())],
)
def test_hosts_of_feeds_and_of_discovery_may_be_replaced(host: str, venues: tuple[str, ...]) -> None:
    make_source(LiveSourceConfig(venues=venues, urls={host: BASE}))


def test_addresses_of_venues_that_are_not_collected_this_time_are_no_mistake() -> None:
    make_source(LiveSourceConfig(venues=("okx",), urls={"api.bybit.com": BASE, "www.okx.com": BASE}))


def test_ccxt_is_not_asked_where_the_feeds_know_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing it takes longer than all else that a start does."""
    modules: dict[str, Any] = sys.modules  # type: ignore[assignment]
    monkeypatch.setitem(modules, "ccxt", None)
    check_hosts(["api.bybit.com"], ["bybit"])
    with pytest.raises(ImportError):
        check_hosts(["wrong.example"], ["bybit"])
