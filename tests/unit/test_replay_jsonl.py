"""JSON-lines recordings: what is read, and what becomes of every defect that real recordings have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from forcedmove_server.errors import FileFormatError
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.sources.replay import ReplaySource
from tests.unit.replay_samples import DAY_MS, gathered, json_lines, trade, trades_file, write


def test_trades_contexts_and_books(tmp_path: Path) -> None:
    trades_file(tmp_path, [trade(0), trade(5, 101.5, 0.25, "A")])
    write(
        tmp_path / "ctx_BTC_20260613.jsonl",
        json_lines([{"ts": DAY_MS + 1, "funding": 1e-5, "oi": 20.5, "mark": 100.2, "oracle": 100.1}]),
    )
    book = {"ts": DAY_MS + 2, "bids": [[100.0, 1.0], [99.0, 2.0]], "asks": [[101.0, 3.0], [102.0, 4.0]]}
    write(tmp_path / "l2_BTC_20260613.jsonl.gz", json_lines([book]))
    source, registry = ReplaySource("r", tmp_path), InstrumentRegistry()
    found = gathered(source, registry)
    assert found["trades"]["price"].tolist() == [100.0, 101.5]
    assert found["trades"]["aggressor"].tolist() == [1, -1]
    assert found["trades"]["time_ns"].tolist() == [DAY_MS * 10**6, (DAY_MS + 5) * 10**6]
    assert (found["trades"]["received_ns"] == found["trades"]["time_ns"]).all()
    assert found["open_interest"]["quantity"].tolist() == [20.5]
    assert found["mark_prices"]["price"].tolist() == [100.2]
    assert found["depth"]["side"].tolist() == [0, 0, 1, 1]
    assert found["depth"]["price"].tolist() == [100.0, 99.0, 101.0, 102.0]
    assert found["depth"]["quantity"].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert registry[0].key == "hyperliquid:BTC"
    assert (registry[0].max_leverage, registry[0].quantity_step, registry[0].price_step) == (40.0, 1e-5, 0.1)
    assert not source.defects.counts


def test_identical_trades_are_separate_trades(tmp_path: Path) -> None:
    trades_file(tmp_path, [trade(0), trade(0), trade(0)])
    assert len(gathered(ReplaySource("r", tmp_path))["trades"]) == 3


def test_unknown_coin_takes_its_steps_from_the_data(tmp_path: Path) -> None:
    trades_file(tmp_path, [trade(0, 0.5, 12.5), trade(1, 0.5, 3.0)], coin="NEWCOIN")
    registry = InstrumentRegistry()
    gathered(ReplaySource("r", tmp_path), registry)
    assert registry[0].quantity_step == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("row", "defect"),
    [
        ({**trade(1), "px": -1.0}, "trades.bad_price"),
        ({**trade(1), "px": None}, "trades.bad_price"),
        ({**trade(1), "sz": 0.0}, "trades.bad_quantity"),
        ({**trade(1), "side": "X"}, "trades.unknown_side"),
        ({**trade(1), "ts": 0}, "trades.bad_time"),
        ({**trade(1), "ts": "soon"}, "trades.unparsable"),
        ({**trade(1), "ts": 10**30}, "trades.unparsable"),
        ({**trade(1), "px": "dear"}, "trades.unparsable"),
    ],
)
def test_unusable_row_is_counted_and_skipped(tmp_path: Path, row: dict[str, object], defect: str) -> None:
    path = trades_file(tmp_path, [trade(0), row, trade(2)])
    source = ReplaySource("r", tmp_path)
    assert len(gathered(source)["trades"]) == 2
    assert dict(source.defects.counts) == {defect: 1}
    assert source.defects.samples[defect] == f"{path}:2"


def test_numbers_as_text_are_read(tmp_path: Path) -> None:
    trades_file(tmp_path, [trade(0), {**trade(1), "px": "101.5", "sz": "0.5"}])
    source = ReplaySource("r", tmp_path)
    assert gathered(source)["trades"]["price"].tolist() == [100.0, 101.5]
    assert not source.defects.counts


def test_garbage_between_lines(tmp_path: Path) -> None:
    text = json_lines([trade(0)]) + "\n<html>\n[1,2]\n" + json_lines([trade(1)])
    path = write(tmp_path / "trades_BTC_20260613.jsonl", text)
    source = ReplaySource("r", tmp_path)
    assert len(gathered(source)["trades"]) == 2
    assert dict(source.defects.counts) == {"trades.unparsable": 2}
    assert source.defects.samples["trades.unparsable"] == f"{path}:3"


def test_rows_slightly_out_of_order_are_sorted_and_late_ones_dropped(tmp_path: Path) -> None:
    hour = 3_600_000
    path = trades_file(tmp_path, [trade(hour), trade(hour + 9), trade(hour + 4), trade(0), trade(hour + 20)])
    source = ReplaySource("r", tmp_path)
    offsets = gathered(source)["trades"]["time_ns"] // 10**6 - DAY_MS - hour
    assert offsets.tolist() == [0, 4, 9, 20]
    assert dict(source.defects.counts) == {"trades.out_of_order": 1, "trades.late": 1}
    assert source.defects.samples["trades.late"] == f"{path}:4"


def test_one_stamp_far_ahead_does_not_make_the_rest_late(tmp_path: Path) -> None:
    trades_file(tmp_path, [trade(0), trade(1), trade(10**9), trade(2), trade(3)])
    source = ReplaySource("r", tmp_path)
    assert len(gathered(source)["trades"]) == 4
    assert dict(source.defects.counts) == {"trades.time_spike": 1}


def test_day_file_that_begins_in_the_day_before(tmp_path: Path) -> None:
    trades_file(tmp_path, [trade(-2000), trade(-500)], day="20260612")
    trades_file(tmp_path, [trade(-1000), trade(10)], day="20260613")
    source = ReplaySource("r", tmp_path)
    assert (gathered(source)["trades"]["time_ns"] // 10**6 - DAY_MS).tolist() == [-2000, -1000, -500, 10]
    assert dict(source.defects.counts) == {"trades.out_of_order": 1}


def test_open_interest_zero_is_delivered_and_negative_is_not(tmp_path: Path) -> None:
    rows = [{"ts": DAY_MS + 60_000 * k, "oi": oi, "mark": 1.0} for k, oi in enumerate((5.0, 0.0, -1.0, 6.0))]
    write(tmp_path / "ctx_WIF_20260613.jsonl.gz", json_lines(rows))
    source = ReplaySource("r", tmp_path)
    assert gathered(source)["open_interest"]["quantity"].tolist() == [5.0, 0.0, 6.0]
    assert dict(source.defects.counts) == {"open_interest.zero": 1, "open_interest.bad_quantity": 1}


def test_damaged_book_levels(tmp_path: Path) -> None:
    rows = [
        {"ts": DAY_MS, "bids": [[10.0, 1.0], [9.0]], "asks": [[11.0, -1.0], [12.0, 1.0]]},
        {"ts": DAY_MS + 2000, "bids": [], "asks": [[11.0, 1.0]]},
        {"ts": DAY_MS + 4000, "bids": None, "asks": [[11.0, 1.0]]},
    ]
    write(tmp_path / "l2_WIF_20260613.jsonl", json_lines(rows))
    source = ReplaySource("r", tmp_path)
    assert gathered(source)["depth"]["price"].tolist() == [10.0, 12.0, 11.0, 11.0]
    assert dict(source.defects.counts) == {"depth.bad_level": 1, "depth.one_sided": 2}


def test_gzip_cut_in_the_middle_gives_what_is_there(tmp_path: Path) -> None:
    # sizes that do not repeat, so that the cut lies well inside the rows
    rows = [trade(k * 10, 100.0 + k % 7, round((k * 7919 % 10007) / 100 + 0.01, 2)) for k in range(20_000)]
    path = trades_file(tmp_path, rows)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    source = ReplaySource("r", tmp_path)
    found = gathered(source)["trades"]
    assert 5_000 < len(found) < 15_000
    assert source.defects.counts["file.truncated"] == 1
    assert source.defects.counts["trades.half_line"] <= 1
    assert found["quantity"].tolist() == [row["sz"] for row in rows[: len(found)]]


def test_gzip_damaged_in_the_middle(tmp_path: Path) -> None:
    path = trades_file(tmp_path, [trade(k * 10, size=k % 977 + 1.0) for k in range(20_000)])
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = np.random.default_rng(7).bytes(len(content) // 2)
    path.write_bytes(content)
    source = ReplaySource("r", tmp_path)
    assert 5_000 < len(gathered(source)["trades"]) < 20_000  # what lies before the damage is read
    assert source.defects.counts["file.corrupt"] == 1


def test_half_a_last_line(tmp_path: Path) -> None:
    path = tmp_path / "trades_BTC_20260613.jsonl"
    text = json_lines([trade(0), trade(1)])
    path.write_text(text[:-10])
    source = ReplaySource("r", tmp_path)
    assert len(gathered(source)["trades"]) == 1
    assert dict(source.defects.counts) == {"trades.unparsable": 1}
    path.write_text(text[:-1])  # only the line end is missing: a JSON object shows that it is whole
    assert len(gathered(ReplaySource("r", tmp_path))["trades"]) == 2


def test_several_gzip_members_are_one_file(tmp_path: Path) -> None:
    first = trades_file(tmp_path / "a", [trade(0)]).read_bytes()
    second = trades_file(tmp_path / "b", [trade(1)]).read_bytes()
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "trades_BTC_20260613.jsonl.gz").write_bytes(first + second + b"\0" * 100)
    source = ReplaySource("r", tmp_path / "c")
    assert len(gathered(source)["trades"]) == 2
    assert not source.defects.counts


def test_other_content_under_the_name_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "trades_BTC_20260613.jsonl", "a,b,c\n1,2,3\n")
    with pytest.raises(FileFormatError, match=r"trades_BTC_20260613\.jsonl"):
        ReplaySource("r", tmp_path)
    write(tmp_path / "trades_BTC_20260613.jsonl", '{"time":1,"price":2}\n')
    with pytest.raises(FileFormatError, match="no field"):
        ReplaySource("r", tmp_path)
