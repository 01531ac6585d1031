"""``forcedmove parse``: a venue's raw messages from a file, as rows that other programs read."""

from __future__ import annotations

import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from forcedmove_client.cli import main
from forcedmove_server.collectors.records import Book, Event, Liquidation, Mark, OpenInterest, OpenInterestValue, Trade
from forcedmove_server.collectors.venue import listing_of
from forcedmove_server.commands import parse
from tests.live.fake_venue import FakeVenue, encoded

T_NS, T_MS = 1_790_000_000_000_000_000, 1_790_000_000_000
BTC = listing_of("fake", "BTCUSDT", "BTC", "USDT")


class Described(FakeVenue):
    """``BTCUSDT`` is known, ``COINUSDT`` of an unknown size, ``BTCUSD`` inverse; nothing else is ours."""

    @classmethod
    def describe(cls, native_id: str, contract_type: Any = None) -> Any:
        match native_id:
            case "BTCUSDT":
                return BTC
            case "COINUSDT":
                return listing_of("fake", native_id, "COIN", "USDT", contract_size=None)
            case "KILOUSDT":
                return listing_of("fake", native_id, "1000KILO", "USDT", contract_size=None)
            case "BTCUSD":
                return listing_of("fake", native_id, "BTC", "USD", inverse=True, contract_size=100.0)
            case "EITHER" if contract_type is not None:
                inverse = contract_type == "inverse"
                return listing_of("fake", native_id, "BTC", "USD", inverse=inverse, contract_size=10.0)
        return None

    def read(self, message: bytes) -> list[Any]:
        """Contracts instead of quantities, so that sizes matter; ``Value`` is open interest in dollars."""
        content = json.loads(message)
        if isinstance(content, dict) and content.get("op") == "contracts":
            records: list[Any] = []
            listing = self.listed(content["key"], records)
            if listing is not None:
                quantity = content["contracts"] * listing.contract
                records.append(Trade(listing, T_NS, content["price"], quantity, 1))
            return records
        if isinstance(content, dict) and content.get("op") == "value":
            return [OpenInterestValue(BTC, 0, content["value"])]
        return super().read(message)


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    real = parse.venue_class
    monkeypatch.setattr(parse, "venue_class", lambda name: Described if name == "fake" else real(name))


class Ran:
    """What the command wrote and how it ended."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.err = status, err
        self.rows: list[dict[str, Any]] = [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def ran(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(content: str | bytes, *arguments: str, venue: str = "fake") -> Ran:
        file = tmp_path / "messages"
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        status = main(["parse", "--venue", venue, str(file), *arguments])
        captured = capsys.readouterr()
        return Ran(status, captured.out, captured.err)

    return run


def lines(*events: Event) -> str:
    return "\n".join(encoded(event) for event in events)


def contracts(key: str, count: float, price: float = 50.0) -> str:
    return json.dumps({"op": "contracts", "key": key, "contracts": count, "price": price})


def test_every_kind_of_row(ran: Any) -> None:
    told = ran(
        lines(
            Trade(BTC, T_NS, 50.0, 2.0, -1),
            Mark(BTC, T_NS + 1_000_000, 60.0),
            OpenInterest(BTC, T_NS, 3.0),
            Liquidation(BTC, T_NS, 40.0, 5.0, 0),
            Liquidation(BTC, T_NS, 40.0, 5.0, 1),
            Book(BTC, 0, ((49.0, 1.0),), ((51.0, 0.0),), True),
        )
    )
    same = {"symbol": "BTC", "market": "fake:BTCUSDT"}

    def row(kind: str, side: Any, price: Any, quantity: Any, usd: Any, ts: Any = T_MS) -> dict[str, Any]:
        values = {"side": side, "price": price, "quantity_base": quantity, "notional_usd": usd, "ts_ms": ts}
        return {"kind": kind, **same, **values}

    assert told.rows == [
        row("trade", "sell", 50.0, 2.0, 100.0),
        row("mark", None, 60.0, None, None, T_MS + 1),
        row("open_interest", None, None, 3.0, 180.0),
        row("liquidation", "long", 40.0, 5.0, 200.0),
        row("liquidation", "short", 40.0, 5.0, 200.0),
        row("book", "bid", 49.0, 1.0, 49.0, None),
        row("book", "ask", 51.0, 0.0, 0.0, None),
    ]
    assert (told.status, told.err) == (0, "6 messages\n")


def test_an_inverse_contract_s_quantity_is_in_dollars(ran: Any) -> None:
    (row,) = ran(contracts("BTCUSD", 3, 50.0)).rows
    assert (row["notional_usd"], row["quantity_base"]) == (300.0, 6.0)


def test_missing_numbers_are_a_row_of_their_own(ran: Any) -> None:
    trades = [Trade(BTC, T_NS + number * 10**6, 1.0, 1.0, 1, number, number) for number in (1, 2, 5)]
    told = ran(lines(*trades))
    assert [row["kind"] for row in told.rows] == ["trade", "trade", "trade", "gap"]
    assert told.rows[-1]["ts_ms"] == T_MS + 5
    assert all(told.rows[-1][key] is None for key in ("side", "price", "quantity_base", "notional_usd"))


def test_a_book_out_of_step_is_a_gap(ran: Any) -> None:
    snapshot = Book(BTC, T_NS, ((1.0, 1.0),), (), True, 5)
    kinds = [row["kind"] for row in ran(lines(snapshot, Book(BTC, T_NS, ((1.0, 2.0),), (), False, 8, 7))).rows]
    assert kinds == ["book", "gap", "book"]


def test_open_interest_in_dollars_becomes_coins_at_the_newest_mark(ran: Any) -> None:
    value = '{"op":"value","value":600.0}'
    told = ran("\n".join([value, encoded(Mark(BTC, T_NS, 60.0)), value]))
    found = [(row["quantity_base"], row["notional_usd"]) for row in told.rows if row["kind"] == "open_interest"]
    assert found == [(None, 600.0), (10.0, 600.0)]


@pytest.mark.parametrize(
    "form",
    [
        "{0}\n{1}\n",
        "\n{0}\r\n\n{1}",
        "[{0}, {1}]",
        "[\n  {0},\n  {1}\n]",
    ],
)
def test_messages_come_one_a_line_or_as_one_list(ran: Any, form: str) -> None:
    told = ran(form.format(contracts("BTCUSDT", 1), contracts("BTCUSDT", 2)))
    assert [row["quantity_base"] for row in told.rows] == [1.0, 2.0]
    assert told.err == "2 messages\n"


def test_a_list_may_hold_messages_as_text(ran: Any) -> None:
    told = ran(json.dumps([contracts("BTCUSDT", 1), contracts("BTCUSDT", 2)]))
    assert [row["quantity_base"] for row in told.rows] == [1.0, 2.0]


def test_one_document_over_many_lines_is_one_message(ran: Any) -> None:
    told = ran(json.dumps(json.loads(contracts("BTCUSDT", 1)), indent=2))
    assert len(told.rows) == 1
    assert told.err == "1 messages\n"


def test_a_packed_file_is_unpacked(ran: Any) -> None:
    assert len(ran(gzip.compress(contracts("BTCUSDT", 1).encode())).rows) == 1


def test_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(contracts("BTCUSDT", 1).encode())))
    assert main(["parse", "--venue", "fake", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["quantity_base"] == 1.0


def test_without_a_contract_size_there_is_no_quantity(ran: Any) -> None:
    """A number in contracts under the name of coins would be wrong by a factor that nobody sees."""
    told = ran(contracts("COINUSDT", 7))
    assert (told.rows[0]["quantity_base"], told.rows[0]["notional_usd"]) == (None, None)
    assert told.rows[0]["price"] == 50.0
    assert "1 contract size not known" in told.err


@pytest.mark.parametrize(
    ("venue", "message", "quantity", "usd"),
    [
        (
            "htx",
            {"ch": "market.NEWCOIN-USDT.trade.detail", "tick": {"data": [{"amount": 6, "quantity": 60, "ts": T_MS}]}},
            30.0,
            15.0,
        ),
        (
            "htx",
            {"op": "notify", "topic": "public.NEWCOIN-USDT.liquidation_orders", "data": [{"volume": 7, "amount": 70}]},
            70.0,
            35.0,
        ),
        ("htx", {"status": "ok", "ts": T_MS, "data": [{"volume": 500, "amount": "5000"}]}, 2_500.0, None),
        ("okx", {"arg": {"channel": "open-interest"}, "data": [{"oi": "64", "oiCcy": "640"}]}, 640.0, None),
        ("okx", {"code": "0", "data": [{"oi": "64", "oiCcy": "640"}]}, 640.0, None),
    ],
)
def test_coins_that_a_message_states_are_used_where_the_contract_size_is_not_known(
    ran: Any, venue: str, message: dict[str, Any], quantity: float, usd: float | None
) -> None:
    native_id = {"htx": "NEWCOIN-USDT", "okx": "NEWCOIN-USDT-SWAP"}[venue]
    own = {"contract_code": native_id, "instId": native_id, "price": 0.5, "direction": "sell", "created_at": T_MS}
    row = message.get("tick", message)["data"][0]
    row |= own | {"ts": T_MS, "id": 1}
    if message.get("status") == "ok":  # of open interest: a liquidation would have a direction
        del row["direction"]
    told = ran(json.dumps(message), venue=venue)
    assert [(one["quantity_base"], one["notional_usd"]) for one in told.rows] == [(quantity, usd)]
    assert told.err == "1 messages\n"


def test_a_given_contract_size_wins_over_the_coins_of_a_message(ran: Any) -> None:
    row = {"instId": "NEWCOIN-USDT-SWAP", "oi": "64", "oiCcy": "640", "ts": str(T_MS)}
    told = ran(json.dumps({"code": "0", "data": [row]}), "--contract-size", "NEWCOIN-USDT-SWAP=5", venue="okx")
    assert told.rows[0]["quantity_base"] == 320.0


@pytest.mark.parametrize("coins", [{}, {"oiCcy": ""}, {"oiCcy": None}, {"oiCcy": "0"}])
def test_coins_that_are_not_there_are_not_made_up(ran: Any, coins: dict[str, Any]) -> None:
    row = {"instId": "NEWCOIN-USDT-SWAP", "oi": "64", "ts": str(T_MS)} | coins
    told = ran(json.dumps({"code": "0", "data": [row]}), venue="okx")
    assert told.rows[0]["quantity_base"] is None
    assert "1 contract size not known" in told.err


def test_a_contract_size_may_be_given(ran: Any) -> None:
    sizes = ("--contract-size", "COINUSDT=10", "--contract-size", "KILOUSDT=10")
    told = ran("\n".join([contracts("COINUSDT", 7), contracts("KILOUSDT", 7)]), *sizes)
    assert [row["quantity_base"] for row in told.rows] == [70.0, 70_000.0], "in listed coins, which may be thousands"
    assert "not known" not in told.err


@pytest.mark.parametrize("size", ["COINUSDT", "=5", "COINUSDT=0", "COINUSDT=-1", "COINUSDT=nan", "COINUSDT=x"])
def test_a_contract_size_that_is_none_is_refused(ran: Any, size: str) -> None:
    with pytest.raises(SystemExit) as ended:
        ran(contracts("COINUSDT", 7), "--contract-size", size)
    assert ended.value.code == 2


@pytest.mark.parametrize(("kind", "expected"), [("linear", 30.0), ("inverse", 30.0 / 50.0)])
def test_the_kind_of_contract_decides_where_an_id_does_not(ran: Any, kind: str, expected: float) -> None:
    assert ran(contracts("EITHER", 3)).rows == []
    assert ran(contracts("EITHER", 3), "--market-type", kind).rows[0]["quantity_base"] == pytest.approx(expected)


def test_what_is_not_used_is_told(ran: Any) -> None:
    told = ran("\n".join([contracts("SPOTPAIR", 1), '{"op":"news"}', '{"op":"pong"}', contracts("BTCUSDT", 1)]))
    assert len(told.rows) == 1
    for said in ("4 messages", "1 not a market we map: 'SPOTPAIR'", "1 unknown kind 'news'", "1 control messages"):
        assert said in told.err


def test_a_malformed_message_is_told_and_the_others_are_read(ran: Any) -> None:
    told = ran("\n".join(["nonsense", contracts("BTCUSDT", 1)]))
    assert (told.status, len(told.rows)) == (0, 1)
    assert "1 malformed" in told.err
    assert "nonsense" in told.err


def test_a_malformed_message_in_a_list_costs_only_itself(ran: Any) -> None:
    told = ran(json.dumps([[1], [2], json.loads(contracts("BTCUSDT", 1))]))
    assert (told.status, len(told.rows)) == (0, 1)
    assert "3 messages" in told.err


@pytest.mark.parametrize("content", ["nonsense\nmore of it", "[[1], [2]]", "\x00", "[" * 3_000])
def test_when_nothing_can_be_read_the_status_says_so(ran: Any, content: str) -> None:
    told = ran(content)
    assert (told.status, told.rows) == (1, [])


def test_an_empty_file_holds_no_messages(ran: Any) -> None:
    told = ran("")
    assert (told.status, told.rows, told.err) == (0, [], "no messages\n")


def test_what_the_caller_got_wrong_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--venue", "nowhere", "-"], ["--venue", "bybit", str(tmp_path / "absent")]):
        assert main(["parse", *arguments]) == 2
        err = capsys.readouterr().err
        assert err.startswith("forcedmove: ")
        assert err.count("\n") == 1
    broken = tmp_path / "broken.gz"
    broken.write_bytes(gzip.compress(b"x" * 100)[:20])
    assert main(["parse", "--venue", "bybit", str(broken)]) == 2


def test_a_real_venue_s_messages(ran: Any) -> None:
    row = {"T": T_MS, "s": "1000PEPEUSDT", "S": "Buy", "v": "3", "p": "0.012", "i": "x"}
    (found,) = ran(json.dumps({"topic": "publicTrade.1000PEPEUSDT", "ts": T_MS, "data": [row]}), venue="bybit").rows
    assert (found["symbol"], found["market"]) == ("PEPE", "bybit:1000PEPEUSDT")
    assert found["quantity_base"] == pytest.approx(3_000.0)
    assert found["price"] == pytest.approx(0.000012)


def test_changes_of_a_book_that_never_began_are_no_gap(ran: Any) -> None:
    change = Book(BTC, T_NS, ((1.0, 1.0),), (), False, 5, 4)
    assert [row["kind"] for row in ran(lines(change, change)).rows] == ["book", "book"]


def test_a_list_of_different_messages_loses_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Binance reads a list as the rows of one answer, and knows nothing of other messages in it."""
    interest = {"symbol": "BTCUSDT", "openInterest": "5", "time": T_MS}
    trade = {"e": "aggTrade", "E": T_MS, "a": 1, "s": "BTCUSDT", "p": "60000", "q": "2", "T": T_MS, "m": True}
    order = {"s": "BTCUSDT", "S": "SELL", "ap": "59000", "z": "1", "T": T_MS}
    path = tmp_path / "mixed.json"
    path.write_text(
        json.dumps([interest, {"stream": "btcusdt@aggTrade", "data": trade}, {"e": "forceOrder", "o": order}])
    )
    assert main(["parse", "--venue", "binance", str(path)]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["kind"] for row in rows] == ["open_interest", "trade", "liquidation"]
