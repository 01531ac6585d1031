"""The Prometheus endpoint, read as Prometheus reads it."""

from __future__ import annotations

import dataclasses
import socket
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from forcedmove_server.errors import InputError
from forcedmove_server.market.events import Channel
from forcedmove_server.market.feeds import FeedStatus
from forcedmove_server.metrics import MetricsEndpoint, ServerMetrics

TRADES = FeedStatus(
    venue="binance", channel=Channel.TRADES, wanted=4, live=3, age_s=0.25, lag_s=0.01, rate_hz=12.0, messages=100,
    gaps=2, drops=1, reconnects=3, repeated=5, malformed=7, unknown=6, refused=4, trouble="",
)  # fmt: skip
SILENT = dataclasses.replace(TRADES, channel=Channel.DEPTH, age_s=None, lag_s=None, messages=0)


class _Engine:
    ticks = 9
    missed_ticks = 2


def _read(endpoint: MetricsEndpoint) -> dict[tuple[str, str], float]:
    with urlopen(f"http://127.0.0.1:{endpoint.port}/metrics") as answer:
        text = answer.read().decode()
    return {
        (sample.name, sample.labels.get("channel", sample.labels.get("venue", ""))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_every_figure_is_told_once_with_its_labels() -> None:
    endpoint = MetricsEndpoint(ServerMetrics(_Engine(), lambda: [TRADES, SILENT]), "127.0.0.1", 0)
    try:
        found = _read(endpoint)
    finally:
        endpoint.close()
    assert found["forcedmove_ticks_total", ""] == 9
    assert found["forcedmove_missed_ticks_total", ""] == 2
    assert found["forcedmove_feed_live_markets", "trades"] == 3
    assert found["forcedmove_feed_age_seconds", "trades"] == 0.25
    assert found["forcedmove_feed_messages_total", "trades"] == 100
    assert found["forcedmove_feed_gaps_total", "trades"] == 2
    assert ("forcedmove_feed_age_seconds", "depth") not in found  # nothing came yet: no age, rather than a wrong one
    assert found["forcedmove_venue_malformed_total", "binance"] == 7  # of the venue, not once per channel


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"server.metrics_port = {port}"):
            MetricsEndpoint(ServerMetrics(_Engine(), list), "127.0.0.1", port)
