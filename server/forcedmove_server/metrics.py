"""Prometheus metrics: ticks, their stages and journal, feeds of every venue, streams, questions, memory, score, build.

Labels are venues, channels, stages and kinds of questions: sets that are known before, never symbols.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import accumulate
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from forcedmove_server.engine.recovery.journal import JournalStatus
from forcedmove_server.engine.stages import BOUNDS_S, StageReading, StageTimes
from forcedmove_server.errors import InputError
from forcedmove_server.market.feeds import FeedStatus
from forcedmove_server.scorecard.summary import ShortScore

_LABELS = ("venue", "channel")
#: name, meaning and value of what is measured, per venue and channel
_GAUGES: tuple[tuple[str, str, Callable[[FeedStatus], float | None]], ...] = (
    ("wanted_markets", "Markets that should be fed.", lambda feed: feed.wanted),
    ("live_markets", "Markets that are fed.", lambda feed: feed.live),
    ("age_seconds", "Time since the newest message.", lambda feed: feed.age_s),
    ("lag_seconds", "Smoothed time from the venue's stamp to its receipt.", lambda feed: feed.lag_s),
)
_COUNTERS: tuple[tuple[str, str, Callable[[FeedStatus], int]], ...] = (
    ("messages", "Messages with an event.", lambda feed: feed.messages),
    ("gaps", "Spans announced in which something may be missing.", lambda feed: feed.gaps),
    ("drops", "Events left out for want of room.", lambda feed: feed.drops),
    ("reconnects", "Times that live markets were lost with their connection.", lambda feed: feed.reconnects),
    ("repeated", "Events that came again and were left out.", lambda feed: feed.repeated),
    ("refused", "Subscriptions that the venue refused.", lambda feed: feed.refused),
)
#: of the venue as a whole
_VENUE_COUNTERS: tuple[tuple[str, str, Callable[[FeedStatus], int]], ...] = (
    ("malformed", "Messages that could not be read.", lambda feed: feed.malformed),
    ("unknown", "Messages of an unknown kind.", lambda feed: feed.unknown),
)


_JOURNAL: tuple[
    tuple[type[GaugeMetricFamily] | type[CounterMetricFamily], str, str, Callable[[JournalStatus], float]], ...
] = (
    (GaugeMetricFamily, "degraded", "1 while nothing can be kept and changes are refused.", lambda s: bool(s.problem)),
    (GaugeMetricFamily, "kept_record", "Last record that outlasts a crash.", lambda s: s.kept),
    (GaugeMetricFamily, "waiting_records", "Records that wait for the disk.", lambda s: s.waiting),
    (GaugeMetricFamily, "log_bytes", "Bytes of the newest segment of the log.", lambda s: s.log_bytes),
    (GaugeMetricFamily, "snapshot_age_seconds", "Age of the newest snapshot.", lambda s: s.snapshot_age_s),
    (GaugeMetricFamily, "snapshot_bytes", "Bytes of the newest snapshot.", lambda s: s.snapshot_bytes),
    (
        GaugeMetricFamily,
        "snapshot_pause_seconds",
        "How long the last snapshot held the engine up.",
        lambda s: s.snapshot_pause_s,
    ),
    (CounterMetricFamily, "syncs", "Writes to the disk that were waited for.", lambda s: s.syncs),
    (CounterMetricFamily, "failures", "Writes of records or snapshots that failed.", lambda s: s.failures),
)


class Ticking(Protocol):
    """What is told of the engine."""

    missed_ticks: int
    stages: StageTimes

    @property
    def ticks(self) -> int:
        """Maps published."""


class Traffic(Protocol):
    """What streams of maps sent and left out."""

    messages: int
    sent_bytes: int
    frames: int
    conflated: int


class Ingesting(Protocol):
    """What streams of ingest were answered, by outcome."""

    streams: int
    outcomes: Counter[str]


class Streaming(Protocol):
    """What is told of streams."""

    @property
    def encoding_times(self) -> StageReading:
        """Times of encoding."""

    @property
    def publish_times(self) -> StageReading:
        """Times of handing to readers."""

    @property
    def traffic(self) -> Traffic:
        """What was sent and left out."""

    @property
    def streams(self) -> int:
        """Streams of maps that are open."""

    @property
    def subscribers(self) -> int:
        """Streams that have asked for symbols."""

    @property
    def views(self) -> int:
        """Pairs of a symbol and a view that somebody reads."""


class Answering(Protocol):
    """What is told of questions that are computed beside the engine; ``refused`` for want of room."""

    refused: int

    @property
    def running(self) -> int:
        """Questions that are being answered."""

    @property
    def waiting(self) -> int:
        """Questions that wait for a turn."""


class Admitting(Protocol):
    """What is told of admission."""

    in_flight: int

    @property
    def waits_s(self) -> Mapping[str, float]:
        """Seconds that callers wait, by queue."""

    @property
    def shed(self) -> Mapping[Any, int]:
        """Calls refused, by class."""


class EngineMetrics(Collector):
    """Ticks, stages, score, memory of the device, and what was built. Reads when it is asked; counts nothing itself.

    ``headline`` may take the engine's time; it returns None where nothing was scored yet. ``device_bytes`` returns the
    bytes used on the GPU that computes and all of its bytes, or None where there is none.
    """

    def __init__(
        self,
        engine: Ticking,
        backend: str,
        headline: Callable[[], ShortScore | None] = lambda: None,
        device_bytes: Callable[[], tuple[int, int] | None] = lambda: None,
    ) -> None:
        self._engine, self._headline, self._device_bytes = engine, headline, device_bytes
        self._build = {"version": version("forcedmove"), "python": platform.python_version(), "backend": backend}

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        yield InfoMetricFamily("forcedmove_build", "What is running.", value=self._build)
        yield CounterMetricFamily("forcedmove_ticks", "Maps published.", value=self._engine.ticks)
        yield CounterMetricFamily(
            "forcedmove_missed_ticks", "Ticks left out because others took too long.", value=self._engine.missed_ticks
        )
        yield _stages("forcedmove_tick_stage_seconds", "Time that a stage of a tick took.", (self._engine.stages,))
        score = self._headline()
        bits = GaugeMetricFamily("forcedmove_score_bits", "Bits per position over the flattened map, point value.")
        share = GaugeMetricFamily(
            "forcedmove_score_released", "Rank partial correlation of open interest released on crossing."
        )
        counts = GaugeMetricFamily(
            "forcedmove_score_samples",
            "Positions or liquidations, and moves, that the figures rest on.",
            labels=("figure",),
        )
        if score is not None:
            counts.add_metric(("bits",), score.bits_n)
            counts.add_metric(("released",), score.moves)
            for family, value in ((bits, score.bits), (share, score.released)):
                if value is not None:
                    family.add_metric((), value)
        yield from (bits, share, counts)
        memory = GaugeMetricFamily("forcedmove_device_memory_bytes", "Memory of the GPU.", labels=("state",))
        if (found := self._device_bytes()) is not None:
            used, total = found
            memory.add_metric(("used",), used)
            memory.add_metric(("free",), total - used)
        yield memory


class StreamMetrics(Collector):
    """Streams of maps, and questions that are computed beside the engine, by kind."""

    def __init__(self, hub: Streaming, answering: Mapping[str, Answering]) -> None:
        self._hub, self._answering = hub, answering

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        hub, traffic = self._hub, self._hub.traffic
        yield GaugeMetricFamily("forcedmove_streams", "Streams of maps that are open.", value=hub.streams)
        yield GaugeMetricFamily("forcedmove_subscribers", "Streams that have asked for symbols.", value=hub.subscribers)
        yield GaugeMetricFamily("forcedmove_views", "Views of symbols that somebody reads.", value=hub.views)
        for name, text, value in (
            ("sent_bytes", "Bytes of streamed responses handed to gRPC, heartbeats aside.", traffic.sent_bytes),
            ("sent_messages", "Streamed responses, heartbeats aside.", traffic.messages),
            ("sent_frames", "Maps in streamed responses.", traffic.frames),
            ("conflations", "Maps replaced by a newer one before a slow reader took them.", traffic.conflated),
        ):
            yield CounterMetricFamily(f"forcedmove_{name}", text, value=value)
        times = hub.encoding_times, hub.publish_times
        yield _stages("forcedmove_publish_stage_seconds", "Time from a made map to the readers' slots.", times)
        running = GaugeMetricFamily("forcedmove_questions_running", "Questions being answered.", labels=("kind",))
        waiting = GaugeMetricFamily("forcedmove_questions_waiting", "Questions waiting for a turn.", labels=("kind",))
        refused = CounterMetricFamily("forcedmove_questions_refused", "Questions turned away.", labels=("kind",))
        for kind, answers in self._answering.items():
            running.add_metric((kind,), answers.running)
            waiting.add_metric((kind,), answers.waiting)
            refused.add_metric((kind,), answers.refused)
        yield from (running, waiting, refused)


class LoadMetrics(Collector):
    """How long calls wait, and which were refused for it."""

    def __init__(self, admission: Admitting) -> None:
        self._admission = admission

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        admission = self._admission
        yield GaugeMetricFamily(
            "forcedmove_calls_in_flight", "Calls being answered, streams aside.", value=admission.in_flight
        )
        shed = CounterMetricFamily("forcedmove_shed", "Calls refused for overload.", labels=("class",))
        for kind, calls in admission.shed.items():
            shed.add_metric((kind,), calls)
        waits = GaugeMetricFamily("forcedmove_queue_wait_seconds", "Wait in a queue.", labels=("queue",))
        for name, wait_s in admission.waits_s.items():
            waits.add_metric((name,), wait_s)
        yield from (shed, waits)


class IngestMetrics(Collector):
    """Streams that tell changes of positions, and what became of their requests."""

    def __init__(self, counts: Ingesting) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        yield GaugeMetricFamily("forcedmove_ingest_streams", "Streams of ingest.", value=self._counts.streams)
        requests = CounterMetricFamily(
            "forcedmove_ingest_requests", "Requests of streams of ingest that were answered.", labels=("outcome",)
        )
        for outcome, count in self._counts.outcomes.items():
            requests.add_metric((outcome,), count)
        yield requests


class JournalMetrics(Collector):
    """What outlasts a crash; families without a value where nothing does."""

    def __init__(self, status: Callable[[], JournalStatus | None]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        status = self._status()
        for kind, name, text, measured in _JOURNAL:
            family = kind(f"forcedmove_journal_{name}", text)
            if status is not None:
                family.add_metric((), measured(status))
            yield family


class FeedMetrics(Collector):
    """How every venue's feeds are doing."""

    def __init__(self, feeds: Callable[[], Sequence[FeedStatus]]) -> None:
        self._feeds = feeds

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        feeds = self._feeds()
        for name, text, measured in _GAUGES:
            gauge = GaugeMetricFamily(f"forcedmove_feed_{name}", text, labels=_LABELS)
            for feed in feeds:
                value = measured(feed)
                if value is not None:
                    gauge.add_metric((feed.venue, feed.channel.name.lower()), value)
            yield gauge
        for name, text, count in _COUNTERS:
            counter = CounterMetricFamily(f"forcedmove_feed_{name}", text, labels=_LABELS)
            for feed in feeds:
                counter.add_metric((feed.venue, feed.channel.name.lower()), count(feed))
            yield counter
        one_per_venue = list({feed.venue: feed for feed in feeds}.values())
        for name, text, count in _VENUE_COUNTERS:
            counter = CounterMetricFamily(f"forcedmove_venue_{name}", text, labels=("venue",))
            for feed in one_per_venue:
                counter.add_metric((feed.venue,), count(feed))
            yield counter


def _stages(name: str, text: str, of: Iterable[StageReading]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=("stage",))
    for histogram in (found for times in of for found in times.read()):
        bounds = [*map(str, BOUNDS_S), "+Inf"]
        family.add_metric(
            (histogram.stage,), list(zip(bounds, accumulate(histogram.counts), strict=True)), histogram.sum_s
        )
    return family


class MetricsEndpoint:
    """Serves ``/metrics`` on a thread of its own until it is closed. Raises InputError for an address in use.

    The process itself is told of under the usual names: ``process_resident_memory_bytes`` and the like.
    """

    def __init__(self, collectors: Iterable[Collector], host: str, port: int) -> None:
        registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=registry)
        for collector in collectors:
            registry.register(collector)
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as error:
            raise InputError("server.metrics_port", port, error.strerror or str(error)) from error
        self.port: int = self._server.server_port

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
