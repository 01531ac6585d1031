"""Ladder files: what is shipped, what a user puts above it, how old it is, and files that are broken."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import msgspec
import pytest

from forcedmove_server.errors import FileFormatError
from forcedmove_server.margin.facts import Confidence
from forcedmove_server.margin.imports import merged
from forcedmove_server.margin.ladder_book import LadderBook, book_with, shipped_book
from forcedmove_server.margin.ladders import (
    ByLeverage,
    Form,
    Ladder,
    LadderFile,
    Line,
    Root,
    Tiers,
    encode_ladders,
    form_of,
    read_ladders,
    write_ladders,
)
from forcedmove_server.margin.provenance import Origin, Provenance
from forcedmove_server.margin.rules import rule_for
from forcedmove_server.margin.tiers import TierMeasure, TierTable
from forcedmove_server.margin.venues import VENUES
from tests.unit.margin_markets import market

FORMS: list[Form] = [
    Tiers([(0.0, 0.004, 125.0), (50_000.0, 0.005, 100.0)], cumulative=True),
    Tiers([(0.0, 0.01, 50.0), (3.0, 0.02, 25.0)], measure=TierMeasure.QUANTITY),
    ByLeverage({10.0: [(0.0, 0.125)], 125.0: [(0.0, 0.65), (9.0, 0.8)]}),
    Line((0.01, 5e-5), (0.02, 5e-5), TierMeasure.VALUE),
    Root((0.02, 3.4e-5, 44_000.0, 0.5), (0.02, 3.4e-5, 44_000.0, 1.0)),
]


def file_of(*ladders: Ladder, venue: str = "okx", as_of: date = date(2026, 11, 1)) -> LadderFile:
    return LadderFile(venue, as_of, Confidence.DOC, "a page", list(ladders), Origin.FETCHED)


def test_every_venue_ships_a_ladder() -> None:
    book = shipped_book()
    for venue in VENUES:
        markets = dict(book.markets(venue.name))
        assert markets, venue.name
        for found in markets.values():
            assert found.provenance.origin is Origin.SHIPPED
            assert found.provenance.as_of is not None
            assert found.provenance.source
            assert found.maintenance.max_leverage <= venue.max_leverage.value * 1.001, (venue.name, found)
        for contract in (venue.linear, venue.inverse):
            kind = market(venue.name, inverse=contract is venue.inverse and contract is not None).contract_type
            assert contract is None or book.stand_in(venue.name, kind) is not None, venue.name


def test_shipped_files_are_in_their_written_form() -> None:
    """So that a change of one ladder is a change of one line."""
    import forcedmove_server.margin as package

    folder = Path(next(iter(package.__path__))) / "shipped"
    assert {path.stem for path in folder.glob("*.json")} == {venue.name for venue in VENUES}
    for path in folder.glob("*.json"):
        file = read_ladders(path)
        assert file.venue == path.stem
        assert encode_ladders(file) == path.read_bytes(), path.name


@pytest.mark.parametrize("form", FORMS, ids=lambda form: type(form).__name__)
def test_forms_survive_the_file(form: Form, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "okx.json"
    write_ladders(file_of(Ladder(["BTC/USDT:USDT"], form)), path)
    read = read_ladders(path).ladders[0].maintenance
    assert read == form
    built = form_of(read.build())
    assert built.build().terms([1.0, 1e5], 20.0)[0].tolist() == form.build().terms([1.0, 1e5], 20.0)[0].tolist()
    assert [entry.name for entry in path.parent.iterdir()] == ["okx.json"]


def test_a_users_ladder_wins_market_by_market(tmp_path: Path) -> None:
    own = Tiers([(0.0, 0.1, 5.0)])
    write_ladders(file_of(Ladder(["BTC/USDT:USDT"], own)), tmp_path / "okx.json")
    book = book_with(tmp_path)
    btc, ada = rule_for(market("okx"), book), rule_for(market("okx", "ETH"), book)
    assert (btc.leverage_limit, btc.provenance.origin, btc.confidence) == (5.0, Origin.FETCHED, Confidence.CODE)
    assert ada.provenance.origin is Origin.SHIPPED
    # What was fetched also wins over what a venue's rule computes from a market's description.
    write_ladders(file_of(Ladder(["BTC/USDC:USDC"], own), venue="hyperliquid"), tmp_path / "hyperliquid.json")
    described = rule_for(market("hyperliquid", max_leverage=40), book_with(tmp_path))
    assert described.leverage_limit == 5.0
    assert rule_for(market("hyperliquid", max_leverage=50)).provenance.origin is Origin.INSTRUMENT


def test_the_later_file_wins_whichever_name_it_uses(tmp_path: Path) -> None:
    own = Ladder(["BTCUSDT"], Tiers([(0.0, 0.02, 25.0)]))
    write_ladders(replace_origin(file_of(own, venue="binance")), tmp_path / "binance.json")
    rule = rule_for(market("binance"), book_with(tmp_path))
    assert (rule.leverage_limit, rule.provenance.origin) == (25.0, Origin.IMPORTED)


def replace_origin(file: LadderFile) -> LadderFile:
    """A file that does not say where it comes from; in a user's folder it did not come with the package."""
    return msgspec.structs.replace(file, origin=Origin.SHIPPED)


def test_a_file_of_an_unknown_venue_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_ladders(file_of(Ladder(["A"], FORMS[0]), venue="nosuch"), tmp_path / "nosuch.json")
    assert book_with(tmp_path).files == shipped_book().files
    assert "venue = 'nosuch'" in caplog.text


def test_a_market_is_found_by_its_own_id_too() -> None:
    book = LadderBook([file_of(Ladder(["ODD_ID"], FORMS[0]))])
    assert book.find("okx", market("okx")) is None
    assert book.find("okx", replace(market("okx"), native_id="ODD_ID")) is not None


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"[]", "Expected `object`"),
        (b'{"venue":"okx"}', "missing required field `as_of`"),
        (b'{"venue":"okx","as_of":"yesterday","confidence":"DOC","source":"s","ladders":[]}', "as_of"),
        (b'{"venue":"okx","as_of":"2026-01-01","confidence":"SURE","source":"s","ladders":[]}', "confidence"),
        (
            b'{"venue":"okx","as_of":"2026-01-01","confidence":"DOC","source":"s","ladders":[],"x":1}',
            "unknown field `x`",
        ),
        (b'{"venue":"okx","as_of":"2026-01-01","confidence":"DOC","source":"s","ladders":[],"format":9}', "format = 9"),
        (
            b'{"venue":"okx","as_of":"2026-01-01","confidence":"DOC","source":"s","ladders":[{"markets":["A"],'
            b'"maintenance":{"type":"tiers","rows":[[0,2.0,10]]}}]}',
            "A: tiers[0].rate = 2.0",
        ),
        (
            b'{"venue":"okx","as_of":"2026-01-01","confidence":"DOC","source":"s","ladders":[{"markets":["A","A"],'
            b'"maintenance":{"type":"tiers","rows":[[0,0.1,10]]}}]}',
            "markets = 'A': is listed twice",
        ),
    ],
)
def test_broken_files_name_field_and_place(content: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "okx.json"
    path.write_bytes(content)
    with pytest.raises(FileFormatError) as caught:
        read_ladders(path)
    assert told in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_broken_file_of_the_user_is_left_out_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "okx.json").write_text("{}")
    assert rule_for(market("okx"), book_with(tmp_path)).provenance.origin is Origin.SHIPPED
    assert "okx.json" in caplog.text
    assert "left out" in caplog.text
    assert book_with(tmp_path / "nowhere").files == shipped_book().files


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileFormatError, match="path"):
        write_ladders(file_of(), tmp_path / "file" / "okx.json")


def test_merging_keeps_what_was_not_renewed_with_its_date() -> None:
    old = file_of(Ladder(["A", "B"], FORMS[0]), Ladder(["C"], FORMS[1]), as_of=date(2026, 1, 1))
    new = file_of(Ladder(["B"], FORMS[1]))
    both = merged(old, new)
    assert [(ladder.markets, ladder.as_of) for ladder in both.ladders] == [
        (["B"], None),
        (["A"], date(2026, 1, 1)),
        (["C"], date(2026, 1, 1)),
    ]
    assert both.as_of == new.as_of
    assert merged(None, new) is new


def test_age() -> None:
    today = date(2026, 11, 25)
    table = Provenance(Origin.FETCHED, date(2026, 11, 1), Confidence.DOC, "s")
    assert (table.age_days(today), table.stale(today), table.stale(today, 10)) == (24, False, True)
    assert table.describe(today) == "fetched table of 2026-11-01, 24 days old"
    assert table.describe(today, 10).endswith("(stale)")
    assert table.describe(date(2026, 10, 31)) == "fetched table of 2026-11-01, 1 days later than the market"
    assert table.stale(date(2026, 1, 1))
    stand_in = Provenance(Origin.STAND_IN, None, Confidence.ASSUMED, "something else")
    assert stand_in.stale(today)
    assert stand_in.describe(today) == "no table: something else"
    described = Provenance(Origin.INSTRUMENT, None, Confidence.DOC, "docs")
    assert not described.stale(today)
    assert described.describe(today) == "by the venue's rule (docs)"
    assert Provenance(Origin.IMPORTED, None, Confidence.REC, "s").stale(today)


def test_shipped_binance_table() -> None:
    """Spot checks of the one table that is large: amounts as the venue prints them."""
    btc = rule_for(market("binance")).maintenance
    assert isinstance(btc, TierTable)
    assert btc.amounts[:7].tolist() == [0, 300, 1_500, 12_000, 132_000, 482_000, 2_982_000]
    coin = rule_for(market("binance", inverse=True)).maintenance
    assert isinstance(coin, TierTable)
    assert coin.amounts[:5].tolist() == [0, 0.005, 0.055, 0.43, 4.18]
    assert len(dict(shipped_book().markets("binance"))) > 900
