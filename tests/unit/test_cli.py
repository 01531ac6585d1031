"""The command line in one process: what it prints, what it writes, and that bad input never ends in a traceback."""

from __future__ import annotations

import asyncio
import csv
import dataclasses
import io
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any, Self

import pytest

from forcedmove_client import (
    Band,
    Chain,
    EventPage,
    MapFrame,
    MarginRule,
    ServerError,
    SymbolInfo,
    UnavailableError,
    UnknownNameError,
    VenueInfo,
)
from forcedmove_client.cli import extensions, joined, main, running
from forcedmove_client.cli.failures import CommandError, status_of, unreachable
from forcedmove_client.cli.launch import launched_server
from forcedmove_client.forecasts import (
    Forecast,
    PathForecast,
    Quantile,
    ShockOutcome,
    TippingPoint,
    VenueForecast,
    VenueOutcome,
)
from forcedmove_client.frames import Assumption
from tests.unit.terminal_sample import sample_frame

ROOT = Path(__file__).parents[2]


class FakeStream:
    """Ten maps, then silence."""

    def __init__(self, keep: Any) -> None:
        self.keep = tuple(axis for axis in ("venue", "side", "leverage", "price") if axis in keep)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None

    async def __aiter__(self) -> AsyncIterator[MapFrame]:
        for seq in range(1, 11):
            yield sample_frame(self.keep, seq=seq, mark=97_000.0 + 10 * seq)
            await asyncio.sleep(0)
        await asyncio.Event().wait()


def margin_rule(market: str) -> MarginRule:
    return MarginRule(
        market, "L1", "DOC", False, "mark", 0.0, 125.0, "shipped table", "2026-09-29", False, 0.4, 0.1, "a help page"
    )


class FakeClient:
    """A client of a server that knows one symbol."""

    def __init__(self, target: str, **_: Any) -> None:
        self.target = target

    async def __aenter__(self) -> Self:
        if self.target.endswith(":1"):
            raise UnavailableError(f"{self.target}: failed to connect: Connection refused (111)")
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def symbols(self) -> list[SymbolInfo]:
        return [SymbolInfo("BTC", ("binance:BTCUSDT",), 97_512.4, 3e9, 50.0, 7_000)]

    async def venues(self) -> list[VenueInfo]:
        frame = sample_frame()
        rules = {market.market: margin_rule(market.market) for market in frame.markets}
        return [VenueInfo("binance", frame.markets[:1], rules, 5), VenueInfo("okx", frame.markets[2:], rules, 5)]

    async def list_events(self, **_: Any) -> EventPage:
        raise ServerError("UNIMPLEMENTED: Method not found!")  # a server of before there were events

    async def simulate(self, symbol: str, *, price: float | None, move: float | None) -> Chain:
        assert (price is None) != (move is None)
        chain = sample_frame().next_down
        assert chain is not None
        return chain

    async def forecast(
        self,
        symbol: str,
        *,
        price: float | None,
        move: float | None,
        paths: int,
        seed: int,
        coupling_s: float | None,
        curve_points: int,
        duration_s: float,
    ) -> Forecast:
        chain = await self.simulate(symbol, price=price, move=move)
        told = tuple(Quantile(p, 93_000.0 - 1_000 * k, 50e6 * (k + 1)) for k, p in enumerate((0.05, 0.5, 0.95)))
        return Forecast(
            chain=chain,
            paths=PathForecast(paths, seed, told, (0.93, 0.41), 0.0) if paths else None,
            tipping_points=(
                TippingPoint("long", 96_000.0, 0.0155, 93_000.0),
                TippingPoint("short", None, None, None),
            ),
            by_venue=VenueForecast(coupling_s, 93_000.0, 60e6, 43.0, True, (VenueOutcome("okx", 92_000.0, 30e6, 1.0),))
            if coupling_s is not None
            else None,
            curve=tuple(ShockOutcome(96_000.0, 93_000.0, 60e6) for _ in range(curve_points)),
            books=(),
            assumptions=(Assumption("impact_recovery", "what still presses", duration_s),) if duration_s else (),
        )

    async def snapshot(
        self, symbols: Any, *, keep: Any = ("side", "price"), band_level: float = 0, **_: Any
    ) -> dict[str, MapFrame]:
        for symbol in symbols:
            if symbol != "BTC":
                raise UnknownNameError(f"unknown symbol {symbol!r}; known: BTC")
        frame = sample_frame(tuple(keep))
        band = Band(band_level, frame.grid / 2, frame.grid * 3) if band_level else None
        return {"BTC": dataclasses.replace(frame, band=band)}

    def subscribe(self, symbols: Any, *, keep: Any, **_: Any) -> FakeStream:
        assert tuple(symbols) == ("BTC",)
        return FakeStream(keep)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "AsyncClient", FakeClient)


def call(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    try:
        status = main(argv)
    except SystemExit as ended:  # argparse
        status = int(ended.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_help_lists_all_commands_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(capsys, "--help")
    assert status == 0
    client = ("demo", "watch", "snapshot", "simulate", "symbols", "venues", "score", "positions")
    for name in (*client, "serve", "liqprice", "check-config"):
        assert f"\n    {name} " in out or f"\n    {name}\n" in out
    assert "simulate-scenario" not in out
    assert "forcedmove liqprice --entry 98000" in out
    status, out, _ = call(capsys, "--version")
    assert status == 0
    assert out.startswith("forcedmove ")


@pytest.mark.parametrize(
    "name",
    ["demo", "watch", "snapshot", "simulate", "symbols", "venues", "score", "positions", "liqprice", "check-config"],
)
def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str], name: str) -> None:
    status, out, _ = call(capsys, name, "--help")
    assert status == 0
    assert "example" in out
    assert f"forcedmove {name}" in out.partition("example")[2]


@pytest.mark.parametrize("name", ["serve", "record"])
def test_what_collects_live_says_how_to_choose_the_largest_symbols(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    status, out, _ = call(capsys, name, "--help")
    assert status == 0
    options = " ".join(out.partition("options:")[2].split())
    assert "with --source live also top:N, the N symbols with the most open interest" in options.partition("--from")[0]


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["simulate", "BTC"], "the shock is missing"),
        (["simulate", "--shock", "-2%"], "SYMBOL is missing"),
        (["simulate", "BTC", "--shock", "-2%", "--price", "9"], "not allowed with"),
        (["simulate", "BTC", "--shock", "twice"], "'twice' is not a fraction"),
        (["simulate", "BTC", "--price", "nan"], "'nan' is not a number above zero"),
        (["simulate", "BTC", "--scenario", "x.toml"], "SYMBOL = 'BTC': a scenario names its own symbol"),
        (["simulate", "BTC", "--shock", "-2%", "--paths", "20001"], "not a whole number from 0 to 20000"),
        (["simulate", "BTC", "--shock", "-2%", "--coupling", "61"], "'61' is not a number of seconds from 0 to 60"),
        (["simulate", "--scenario", "x.toml", "--paths", "9"], "a scenario is followed exactly, once"),
        (["simulate", "--scenario", "x.toml", "--duration", "9m"], "a scenario is followed exactly, once"),
        (["simulate", "BTC", "--shock", "-2%", "--duration", "-9m"], "is not a time above zero"),
        (["simulate", "--scenario", "none.toml"], "none.toml: file = 'none.toml': No such file"),
        (["symbols", "--server", "localhost"], "'localhost' is not HOST:PORT"),
        (["symbols", "--server", "localhost:99999"], "is not HOST:PORT"),
        (["watch", "--duration", "soon"], "'soon' is not a time"),
        (["watch", "--range", "50%"], "'50%' is not a fraction"),
        (["watch", "--png-history", "/nonexistent/h.png"], "no such folder"),
        (["demo", "--seed", "-1"], "'-1' is not a whole number"),
        (["snapshot", "BTC", "--format", "parquet"], "--output is missing"),
        (["snapshot", "BTC", "--band", "0.9"], "--band is for --png and for --format json, csv or parquet"),
        (["snapshot", "BTC", "--band", "0.9", "--by", "venue", "--png", "x.png"], "leave out --by"),
        (["snapshot", "BTC", "--band", "1.2", "--format", "csv"], "'1.2' is not a fraction such as 0.05 or 5%"),
        (["snapshot", "DOGE"], "unknown symbol 'DOGE'; known: BTC"),
        (["snapshot"], "required: SYMBOL"),
        (["unheard-of"], "invalid choice: 'unheard-of'"),
        ([], "required: COMMAND"),
        (["liqprice", "--entry", "98000", "--leverage", "50", "--side", "long"], "mmr = None"),
        (["liqprice", "--entry", "nan", "--leverage", "50", "--side", "long", "--mmr", "0"], "entry = nan"),
        (["liqprice", "--entry", "1", "--leverage", "0.5", "--side", "long", "--mmr", "0"], "leverage = 0.5"),
        (["liqprice", "--entry", "1", "--leverage", "5", "--side", "long", "--mmr", "2"], "mmr = 2.0"),
        (
            ["liqprice", "--entry", "1", "--leverage", "5", "--side", "long", "--venue", "mtgox"],
            "unknown venue 'mtgox'",
        ),
        (["check-config", "none.toml"], "none.toml"),
    ],
)
@pytest.mark.usefixtures("server")
def test_bad_input_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str], argv: list[str], told: str) -> None:
    status, out, err = call(capsys, *argv)
    assert status == 2
    assert out == ""
    assert told in err.splitlines()[-1]
    assert "Traceback" not in err


@pytest.mark.usefixtures("server")
def test_refused_connection_is_one_line_and_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["symbols"], ["watch"], ["snapshot", "BTC"], ["simulate", "BTC", "--shock=1%"]):
        status, out, err = call(capsys, *command, "--server", "127.0.0.1:1")
        assert (status, out) == (1, "")
        assert err.startswith("forcedmove: 127.0.0.1:1: connection refused; is a server running there?")
        assert len(err.splitlines()) == 1


def test_refused_connection_without_a_fake(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = call(capsys, "symbols", "--server", "127.0.0.1:1")
    assert status == 1
    assert len(err.splitlines()) == 1
    assert "127.0.0.1:1" in err


@pytest.mark.parametrize(
    ("options", "printed"),
    [
        (["--side", "long", "--mmr", "0"], "96040"),
        (["--side", "short", "--mmr", "0"], "99960"),
        (["--side", "long", "--mmr", "0.4%"], "96425.70281"),
        (["--side", "long", "--mmr", "0.004"], "96425.70281"),
        (["--side", "long", "--mmr", "0", "--contract", "inverse"], "96078.43137"),
        (["--side", "long", "--mmr", "0.01", "--maint-amount", "100", "--quantity", "1"], "96909.09091"),
        (["--side", "long", "--mmr", "0.004", "--fee", "0.05%"], "96474.1336"),
    ],
)
def test_liqprice_prints_the_shortest_form(
    capsys: pytest.CaptureFixture[str], options: list[str], printed: str
) -> None:
    status, out, err = call(capsys, "liqprice", "--entry", "98000", "--leverage", "50", *options)
    assert (status, out, err) == (0, printed + "\n", "")


def test_scenario_goes_through_the_entry_point(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(ROOT / "examples" / "acceptance.toml")
    status, out, _ = call(capsys, "simulate", "--scenario", path, "--json")
    assert status == 0
    assert json.loads(out)["terminal_price"] == 95_600.0
    status, out, _ = call(capsys, "simulate", "--scenario", path, "--shock", "-1%")
    assert status == 0
    assert "shock to 96,525 (-1.00%)" in out


@pytest.mark.usefixtures("server")
def test_simulate_on_a_server(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(capsys, "simulate", "BTC", "--shock", "-2%")
    assert status == 0
    assert "2 levels, $60.0M of longs on 3 venues; the mark ends at 93,000" in out
    answer = json.loads(call(capsys, "simulate", "BTC", "--price", "96050", "--json")[1])
    assert answer["levels"][0]["trigger_price"] == 96_000.0
    offline = json.loads(call(capsys, "simulate", "--scenario", str(ROOT / "examples/acceptance.toml"), "--json")[1])
    assert set(answer) - set(offline) == {"paths", "tipping_points", "by_venue", "curve", "books", "assumptions"}
    assert set(offline) < set(answer)
    assert answer["paths"] is None
    assert set(answer["levels"][0]) == set(offline["levels"][0])


@pytest.mark.usefixtures("server")
def test_simulate_says_how_sure_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(
        capsys, "simulate", "BTC", "--shock=-2%", "--paths", "2000", "--seed", "9", "--coupling", "5s"
    )
    assert status == 0
    assert "2,000 paths, seed 9" in out
    lines = [line.split() for line in out.splitlines()]
    assert ["1", "96,000", "93%"] in [line[:3] for line in lines]
    assert [line[:2] for line in lines if line and line[0] in ("5%", "50%", "95%")] == [
        ["5%", "93,000"],
        ["50%", "92,000"],
        ["95%", "91,000"],
    ]
    assert "venue by venue, coupled in 5 s: meets at 93,000 after 43 s" in out
    assert ["okx", "92,000", "$30.0M"] in lines
    assert "smallest shock of longs that tips: −1.55% to 96,000, ends at 93,000" in out
    argv = ["simulate", "BTC", "--shock=-2%", "--paths", "20", "--curve", "3", "--duration", "10m", "--json"]
    answer = json.loads(call(capsys, *argv)[1])
    assert answer["paths"]["quantiles"][2] == {"probability": 0.95, "terminal_price": 91_000.0, "total_usd": 150e6}
    assert len(answer["curve"]) == 3
    assert answer["by_venue"] is None
    assert answer["assumptions"][0]["value"] == 600.0
    assert answer["tipping_points"][1]["distance"] is None


@pytest.mark.usefixtures("server")
def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert "97,512.4         $3.00B" in call(capsys, "symbols")[1]
    assert json.loads(call(capsys, "symbols", "--json")[1])[0]["symbol"] == "BTC"
    out = call(capsys, "venues")[1]
    assert [line.split()[-1] for line in out.splitlines()] == ["feeds", "fresh", "stale"]
    assert json.loads(call(capsys, "venues", "--json")[1])[1]["venue"] == "okx"


@pytest.mark.usefixtures("server")
def test_snapshot_in_every_format(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, out, _ = call(capsys, "snapshot", "BTC")
    assert status == 0
    assert "largest clusters" in out
    (plain,) = json.loads(call(capsys, "snapshot", "BTC", "--format", "json")[1])
    assert plain["event_time"] == "2026-01-05T13:26:31Z"
    assert plain["price_high"][-1] is None
    total = sum(map(sum, plain["grid"]))
    rows = list(csv.DictReader(io.StringIO(call(capsys, "snapshot", "BTC", "--format", "csv")[1])))
    assert list(rows[0]) == ["symbol", "side", "price_low", "price_high", "notional_usd"]
    assert sum(float(row["notional_usd"]) for row in rows) == pytest.approx(total)
    path = tmp_path / "m.parquet"
    keep = ["--by", "leverage", "venue"]
    assert call(capsys, "snapshot", "BTC", *keep, "--format", "parquet", "--output", str(path))[0] == 0
    import pyarrow.parquet as pq

    stored = pq.read_table(path)
    assert stored.column_names == ["symbol", "venue", "side", "leverage", "price_low", "price_high", "notional_usd"]
    assert sum(stored["notional_usd"].to_pylist()) == pytest.approx(total)
    status, _, err = call(capsys, "snapshot", "BTC", "--format", "csv", "--output", str(tmp_path / "no" / "x"))
    assert status == 1
    assert err.endswith("x: No such file or directory\n")


@pytest.mark.usefixtures("server")
def test_snapshot_with_a_band(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (plain,) = json.loads(call(capsys, "snapshot", "BTC", "--band", "90%", "--format", "json")[1])
    assert plain["band"]["level"] == 0.9
    assert json.loads(call(capsys, "snapshot", "BTC", "--format", "json")[1])[0]["band"] is None
    assert call(capsys, "snapshot", "BTC", "--band", "0.9", "--png", str(tmp_path / "m.png"))[0] == 0


@pytest.mark.usefixtures("server")
def test_pictures(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for axis in ("", "venue", "leverage"):
        path = tmp_path / f"map{axis}.png"
        assert call(capsys, "snapshot", "BTC", "--png", str(path), *(["--by", axis] if axis else []))[0] == 0
        assert path.read_bytes()[:4] == b"\x89PNG"
    path = tmp_path / "h.png"
    status, out, err = call(capsys, "watch", "--duration", "0.3", "--every", "0.1", "--png-history", str(path))
    assert (status, err) == (0, "")
    assert "BTC  mark 97,100.0" in out
    assert path.read_bytes()[:4] == b"\x89PNG"


def test_history_keeps_absolute_bins_and_thins_itself_out(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = pytest.importorskip("forcedmove_client.picture")
    monkeypatch.setattr(picture, "_MOST_COLUMNS", 8)
    history = picture.History()
    for seq in range(40):
        history.add(sample_frame(("side", "price"), seq=seq))
        history.add(sample_frame(("side", "price"), seq=seq))
    assert 4 <= len(history) <= 8
    edges, heat = history.grid(93_900.0, 94_200.0)
    assert edges.tolist() == [93_900.0 + 50 * k for k in range(7)]
    assert heat[2].tolist() == [40e6] * len(history)


def test_joined_attaches_negative_moves_only() -> None:
    assert joined(["simulate", "BTC", "--shock", "-2%"]) == ["simulate", "BTC", "--shock=-2%"]
    assert joined(["--shock", "-.5", "--shock", "--json"]) == ["--shock=-.5", "--shock", "--json"]


def test_missing_requirements_are_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: object) -> object:
        raise ModuleNotFoundError("No module named 'numba'", name="numba")

    monkeypatch.setattr(EntryPoint, "load", fail)
    for argv in (["serve", "--port", "0"], ["liqprice", "-x"], ["demo"], ["simulate", "--scenario", "x"]):
        status, out, err = call(capsys, *argv)
        assert (status, out) == (2, "")
        assert err.endswith("needs numba: pip install 'forcedmove[server]'\n")
        assert len(err.splitlines()) == 1
    assert "pip install 'forcedmove[server]'" in " ".join(call(capsys, "--help")[1].split())
    late = SimpleNamespace(run=fail)
    with pytest.raises(CommandError, match=r"serve needs numba: pip install 'forcedmove\[server\]'"):
        extensions.run(late, "serve", None)  # type: ignore[arg-type]


def test_errors_of_task_groups_are_told_and_bugs_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    wrapped = ExceptionGroup("tasks", [UnavailableError("h:1: Deadline Exceeded")])
    assert status_of(wrapped) == 1
    assert capsys.readouterr().err == "forcedmove: h:1: no answer in time\n"
    assert status_of(RuntimeError("a bug")) is None
    assert unreachable("h:1: something else") == "h:1: something else"


def test_server_that_does_not_start_says_why() -> None:
    with (
        pytest.raises(CommandError, match=r"ended with status 2: .*port"),
        launched_server(["--port", "-5"], "starting"),
    ):
        pass


def test_output_that_nobody_reads_any_more() -> None:
    command = [sys.executable, "-m", "forcedmove_client.cli", "--help"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, env=environment, check=False)
    assert b"Traceback" not in done.stderr


async def test_drawn_view_takes_the_whole_screen_and_gives_it_back() -> None:
    from rich.console import Console

    from forcedmove_client.terminal.live import WatchOptions, watch

    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=120, height=36, color_system="truecolor", _environ={})
    seen: list[int] = []
    options = WatchOptions((), duration_s=0.4)
    await watch(FakeClient("h:2"), options, console, lambda frame: seen.append(frame.seq))  # type: ignore[arg-type]
    drawn = output.getvalue()
    assert seen == list(range(1, 11))
    assert drawn.count("\x1b[?1049h") == drawn.count("\x1b[?1049l") == 1
    assert drawn.endswith("\x1b[?25h\x1b[?1049l")
    assert "97,100.0" in drawn
