"""What all gateways together hold and have sent, for the engine process' metrics and status; counts never fall."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from forcedmove_server.engine.stages import StageHistogram
from forcedmove_server.gateway.wire import Report
from forcedmove_server.rpc.traffic import TrafficCounts

_COUNTS = tuple(name for name in Report.__struct_fields__ if name != "stages")


@dataclasses.dataclass(frozen=True, slots=True)
class SummedStages:
    """Durations of one stage in all gateways."""

    histograms: tuple[StageHistogram, ...]

    def read(self) -> tuple[StageHistogram, ...]:
        """Return the sums."""
        return self.histograms


class GatewayTotals:
    """Sums over the gateways' last reports, and over what those that are gone have sent. Belongs to the event loop.

    Any thread may read it.
    """

    def __init__(self) -> None:
        #: ticks that were merged into others because a gateway was slow
        self.merged_ticks = 0
        self.starts: dict[int, int] = {}
        #: by number, and which start of it: the end of one may be noticed after the next has begun
        self._reports: dict[tuple[int, int], Report] = {}
        self._ended: dict[int, Report] = {}

    def joined(self, number: int) -> tuple[int, int]:
        """Note that a gateway follows; return what it goes by here."""
        self.starts[number] = self.starts.get(number, 0) + 1
        key = number, self.starts[number]
        self._reports[key] = Report()
        return key

    def report(self, key: tuple[int, int], report: Report) -> None:
        """Take a gateway's figures."""
        self._reports[key] = report

    def left(self, key: tuple[int, int]) -> None:
        """Keep what a gateway has counted, and nothing of what it held."""
        number, last = key[0], self._reports.pop(key)
        counted = msgspec.structs.replace(last, streams=0, subscribers=0, views=0, resident_bytes=0)
        self._ended[number] = _sum((self._ended.get(number, Report()), counted))

    def by_gateway(self) -> dict[int, Report]:
        """Return figures by gateway, with what its forerunners have counted; those that follow just now."""
        found: dict[int, list[Report]] = {}
        for (number, _), report in sorted(self._reports.copy().items()):
            found.setdefault(number, [self._ended.get(number, Report())]).append(report)
        return {number: _sum(reports) for number, reports in found.items()}

    @property
    def streams(self) -> int:
        """Streams of maps that are open."""
        return sum(report.streams for report in tuple(self._reports.values()))

    @property
    def subscribers(self) -> int:
        """Streams that have asked for symbols."""
        return sum(report.subscribers for report in tuple(self._reports.values()))

    @property
    def views(self) -> int:
        """Pairs of a symbol and a view that somebody reads, once for every gateway."""
        return sum(report.views for report in tuple(self._reports.values()))

    @property
    def traffic(self) -> TrafficCounts:
        """What was sent and left out."""
        total = self._total()
        return TrafficCounts(total.messages, total.sent_bytes, total.frames, total.conflated)

    @property
    def encoding_times(self) -> SummedStages:
        """Times of encoding."""
        return SummedStages(tuple(each for each in self._total().stages if each.stage == "encode"))

    @property
    def publish_times(self) -> SummedStages:
        """Times of handing to readers."""
        return SummedStages(tuple(each for each in self._total().stages if each.stage == "publish"))

    def _total(self) -> Report:
        return _sum((*self._reports.copy().values(), *self._ended.copy().values()))


def _sum(reports: Iterable[Report]) -> Report:
    total = Report()
    stages: dict[str, StageHistogram] = {}
    for report in reports:
        for each in report.stages:
            stages[each.stage] = _stage_sum(stages[each.stage], each) if each.stage in stages else each
        counts = {name: getattr(total, name) + getattr(report, name) for name in _COUNTS}
        total = msgspec.structs.replace(total, **counts)
    return msgspec.structs.replace(total, stages=tuple(stages.values()))


def _stage_sum(one: StageHistogram, other: StageHistogram) -> StageHistogram:
    counts = tuple(a + b for a, b in zip(one.counts, other.counts, strict=True))
    return StageHistogram(one.stage, counts, one.sum_s + other.sum_s, max(one.last_s, other.last_s))


class GatewayMetrics(Collector):
    """Figures of every gateway by its number, of which there are few and always the same."""

    def __init__(self, totals: GatewayTotals) -> None:
        self._totals = totals

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        label = ("gateway",)
        streams = GaugeMetricFamily("forcedmove_gateway_streams", "Streams of maps that it has open.", labels=label)
        memory = GaugeMetricFamily("forcedmove_gateway_resident_bytes", "Memory of its process.", labels=label)
        sent = CounterMetricFamily("forcedmove_gateway_sent_bytes", "Bytes of streamed responses.", labels=label)
        starts = CounterMetricFamily("forcedmove_gateway_starts", "Times that it began to follow.", labels=label)
        for number, report in self._totals.by_gateway().items():
            streams.add_metric((str(number),), report.streams)
            memory.add_metric((str(number),), report.resident_bytes)
            sent.add_metric((str(number),), report.sent_bytes)
        for number, count in sorted(self._totals.starts.copy().items()):
            starts.add_metric((str(number),), count)
        yield from (streams, memory, sent, starts)
        yield CounterMetricFamily(
            "forcedmove_gateway_merged_ticks",
            "Ticks merged into others because a gateway was slow.",
            value=self._totals.merged_ticks,
        )
