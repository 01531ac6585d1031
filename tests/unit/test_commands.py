"""Server commands as a person runs them: what they write, and how they say no."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet
import pytest

from forcedmove_client.cli import main
from forcedmove_kernels import cuda
from forcedmove_kernels.errors import BackendUnavailableError


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half an hour of the simulated market, recorded by the product."""
    folder = tmp_path_factory.mktemp("recorded") / "simulated"
    assert main(["record", "--hours", "0.5", "--seed", "3", "--symbols", "BTC", "ETH", "--output", str(folder)]) == 0
    return folder


def test_replay_writes_the_agreed_table_and_summary(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dump, summary = tmp_path / "map.parquet", tmp_path / "summary.json"
    assert main(["replay", "--input", str(recording), "--dump", str(dump), "--summary", str(summary)]) == 0
    table = pyarrow.parquet.read_table(dump).to_pandas()
    assert list(table.columns) == [
        "symbol",
        "venue",
        "side",
        "leverage",
        "price_low",
        "price_high",
        "notional_usd",
        "at",
    ]
    assert set(table["side"]) == {"long", "short"}
    assert set(table["symbol"]) == {"BTC", "ETH"}
    told = json.loads(summary.read_text())
    assert told["events_total"] == sum(told["events"].values()) > 100_000
    assert told["events_per_second"] > 0
    assert len(told["markets"]) == 10
    for market in told["markets"].values():
        assert market["live_lots"]["long"] == market["live_lots"]["short"] == market["open_interest_lots"] > 0
        for side in ("long", "short"):
            balance = market["live"][side] + market["closed"][side] + market["liquidated"][side]
            assert market["opened"][side] + market["overkill"][side] == pytest.approx(balance)
    # the table is the whole map: linear notional over the bin's middle is the open interest again
    linear = table[(table["venue"] == "bybit") & (table["symbol"] == "ETH")]
    middle = (linear["price_low"] + linear["price_high"]) / 2
    quantity = (linear["notional_usd"] / middle).groupby(linear["side"]).sum()
    expected = told["markets"]["bybit:ETHUSDT"]["open_interest"]
    assert quantity["long"] == pytest.approx(expected, rel=1e-9)
    assert quantity["short"] == pytest.approx(expected, rel=1e-9)
    assert "bybit:ETHUSDT" in capsys.readouterr().out


def test_two_replays_write_the_same_bytes(recording: Path, tmp_path: Path) -> None:
    written = []
    for name in ("a.csv", "b.csv"):
        assert main(["replay", "--input", str(recording), "--dump", str(tmp_path / name)]) == 0
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]
    assert pyarrow.csv.read_csv(tmp_path / "a.csv").num_rows > 1000


def test_replay_stops_before_until(recording: Path, tmp_path: Path) -> None:
    totals = []
    for until in ("2026-10-05T00:10", "2026-10-05T00:20"):
        summary = tmp_path / "s.json"
        assert main(["replay", "--input", str(recording), "--until", until, "--summary", str(summary)]) == 0
        totals.append(json.loads(summary.read_text())["events_total"])
    assert 0 < totals[0] < totals[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--input", "{missing}"], ["path", "missing"]),
        (["--input", "{empty}"], ["empty"]),
        (["--input", "{garbage}"], ["garbage.csv"]),
        (["--input", "{recording}", "--symbols", "DOGE"], ["DOGE", "BTC, ETH"]),
        (["--input", "{recording}", "--symbols", "kraken:BTC"], ["kraken:BTC"]),
        (["--input", "{recording}", "--dump", "map.txt"], ["dump", "map.txt", ".parquet or .csv"]),
        (["--input", "{recording}", "--dump", "{missing}/map.csv"], ["dump", "map.csv"]),
        (["--input", "{recording}", "--config", "{garbage}"], ["garbage.csv"]),
    ],
)
def test_replay_refuses_bad_input_by_name(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: list[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "garbage.csv").write_bytes(b"\x00\xffthis is not a recording\n" * 3)
    places = {
        "missing": tmp_path / "missing",
        "empty": tmp_path / "empty",
        "garbage": tmp_path / "garbage.csv",
        "recording": recording,
    }
    assert main(["replay", *(argument.format(**places) for argument in arguments)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Traceback" not in error
    for word in said:
        assert word in error


def test_evaluate_compares_all_maps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = tmp_path / "scores.json"
    arguments = ["--hours", "2", "--skip-hours", "1", "--seed", "7", "--symbols", "BTC", "--json", str(scores)]
    assert main(["evaluate", *arguments]) == 0
    told = json.loads(scores.read_text())
    means = {(m["map"], m["measure"]): m["value"]["value"] for m in told["summary"]["means"]}
    assert {name for name, _ in means} == {"prior", "calibrated", "true", "naive", "naive_maintenance", "distance"}
    assert means["true", "wasserstein_bp"] < means["prior", "wasserstein_bp"] < means["naive", "wasserstein_bp"]
    printed = capsys.readouterr().out
    assert "ours, true weights" in printed
    assert "90 % bands hold" in printed.replace("\xa0", " ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--hours", "1", "--skip-hours", "2"], "skip-hours = 2"),
        (["--seeds", "1,1"], "seeds"),
        (["--jobs", "0"], "jobs = 0"),
        (["--symbols", "NOPE"], "NOPE"),
        (["--report", "study.pdf"], "study.pdf"),
        (["--json", "nowhere/scores.json"], "nowhere"),
        (["--cascades", "--regimes", "crash", "--duration", "-1"], "duration_s = -1"),
        (["--cascades", "--alarms", "--regimes", "crash"], "one study at a time"),
        (["--alarms", "--regimes", "crash", "--hours", "1"], "hours = 1"),
        (["--alarms", "--regimes", "crash", "--report", "alarms.html"], "alarms.html"),
    ],
)
def test_evaluate_refuses_bad_arguments(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    assert main(["evaluate", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_evaluate_holds_alarms_against_cascades(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    curves = tmp_path / "alarms.json"
    arguments = ["--alarms", "--hours", "2.5", "--seed", "3", "--regimes", "crash", "--symbols", "BTC"]
    assert main(["evaluate", *arguments, "--json", str(curves)]) == 0
    points = json.loads(curves.read_text())
    assert {point["score"] for point in points} >= {"touch x chain", "touch alone"}
    assert all(0 <= point["warned"]["value"] <= 1 for point in points)
    assert "cascades of 1 markets" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"), [(["--seeds", "5-3"], "5-3"), (["--regimes", "storm"], "storm"), (["--seed"], "--seed")]
)
def test_evaluate_says_how_it_is_used(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", *arguments])
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("hours", ["0", "-1", "nan"])
def test_a_recording_needs_an_end(tmp_path: Path, capsys: pytest.CaptureFixture[str], hours: str) -> None:
    assert main(["record", "--hours", hours, "--output", str(tmp_path / "x")]) == 2
    assert "hours = " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--source", "replay"], "input = None"),
        (["--input", "x"], "--source replay"),
        (["--port", "70000"], "port = 70000"),
        (["--source", "simulate", "--symbols", "NOPE"], "NOPE"),
    ],
)
def test_serve_refuses_bad_arguments(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    assert main(["serve", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_backend_that_cannot_run_is_refused_at_the_start(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(device: int) -> None:
        raise BackendUnavailableError("no CUDA device: the driver reports none")

    monkeypatch.setattr(cuda, "open_backend", refuse)
    assert main(["serve", "--backend", "cuda"]) == 2
    error = capsys.readouterr().err
    assert "engine.backend = 'cuda': cuda cannot run here: no CUDA device" in error
    assert "forcedmove[cuda13]" in error


def test_a_store_that_does_not_fit_is_refused_with_the_keys_to_lower(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "huge.toml"
    path.write_text('[engine]\nbackend = "cpu"\nmax_markets = 65536\nmax_cohorts_per_market = 1048576\n')
    assert main(["serve", "--config", str(path)]) == 2
    error = capsys.readouterr().err
    assert "engine.max_cohorts_per_market = 1048576: needs 1671.4 GiB, this machine has" in error
    assert "lower `max_cohorts_per_market`, `max_markets` or `bins`" in error
    assert "Traceback" not in error


HL = '{{"ts":{ts},"px":{px},"sz":1.5,"side":"B"}}'


def jsonl_market(folder: Path, price: float = 100_000.0, oi: float = 100.0) -> None:
    """Ten minutes of one coin as JSON lines, in the layout docs/FORMATS.md describes."""
    begin = 1_781_222_400_000
    trades = [HL.format(ts=begin + 1000 * k, px=price + k % 7) for k in range(600)]
    marks = [f'{{"ts":{begin + 60_000 * k},"funding":0,"oi":{oi},"mark":{price},"oracle":{price}}}' for k in range(10)]
    for kind, lines in (("trades", trades), ("ctx", marks)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        (folder / kind / f"{kind}_BTC_20260612.jsonl").write_text("\n".join(lines) + "\n")


def test_a_run_that_gives_no_map_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jsonl_market(tmp_path, price=-50.0)
    assert main(["replay", "--input", str(tmp_path), "--dump", str(tmp_path / "m.csv")]) == 2
    error = capsys.readouterr().err
    assert "gives no map" in error
    assert "trades." in error
    assert not (tmp_path / "m.csv").exists()


def test_an_empty_span_of_time_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jsonl_market(tmp_path)
    arguments = ["replay", "--input", str(tmp_path), "--from", "2026-06-12", "--until", "2026-06-11"]
    assert main(arguments) == 2
    assert "until = '2026-06-11T00:00:00+00:00': must be later than --from" in capsys.readouterr().err
    assert main(["replay", "--input", str(tmp_path), "--until", "2020-01-01"]) == 2
    assert "2020-01-01T00:00:00Z" in capsys.readouterr().err


def test_a_copied_file_is_read_once(tmp_path: Path) -> None:
    jsonl_market(tmp_path / "once")
    jsonl_market(tmp_path / "twice")
    copy = tmp_path / "twice" / "trades" / "trades_BTC_20260613.jsonl"
    copy.write_bytes((tmp_path / "twice" / "trades" / "trades_BTC_20260612.jsonl").read_bytes())
    told = []
    for name in ("once", "twice"):
        summary = tmp_path / f"{name}.json"
        assert main(["replay", "--input", str(tmp_path / name), "--summary", str(summary)]) == 0
        told.append(json.loads(summary.read_text()))
    assert told[0]["markets"] == told[1]["markets"]
    assert told[1]["defects"]["file.duplicate"] == 1
