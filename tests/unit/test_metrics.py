"""The Prometheus endpoint, read as Prometheus reads it."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterable
from urllib.request import urlopen

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from forcedmove_server.config import OverloadConfig
from forcedmove_server.engine.stages import BOUNDS_S, StageTimes
from forcedmove_server.errors import InputError
from forcedmove_server.market.events import Channel
from forcedmove_server.market.feeds import FeedStatus
from forcedmove_server.metrics import (
    EngineMetrics,
    FeedMetrics,
    IngestMetrics,
    LoadMetrics,
    MetricsEndpoint,
    StreamMetrics,
)
from forcedmove_server.rpc.admission import Admission
from forcedmove_server.rpc.traffic import IngestCounts, TrafficCounts
from forcedmove_server.scorecard.summary import ShortScore

TRADES = FeedStatus(
    venue="binance", channel=Channel.TRADES, wanted=4, live=3, age_s=0.25, lag_s=0.01, rate_hz=12.0, messages=100,
    gaps=2, drops=1, reconnects=3, repeated=5, malformed=7, unknown=6, refused=4, trouble="",
)  # fmt: skip
SILENT = dataclasses.replace(TRADES, channel=Channel.DEPTH, age_s=None, lag_s=None, messages=0)


class EngineSample:
    ticks = 9
    missed_ticks = 2

    def __init__(self) -> None:
        self.stages = StageTimes("map", "chains")


class HubSample:
    streams, subscribers, views = 3, 2, 40

    def __init__(self) -> None:
        self.traffic = TrafficCounts(messages=5, sent_bytes=1_000, frames=8, conflated=4)
        self.encoding_times, self.publish_times = StageTimes("encode"), StageTimes("publish")


class Answers:
    running, waiting, refused = 1, 7, 11


def _families(collectors: Iterable[Collector]) -> list[Metric]:
    endpoint = MetricsEndpoint(collectors, "127.0.0.1", 0)
    try:
        with urlopen(f"http://127.0.0.1:{endpoint.port}/metrics") as answer:
            text = answer.read().decode()
    finally:
        endpoint.close()
    return list(text_string_to_metric_families(text))


_LABELS = ("channel", "venue", "kind", "state", "outcome")


def _read(*collectors: Collector) -> dict[tuple[str, str], float]:
    """Values by name and by the label that tells samples apart."""
    return {
        (sample.name, next((sample.labels[label] for label in _LABELS if label in sample.labels), "")): sample.value
        for family in _families(collectors)
        for sample in family.samples
    }


def test_every_figure_of_feeds_is_told_once_with_its_labels() -> None:
    found = _read(FeedMetrics(lambda: [TRADES, SILENT]))
    assert found["forcedmove_feed_live_markets", "trades"] == 3
    assert found["forcedmove_feed_age_seconds", "trades"] == 0.25
    assert found["forcedmove_feed_messages_total", "trades"] == 100
    assert found["forcedmove_feed_gaps_total", "trades"] == 2
    assert ("forcedmove_feed_age_seconds", "depth") not in found  # nothing came yet: no age, rather than a wrong one
    assert found["forcedmove_venue_malformed_total", "binance"] == 7  # of the venue, not once per channel


def test_the_engine_tells_ticks_score_memory_and_build() -> None:
    score = ShortScore(bits=0.5, bits_n=120, released=None, moves=0)
    found = _read(EngineMetrics(EngineSample(), "cpu", lambda: score, lambda: (3, 10)))
    assert found["forcedmove_ticks_total", ""] == 9
    assert found["forcedmove_missed_ticks_total", ""] == 2
    assert found["forcedmove_score_bits", ""] == 0.5
    assert ("forcedmove_score_released", "") not in found
    assert found["forcedmove_device_memory_bytes", "used"] == 3
    assert found["forcedmove_device_memory_bytes", "free"] == 7
    assert found["forcedmove_build_info", ""] == 1
    assert found["process_resident_memory_bytes", ""] > 1 << 20


def test_without_a_score_or_a_gpu_nothing_is_made_up() -> None:
    names = {name for name, _ in _read(EngineMetrics(EngineSample(), "cpu"))}
    assert not {name for name in names if name.startswith(("forcedmove_score", "forcedmove_device"))}


def test_streams_and_questions() -> None:
    found = _read(StreamMetrics(HubSample(), {"scan": Answers(), "forecast": Answers()}))
    assert found["forcedmove_streams", ""] == 3
    assert found["forcedmove_subscribers", ""] == 2
    assert found["forcedmove_views", ""] == 40
    assert found["forcedmove_sent_bytes_total", ""] == 1_000
    assert found["forcedmove_sent_messages_total", ""] == 5
    assert found["forcedmove_sent_frames_total", ""] == 8
    assert found["forcedmove_conflations_total", ""] == 4
    assert found["forcedmove_questions_running", "scan"] == 1
    assert found["forcedmove_questions_waiting", "forecast"] == 7
    assert found["forcedmove_questions_refused_total", "scan"] == 11


def test_a_stage_is_a_histogram_with_one_duration_per_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((0.0, 0.001, 1.0, 1.002, 2.0, 2.04, 3.0, 13.0))
    monkeypatch.setattr("forcedmove_server.engine.stages.time.perf_counter", lambda: next(clock))
    engine = EngineSample()
    with engine.stages.timing("map"):
        pass
    assert engine.stages.timed("map", divmod, 7, 2) == (3, 1)  # 1 ms and 2 ms in one tick: 3 ms
    engine.stages.end_tick()
    with engine.stages.timing("map"):  # 40 ms
        pass
    engine.stages.end_tick()
    with pytest.raises(ValueError), engine.stages.timing("chains"):  # 10 s; a failure takes time too
        raise ValueError
    engine.stages.end_tick()
    monkeypatch.undo()
    (family,) = [f for f in _families([EngineMetrics(engine, "cpu")]) if f.name == "forcedmove_tick_stage_seconds"]
    buckets = {
        (sample.labels["stage"], float(sample.labels["le"])): sample.value
        for sample in family.samples
        if sample.name.endswith("_bucket")
    }
    assert [buckets["map", bound] for bound in (0.001, 0.0025, 0.005, 0.025, 0.05, float("inf"))] == [0, 0, 1, 1, 2, 2]
    assert buckets["chains", BOUNDS_S[-1]] == 0
    assert buckets["chains", float("inf")] == 1
    totals = {(s.name.rpartition("_")[2], s.labels["stage"]): s.value for s in family.samples if "le" not in s.labels}
    assert totals["count", "map"] == 2
    assert totals["sum", "map"] == pytest.approx(0.043)
    assert totals["sum", "chains"] == 10.0


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"server.metrics_port = {port}"):
            MetricsEndpoint([], "127.0.0.1", port)


def test_load_tells_calls_in_flight_waits_by_queue_and_what_was_shed_by_class() -> None:
    admission = Admission(OverloadConfig(), lambda: 0.25)
    admission.in_flight = 3
    admission.shed["scan"] += 2
    admission.gates["engine"].saw(0.125)
    admission.gates["engine"].end_window(1.0)
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in _families([LoadMetrics(admission)])
        for sample in family.samples
    }
    assert found["forcedmove_calls_in_flight",] == 3
    assert found["forcedmove_queue_wait_seconds", "answers"] == 0.25
    assert found["forcedmove_queue_wait_seconds", "engine"] == 0.125
    assert found["forcedmove_queue_wait_seconds", "calls"] == 0
    assert {labels[1]: value for labels, value in found.items() if labels[0] == "forcedmove_shed_total"} == {
        "scan": 2, "simulate": 0, "read": 0, "stream": 0, "ingest": 0,
    }  # fmt: skip


def test_streams_of_ingest() -> None:
    counts = IngestCounts(streams=2)
    counts.outcomes.update(applied=5, refused=1)
    found = _read(IngestMetrics(counts))
    assert found["forcedmove_ingest_streams", ""] == 2
    requests = {
        outcome: value for (name, outcome), value in found.items() if name == "forcedmove_ingest_requests_total"
    }
    assert requests == {"applied": 5, "repeated": 0, "refused": 1, "postponed": 0}
