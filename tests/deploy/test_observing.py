"""Dashboard, alerts and scrape example name metrics that a server has, in PromQL that parses."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from forcedmove_server.engine.recovery.journal import JournalStatus
from forcedmove_server.metrics import EngineMetrics, FeedMetrics, JournalMetrics, StreamMetrics
from forcedmove_server.scorecard.summary import ShortScore
from tests.unit.test_metrics import TRADES, Answers, EngineSample, HubSample

DEPLOY = Path(__file__).parents[2] / "deploy"
#: written by Prometheus itself
_OF_PROMETHEUS = {"up"}


@pytest.fixture(scope="module")
def scraped() -> dict[str, set[str]]:
    """Names of a scrape's samples, with the labels of each."""
    engine, hub = EngineSample(), HubSample()
    for times, stage in ((engine.stages, "map"), (hub.encoding_times, "encode")):
        with times.timing(stage):
            pass
        times.end_tick()
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(EngineMetrics(engine, "cpu", lambda: ShortScore(0.5, 10, 0.1, 20), lambda: (1, 2)))
    registry.register(StreamMetrics(hub, {"scan": Answers()}))
    registry.register(FeedMetrics(lambda: [dataclasses.replace(TRADES)]))
    registry.register(JournalMetrics(lambda: JournalStatus("full", 5, 0, 4, 1.0, 10, 0.01, 100, 5, 1)))
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def _dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DEPLOY / "grafana" / "forcedmove.json").read_text())
    return found


def _alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def _queries() -> Iterator[tuple[str, str]]:
    for panel in _dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield f"panel {panel['title']}", target["expr"].replace("$__rate_interval", "1m")
    for rule in _alerts():
        yield f"alert {rule['alert']}", rule["expr"]


QUERIES = list(_queries())


def selectors(expression: Any) -> Iterator[Any]:
    """Every vector selector of a parsed query."""
    if isinstance(expression, promql_parser.VectorSelector):
        yield expression
        return
    for name in ("expr", "lhs", "rhs", "vector_selector", "args"):
        inner = getattr(expression, name, None)
        for each in inner if isinstance(inner, list) else [inner]:
            if each is not None:
                yield from selectors(each)


def unknown(query: str, scraped: dict[str, set[str]]) -> list[str]:
    """What a query asks for and a scrape has not."""
    missing = []
    found = list(selectors(promql_parser.parse(query)))
    assert found, f"{query}: nothing is asked for"
    for selector in found:
        if selector.name in _OF_PROMETHEUS:
            continue
        labels = scraped.get(selector.name)
        if labels is None:
            missing.append(selector.name)
            continue
        own = {matcher.name for matcher in selector.matchers.matchers} - {"instance", "job"}
        missing += [f"{selector.name}{{{label}}}" for label in own - labels]
    return missing


@pytest.mark.parametrize(("place", "query"), QUERIES, ids=[place for place, _ in QUERIES])
def test_every_query_asks_for_what_is_there(place: str, query: str, scraped: dict[str, set[str]]) -> None:
    assert unknown(query, scraped) == []


@pytest.mark.parametrize(
    "query",
    [
        "rate(forcedmove_tick_total[5m])",
        "sum by (le) (rate(forcedmove_tick_stage_seconds_bucket[1m])) / forcedmove_absent",
        'forcedmove_feed_lag_seconds{symbol="BTC"}',
    ],
)
def test_the_check_finds_what_is_not_there(query: str, scraped: dict[str, set[str]]) -> None:
    assert unknown(query, scraped)


def test_every_metric_of_the_server_is_on_the_dashboard(scraped: dict[str, set[str]]) -> None:
    shown = {s.name for _, query in QUERIES for s in selectors(promql_parser.parse(query))}
    assert {
        name for name in scraped if name.startswith("forcedmove_") and not name.endswith("_created")
    } - shown == set()


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    panels = _dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(x + place["x"], y + place["y"]) for x in range(place["w"]) for y in range(place["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_an_alert_says_how_bad_it_is_and_what_it_is() -> None:
    for rule in _alerts():
        assert rule["labels"]["severity"] in ("page", "warn")
        assert rule["annotations"]["summary"]
