"""The page: every figure is on it, names cannot break out of it, and the same result gives the same bytes."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib", reason="comes with the [plot] extra")

import matplotlib

from forcedmove_server.errors import InputError
from forcedmove_server.scorecard.report import document, html, tables
from forcedmove_server.scorecard.report.result import BacktestResult
from forcedmove_server.scorecard.report.write import check_report, write_report
from forcedmove_server.scorecard.rules import ScoringRules
from forcedmove_server.scorecard.scorecard import Scorecard
from tests.unit.report_sample import TEST, bare, examples, market_rows, result, summary, weights

ROOT = Path(__file__).parents[2]
#: nobody needs these twice: n and blocks of a placement or a set of moves stand beside its first estimate
_SHOWN_BY_A_SIBLING = re.compile(
    r"(plain|plain_gain|rank_gain|bits_over_prior|bits_over_flat_per_dollar|bits_over_prior_per_dollar|capture_ratio)"
    r"\.(n|blocks)$"
)
_VOID = {"meta"}
_HOSTILE = "$\\frac$</svg><script>alert(1)</script></td>\"' onload=x \\g<0> \\1 --> <!-- 鯨 \x00\ud800\u202e &amp;"


class Page(HTMLParser):
    """Text, tags, attributes; fails where elements do not nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.page, self.text = page, ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data + " "


@pytest.fixture(scope="module")
def whole() -> Page:
    return Page(html.page(result()))


@pytest.fixture
def no_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "panel_svg", lambda draw, label, prefix: "")


def variants(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the same value with one number or word of it changed, and where."""
    if is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            for where, changed in variants(getattr(value, field.name), f"{path}.{field.name}"):
                yield where, replace(value, **{field.name: changed})
    elif isinstance(value, tuple):
        for k, inner in enumerate(value):
            for where, changed in variants(inner, f"{path}[{k}]"):
                yield where, (*value[:k], changed, *value[k + 1 :])
    elif isinstance(value, str):
        yield path, f"{value} changed"
    elif isinstance(value, int):
        yield path, value + 61 * 10**9 if path.endswith("_ns") else value + 3
    elif isinstance(value, float):
        yield path, value * 1.5 + 0.011


@pytest.mark.usefixtures("no_charts")
def test_every_figure_of_the_summary_is_on_the_page() -> None:
    full = summary()
    # one horizon and two maps are as good as all; the tables do not know which they print
    chosen = tuple(s for s in full.maps if s.horizon_ns == full.headline.horizon_ns and s.map in ("ours", "naive"))
    small = replace(full, maps=chosen, reach=full.reach[:1], rules=ScoringRules())
    base = BacktestResult("Title", "source", None, TEST, (), (), small)
    page, missed, tried = html.page(base), [], 0
    parts: tuple[str, ...] = ("maps", "reach", "cascades", "coverage", "invariants", "unscored", "headline")
    for part in parts:
        for where, changed in variants(getattr(small, part), part):
            # the judged map and horizon pick what is shown, they are no figures
            if where.startswith("headline.") and where.split(".")[1] in ("map", "baseline", "horizon_ns", "bits_from"):
                continue
            tried += 1
            # the headline's own copy of released and gain is shown in cards, and its reasons in words
            if html.page(replace(base, summary=replace(small, **{part: changed}))) == page:
                missed.append(where)
    assert tried > 150
    assert [where for where in missed if not _SHOWN_BY_A_SIBLING.search(where)] == []


def test_headline_split_and_sections(whole: Page) -> None:
    text = re.sub(r"\s+", " ", whole.text)
    head = result().summary.headline
    assert head.released.value is not None
    assert f"+{head.released.value:.3f} [+{head.released.low:.3f}, +{head.released.high:.3f}]" in text
    assert "+0.041 bits [−0.019, +0.091]" in text
    assert "Of 3 questions: 2 for the map, 1 not distinguishable from the null." in text
    assert "Fitted on 2026-01-27 00:00 to 2026-02-16 00:00 UTC, 20 days" in text
    assert "Scored on 2026-02-16 00:00 to 2026-03-29 00:00 UTC, 41 days" in text
    assert "The two do not overlap." in text
    for name in ("forcedmove", "naive", "naive with maintenance", "distance only"):
        assert name in text
    for note in ("OKX publishes at most one liquidation", "open interest older than its stamp", "move left the map's"):
        assert note in text
    assert "kept" in text
    # released 2, lift 2, residuals 3, examples 3, reliability 4, tiers 6, distances 2, courses 6: one spoken each
    assert whole.seen["svg"] == whole.seen["figure"] == 28
    assert sum(name == "aria-label" and bool(value) for _, name, value in whole.attributes) == 28


@pytest.mark.usefixtures("no_charts")
def test_every_threshold_is_named_and_explained() -> None:
    page = html.page(bare())
    for field in fields(ScoringRules):
        assert f"<code>{field.name}</code>" in page
        assert tables._MEANINGS[field.name] in page


@pytest.mark.usefixtures("no_charts")
def test_a_broken_gate_is_told() -> None:
    full = summary()
    broken = replace(full, invariants=replace(full.invariants, worst_interest_error=0.0123))
    page = Page(html.page(replace(result(), summary=broken))).text
    assert "BROKEN" in page
    assert "1.2300\u00a0%" in page
    assert "BROKEN" not in html.page(result())


def test_a_negative_result_is_not_hidden() -> None:
    text = Page(html.page(replace(result(-0.6), weights=(), realised=(), deciles=()))).text
    assert "Of 3 questions: 2 against the map" in text
    assert "it is worse than distance alone (the 95\u00a0% interval lies below zero)" in text


def test_without_liquidations_and_positions() -> None:
    text = re.sub(r"\s+", " ", Page(html.page(bare())).text)
    assert "not enough data (9 of 50)" in text
    assert "Of 3 questions: 3 without enough data for an interval." in text
    assert "Liquidations, complete feeds. None in this period." in text
    assert "Nothing was fitted." in text
    assert "not checked" in text
    for chart in ("not enough data (9 of 50).", "no forecast has come due", "weights were not calibrated in this run"):
        assert f"No chart: {chart}" in text


def test_a_scorecard_that_saw_nothing() -> None:
    empty = Scorecard().summary()
    page = Page(html.page(BacktestResult("Nothing", "none", None, TEST, (), (), empty))).text
    assert "not enough data (0 of 50)" in page
    assert "No grid time was reached." in page


def hostile() -> BacktestResult:
    base = result()
    name = _HOSTILE
    maps = tuple(replace(s, map=name) if s.map == "naive_maintenance" else s for s in base.summary.maps)
    return replace(
        base,
        title=name,
        source=name,
        notes=(name,),
        settings=tuple(replace(s, name=name, value=name, meaning=name) for s in base.settings),
        markets=tuple(
            replace(m, venue=name, instrument=name, symbol=name, counts=((name, 1),), defects=((name, 2),))
            for m in base.markets
        ),
        summary=replace(
            base.summary,
            maps=maps,
            invariants=replace(base.summary.invariants, worst_market=name),
            unscored=(replace(base.summary.unscored[0], reason=name),),
        ),
        rows=tuple(replace(r, venue=name, symbol=name, map=name) for r in market_rows()[:4]),
        weights=tuple(replace(w, venue=f"_{name}") for w in weights(venues=("binance",))),
        realised=(replace(examples()[0], venue=f"_{name}", symbol=name, unit=name, realised_from=name),),
        deciles=tuple(replace(d, map=name) if d.map == "naive" else d for d in base.deciles),
        residuals=tuple(replace(r, map=name) if r.map == "naive" else r for r in base.residuals),
    )


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    made = hostile()
    write_report(made, tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    whole = Page(page)
    assert whole.seen["script"] == 0
    assert not [name for _, name, _ in whole.attributes if name.startswith("on")]
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\u202e]", page)
    # told as it is, wherever it can be told
    assert whole.text.count("<script>alert(1)</script>") > 20
    assert "$\\frac$" in whole.text
    assert "\\g<0> \\1 -->" in whole.text
    for name in ("r.png", "r.json"):
        write_report(made, tmp_path / name)


def test_the_page_fetches_nothing(whole: Page) -> None:
    assert whole.seen["script"] == whole.seen["link"] == whole.seen["img"] == whole.seen["iframe"] == 0
    for _, name, value in whole.attributes:
        assert name not in ("src", "srcset", "data", "action")
        if name in ("href", "xlink:href"):
            assert value.startswith("#")
    assert set(re.findall(r"https?://[^\s\"]+", whole.page)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert re.findall(r"url\((?!#)", whole.page) == []
    assert "@import" not in whole.page


def test_ids_are_unique_and_every_reference_is_met(whole: Page) -> None:
    ids = Counter(value for _, name, value in whole.attributes if name == "id")
    assert max(ids.values()) == 1
    wanted = {value[1:] for _, name, value in whole.attributes if name == "xlink:href"}
    wanted |= {part for _, _, value in whole.attributes for part in re.findall(r"url\(#([^)]+)\)", value)}
    assert wanted
    assert wanted <= set(ids)


@pytest.mark.usefixtures("no_charts")
def test_many_markets_are_cut_to_those_with_most_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MOST_MARKETS", 2)
    rows = market_rows()
    loud = [replace(row, moves=900) if (row.venue, row.symbol) == ("hyperliquid", "ETH") else row for row in rows]
    page = html.page(replace(result(), rows=tuple(loud)))
    assert "hyperliquid ETH longs" in page
    assert "hyperliquid ETH shorts" in page
    assert "binance BTC longs" not in page
    assert "The 2 with most observations of 12; the JSON report has all." in page


def short() -> BacktestResult:
    """Every kind of chart, once or twice."""
    full = result()
    return replace(
        full,
        summary=replace(full.summary, reach=full.summary.reach[:1]),
        weights=tuple(w for w in weights(venues=("binance",)) if w.side == 0),
        realised=full.realised[:1],
        residuals=full.residuals[:1],
    )


_AGAIN = """
import sys
from pathlib import Path
from tests.unit.test_report_page import short
from forcedmove_server.scorecard.report.write import write_report
for name in sys.argv[1:]:
    write_report(short(), Path(name))
"""


def test_equal_results_give_equal_bytes(tmp_path: Path) -> None:
    made = short()
    names = ("r.html", "r.png", "r.json")
    with matplotlib.rc_context({"font.size": 31, "axes.facecolor": "red", "svg.hashsalt": None, "savefig.dpi": 33}):
        for name in names:
            write_report(made, tmp_path / name)
    # another process, order of hashes, time zone and taste
    taste = tmp_path / "matplotlibrc"
    taste.write_text("lines.linewidth: 9\nsvg.fonttype: none\nfont.family: serif\n")
    other = tmp_path / "other"
    other.mkdir()
    paths = [str(ROOT / part) for part in ("proto", "kernels", "server", "clients", ".")]
    subprocess.run(
        [sys.executable, "-W", "error", "-c", _AGAIN, *(str(other / name) for name in names)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONHASHSEED": "7",
            "TZ": "Asia/Tokyo",
            "MATPLOTLIBRC": str(taste),
        },
        check=True,
        timeout=120,
    )
    digests = [
        [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names] for folder in (tmp_path, other)
    ]
    assert digests[0] == digests[1]
    assert sorted(path.name for path in other.iterdir()) == sorted(names)


def test_the_picture_is_one_page_and_shows_what_is_there(tmp_path: Path) -> None:
    write_report(bare(), tmp_path / "bare.PNG")
    write_report(result(), tmp_path / "full.png")
    for name in ("bare.PNG", "full.png"):
        content = (tmp_path / name).read_bytes()
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        assert (int.from_bytes(content[16:20]), int.from_bytes(content[20:24])) == (1323, 1870)
    assert (tmp_path / "bare.PNG").stat().st_size < (tmp_path / "full.png").stat().st_size


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("report.pdf", "must end in one of .html, .htm, .png, .json"),
        ("report", "must end in one of"),
        ("nowhere/report.html", "there is no folder"),
        ("folder.html", "is a folder"),
        ("a" * 300 + ".html", "cannot be written: File name too long"),
        ("a" * 250 + ".json", "cannot be written: File name too long"),
    ],
)
def test_files_that_cannot_be_written(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(InputError, match=re.escape(reason)) as raised:
        write_report(bare(), tmp_path / name)
    assert raised.value.field == "report"
    assert [path.name for path in tmp_path.iterdir()] == ["folder.html"]


def test_a_report_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.json"
    path.write_text("before")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        with pytest.raises(InputError, match="No space left on device"):
            write_report(bare(), path)
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]
    write_report(bare(), path)
    assert path.read_text() == bare().to_json()


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in ("r.html", "r.png"):
        with pytest.raises(InputError, match=re.escape("pip install 'forcedmove[plot]'")):
            check_report(tmp_path / name)
    # JSON has no charts
    write_report(bare(), tmp_path / "r.json")
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]


def test_the_package_imports_without_matplotlib() -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from forcedmove_server.scorecard.report import deciles, residuals, result, tables, wording, write"
    )
    paths = [str(ROOT / part) for part in ("proto", "kernels", "server")]
    subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}, check=True, timeout=60
    )
