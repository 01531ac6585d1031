"""Prometheus metrics: ticks, and how every venue's feeds are doing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from forcedmove_server.errors import InputError
from forcedmove_server.market.feeds import FeedStatus

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


class Ticking(Protocol):
    """What is told of the engine."""

    ticks: int
    missed_ticks: int


class ServerMetrics(Collector):
    """Reads the counts when it is asked; nothing is counted twice."""

    def __init__(self, engine: Ticking, feeds: Callable[[], Sequence[FeedStatus]]) -> None:
        self._engine, self._feeds = engine, feeds

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        yield CounterMetricFamily("forcedmove_ticks", "Maps published.", value=self._engine.ticks)
        yield CounterMetricFamily(
            "forcedmove_missed_ticks", "Ticks left out because others took too long.", value=self._engine.missed_ticks
        )
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


class MetricsEndpoint:
    """Serves ``/metrics`` on a thread of its own until it is closed. Raises InputError for an address in use."""

    def __init__(self, metrics: ServerMetrics, host: str, port: int) -> None:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(metrics)
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
