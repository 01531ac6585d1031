"""``forcedmove score``: what it prints where there is everything, little, and nothing."""

from __future__ import annotations

import dataclasses
import io
import json
from typing import Any, Self

import pytest
from rich.console import Console

from forcedmove_client import Estimate, Scorecard, UnavailableError
from forcedmove_client.cli import main, running
from forcedmove_client.cli.score import bounds, show, signed, span
from forcedmove_client.scorecard import scorecard_of
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.scorecard import response_of
from forcedmove_server.scorecard.measures.cascades import CascadeScore
from forcedmove_server.scorecard.scorecard import Scorecard as ServerScorecard
from forcedmove_server.scorecard.summary import Summary, Where
from tests.unit.scorecard_sample import full_summary, market_row, young_summary


def card_of(summary: Summary, rows: bool = False) -> Scorecard:
    return scorecard_of(response_of(summary, [market_row(), market_row("okx", side=1)] if rows else [], Limits()))


class FakeClient:
    """A client of a server that has scored BTC; a port of 2 is one that keeps no scorecard."""

    asked: dict[str, Any] = {}  # noqa: RUF012  what the last call asked for

    def __init__(self, target: str, **_: Any) -> None:
        self.target = target

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def scorecard(self, **asked: Any) -> Scorecard:
        FakeClient.asked = asked
        if self.target.endswith(":2"):
            raise UnavailableError(f"{self.target}: no scorecard is kept: scorecard.enabled = false")
        return card_of(full_summary(Where("binance", "BTC", 0)), rows=asked["rows"])


@pytest.fixture
def _server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "AsyncClient", FakeClient)


def printed(card: Scorecard, *, rows: bool = False, width: int = 400) -> list[str]:
    output = io.StringIO()
    show(card, Console(file=output, highlight=False, width=width), rows=rows)
    return [line.rstrip() for line in output.getvalue().splitlines()]


@pytest.mark.usefixtures("_server")
def test_headline_first_with_intervals_counts_and_nulls(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "--venue", "binance", "--symbol", "BTC", "--side", "long"]) == 0
    assert FakeClient.asked == {"venue": "binance", "symbol": "BTC", "side": "long", "rows": False}
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "BTC on binance, longs: 2026-01-01 00:00:00 to 2026-04-01 00:00:00 UTC"
    made = full_summary().headline
    assert made.gain is not None
    assert lines[2].split() == ["ours", "at", "1", "h", "95%", "n", "null"]
    for line, name, estimate, null in (
        (lines[3], "bits per position", made.bits, "0: the map made flat inside distance bands"),
        (lines[4], "open interest released on crossing", made.released, "0: the distance prior"),
        (lines[5], "gain over naive", made.gain, "0: naive"),
    ):
        words = line.removeprefix(name).split()
        assert line.startswith(name)
        assert words[0] == f"{estimate.value:+.3f}"
        assert words[1:4] == [f"{estimate.low:+.3f}", "to", f"{estimate.high:+.3f}"]
        assert words[4] == f"{estimate.n:,}"
        assert line.rstrip().endswith(null)


def test_every_map_and_horizon_is_beside_ours() -> None:
    summary, lines = full_summary(), printed(card_of(full_summary()))
    for title in ("open interest released on crossing; the distance prior", "where positions lay"):
        start = next(k for k, line in enumerate(lines) if line.startswith(title))
        table = lines[start + 2 : start + 8]
        assert [line[:7].strip() for line in table] == ["1 h", "", "", "4 h", "", ""]
        assert [line[7:].split()[0] for line in table] == ["ours", "naive", "distance"] * 2
    placed = summary.maps[3].positions
    assert placed is not None
    ours = placed.capture
    assert table[3].split()[-3:] == [f"{x:.1%}" for x in (ours.share, ours.uniform, ours.distance_matched) if x]
    reach = summary.reach[1].reach
    line = next(line for line in lines if line.split()[:3] == ["4", "h", f"{reach.n:,}"])
    assert len([word for word in line.split() if "/" in word]) == 10
    text = "\n".join(lines)
    assert "not scored: 12 x price stale\nnot scored: 3 x no map at the start" in text
    assert "open interest conserved: " in text
    assert "(binance:BTCUSDT at 2026-01-01 01:00:00)" in text
    assert text.count("cascades: ") == text.count("credible bands: ") == 1


def test_it_fits_an_ordinary_terminal() -> None:
    lines = printed(card_of(full_summary(), rows=True), rows=True, width=110)
    assert max(map(len, lines)) <= 110
    assert not any("…" in line for line in lines)


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ((0, 0, 0, 0, 0), ""),
        ((2, 0, 0, 0, 2), "cascades: 0 seen, 0 of them announced; false alarms: 2, 1 a day"),
        (
            (1, 1, 1, 0, 0),
            "cascades: 1 seen, 1 of them announced 42 s ahead, floor 7.0 bp off; false alarms: 0, 0 a day",
        ),
    ],
)
def test_cascades_in_a_sentence(counts: tuple[int, int, int, int, int], told: str) -> None:
    errors = (7.0, 0.1, 1.0, 42.0) if counts[2] else (None,) * 4
    score = CascadeScore(*counts, 172_800.0, *errors, counts[4] / 2, "no cascade was seen")
    summary = dataclasses.replace(full_summary(), cascades=score)
    lines = [line for line in printed(card_of(summary)) if line.startswith("cascades")]
    assert lines == ([told] if told else [])


def test_what_is_not_enough_is_no_number() -> None:
    lines = printed(card_of(young_summary()))
    assert lines[0].startswith("all symbols on all venues, both sides: 2026-01-01 00:00:00 to 2026-01-01 01:00:00")
    bits, released, gain = lines[3:6]
    assert "not enough yet: neither known positions nor complete liquidation feeds" in bits
    assert "not enough yet: 12 moves of 50" in released
    assert "not enough yet: 12 moves of 50" in gain
    assert sum("12 of 50" in line for line in lines) == 6
    assert not any(sign in line for line in lines for sign in ("+0", "−0", "%/", "nan", "None"))
    assert not any(
        line.startswith(("where ", "will ", "cascades", "credible", "open interest conserved")) for line in lines
    )


def test_nothing_at_all_is_said_in_a_few_lines() -> None:
    lines = printed(card_of(ServerScorecard().summary()), rows=True)
    assert lines[0] == "all symbols on all venues, both sides: nothing scored yet"
    assert "not enough yet: 0 moves of 50" in lines[4]
    assert lines[-1] == "no rows yet"
    assert len(lines) == 8


def test_a_value_without_an_interval_says_why() -> None:
    card = card_of(young_summary())
    few = Estimate(0.25, None, None, None, 60, 3, "no interval from 3 blocks, 5 [needed]")
    card = dataclasses.replace(card, headline=dataclasses.replace(card.headline, released=few))
    line = printed(card)[4]
    assert "+0.250  no interval from 3 blocks, 5 [needed]" in line
    assert " 60 " in line


@pytest.mark.usefixtures("_server")
def test_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "--rows"]) == 0
    row = capsys.readouterr().out.splitlines()[-1]
    assert row.split() == [
        "binance", "BTC", "long", "1", "h", "ours", "31", "1.20%", "0.34%", "5", "+0.250", "7", "−0.125", "–", "87.5%",
    ]  # fmt: skip


@pytest.mark.usefixtures("_server")
def test_json_has_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "--rows", "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert set(plain) == {field.name for field in dataclasses.fields(Scorecard)}
    assert (plain["begin_time"], plain["end_time"]) == ("2026-01-01T00:00:00Z", "2026-04-01T00:00:00Z")
    assert plain["invariants"]["worst_time"] == "2026-01-01T01:00:00Z"
    assert plain["headline"]["bits"]["value"] == full_summary().headline.bits.value
    assert len(plain["figures"]) == len(card_of(full_summary()).figures)
    assert plain["rows"][0]["captured_share"] is None
    assert plain["rules"]["horizons_s"] == [3600.0, 14_400.0]


@pytest.mark.usefixtures("_server")
def test_failures_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "--server", "127.0.0.1:2"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "forcedmove: 127.0.0.1:2: no scorecard is kept: scorecard.enabled = false\n"
    with pytest.raises(SystemExit):
        main(["score", "--side", "up"])
    assert "invalid choice: 'up'" in capsys.readouterr().err


def test_figures_and_horizons_in_words() -> None:
    assert [span(s) for s in (1.5, 60.0, 300.0, 3600.0, 5400.0, 86_400.0)] == [
        "1.5 s", "1 min", "5 min", "1 h", "90 min", "24 h",
    ]  # fmt: skip
    assert (signed(-0.0004), signed(1.25)) == ("−0.000", "+1.250")
    assert bounds(Estimate(1.0, None, None, None, 1, 1, "")) == ""
    assert bounds(Estimate(0.0, -0.5, 0.5, 0.95, 9, 9, "")) == "−0.500 to +0.500"
