"""A venue's coin is told apart from how many of it one contract's price is for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forcedmove_server.market.underlyings import underlying


@pytest.mark.parametrize(
    ("coin", "symbol", "units"),
    [
        ("BTC", "BTC", 1.0),
        ("XBT", "BTC", 1.0),
        ("xbt", "BTC", 1.0),
        ("eth", "ETH", 1.0),
        ("1000PEPE", "PEPE", 1e3),
        ("10000SATS", "SATS", 1e4),
        ("1000000MOG", "MOG", 1e6),
        ("1MBABYDOGE", "BABYDOGE", 1e6),
        ("kPEPE", "PEPE", 1e3),
        ("PEPE1000", "PEPE", 1e3),
        ("SHIB1000", "SHIB", 1e3),
        # names that only look like it
        ("KAVA", "KAVA", 1.0),
        ("KPEPE", "KPEPE", 1.0),
        ("1INCH", "1INCH", 1.0),
        ("1000", "1000", 1.0),
        ("100PEPE", "100PEPE", 1.0),
        ("1MX", "1MX", 1.0),
        ("X1000", "X1000", 1.0),
        ("kas", "KAS", 1.0),
    ],
)
def test_names(coin: str, symbol: str, units: float) -> None:
    assert underlying(coin) == (symbol, units)


@given(st.from_regex(r"[A-Z]{3,8}", fullmatch=True), st.sampled_from([3, 4, 5, 6, 7]))
def test_a_multiple_belongs_to_its_coin_however_it_is_written(coin: str, zeros: int) -> None:
    expected, one = underlying(coin)
    for written in (f"{10**zeros}{coin}", f"{coin}{10**zeros}"):
        assert underlying(written) == (coin, 10.0**zeros)
    assert one == 1.0
    assert expected == ("BTC" if coin == "XBT" else coin)
