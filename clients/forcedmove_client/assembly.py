"""From the frames of the wire to whole maps: the state of one symbol under one view."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forcedmove.v1 import heatmap_pb2, model_pb2
from forcedmove_client.decoding import (
    AXIS_NAMES,
    WEIGHTING_NAMES,
    array_of,
    assumption_of,
    chain_of,
    cluster_of,
    market_of,
    named,
    score_of,
    sides_of,
)
from forcedmove_client.errors import ServerError
from forcedmove_client.frames import Assumption, AxisName, Band, MapFrame, ShortScore, SideName


class OutOfStepError(Exception):
    """A frame does not fit the state it should continue: a new snapshot is needed. Never leaves the client."""


@dataclass(frozen=True, slots=True)
class _Labels:
    """The axes of a grid; they come with a snapshot and hold until the next one."""

    axes: tuple[AxisName, ...]
    venues: tuple[str, ...]
    sides: tuple[SideName, ...]
    leverages: tuple[float, ...]
    bin_width: float
    price_low: NDArray[np.float64]
    price_high: NDArray[np.float64]


class SymbolState:
    """The newest map of one symbol, brought forward frame by frame."""

    def __init__(self) -> None:
        self.epoch = 0
        self.seq = 0
        self._elements: NDArray[Any] | None = None
        self._scale = 1.0
        self._labels: _Labels | None = None
        self._assumptions: tuple[Assumption, ...] = ()
        self._score: ShortScore | None = None

    def apply(self, frame: heatmap_pb2.Frame, skipped: int = 0) -> MapFrame:
        """Return the map after ``frame``.

        Raises OutOfStepError where a delta does not continue this state or the checksum does not match, ServerError
        where the frame contradicts itself or is beyond this client.
        """
        elements = self._updated(frame) if frame.HasField("update") else array_of(frame.grid)
        if zlib.crc32(elements.data) != frame.crc32:
            raise OutOfStepError(f"{frame.symbol}: checksum of frame {frame.seq}")
        if not frame.HasField("update"):
            self._labels = _labels_of(frame.axes, elements.shape)
            self._scale = frame.grid.scale
            self._assumptions = tuple(map(assumption_of, frame.assumptions))
            self._score = None
        if frame.HasField("score"):
            self._score = score_of(frame.score)
        self._elements, self.epoch, self.seq = elements, frame.epoch, frame.seq
        return self._map(frame, elements, skipped)

    def _updated(self, frame: heatmap_pb2.Frame) -> NDArray[Any]:
        if self._elements is None or frame.epoch != self.epoch or frame.prev_seq != self.seq:
            raise OutOfStepError(f"{frame.symbol}: delta to frame {frame.prev_seq} at frame {self.seq}")
        indices, values = array_of(frame.update.indices), array_of(frame.update.values)
        if frame.update.values.scale != self._scale or values.dtype != self._elements.dtype:
            raise ServerError(
                f"update.values of {frame.symbol}: {values.dtype} x {frame.update.values.scale:g} do not continue "
                f"a grid of {self._elements.dtype} x {self._scale:g}"
            )
        elements = self._elements.copy()
        try:
            elements.reshape(-1)[indices] = values
        except (IndexError, ValueError) as error:
            raise OutOfStepError(f"{frame.symbol}: update of frame {frame.seq}: {error}") from error
        elements.flags.writeable = False
        return elements

    def _map(self, frame: heatmap_pb2.Frame, elements: NDArray[Any], skipped: int) -> MapFrame:
        labels = self._labels
        assert labels is not None
        if self._scale == 1.0 and elements.dtype == np.float32:
            grid = elements
        else:
            grid = (elements * self._scale).astype(np.float32)
            grid.flags.writeable = False
        return MapFrame(
            symbol=frame.symbol,
            epoch=frame.epoch,
            seq=frame.seq,
            event_time=np.datetime64(frame.event_time_ns, "ns"),
            published_time=np.datetime64(frame.published_time_ns, "ns"),
            mark_price=frame.mark_price_usd,
            bin_width=labels.bin_width,
            weighting=named("weighting", frame.weighting, WEIGHTING_NAMES),
            axes=labels.axes,
            venues=labels.venues,
            sides=labels.sides,
            leverages=labels.leverages,
            price_low=labels.price_low,
            price_high=labels.price_high,
            grid=grid,
            markets=tuple(map(market_of, frame.markets)),
            coverage=frame.coverage,
            clusters=tuple(map(cluster_of, frame.clusters)),
            next_down=chain_of(frame.next_down) if frame.HasField("next_down") else None,
            next_up=chain_of(frame.next_up) if frame.HasField("next_up") else None,
            assumptions=self._assumptions,
            skipped=skipped,
            score=self._score,
            band=_band_of(frame.band, grid.shape) if frame.HasField("band") else None,
        )


def _band_of(band: heatmap_pb2.CredibleBand, shape: tuple[int, ...]) -> Band:
    bounds = []
    for tensor in (band.low, band.high):
        if tuple(tensor.shape) != shape:
            raise ServerError(f"band of shape {tuple(tensor.shape)} does not fit the grid's shape {shape}")
        bound = (array_of(tensor) * tensor.scale).astype(np.float32)
        bound.flags.writeable = False
        bounds.append(bound)
    return Band(band.level, *bounds)


def _labels_of(axes: Any, shape: tuple[int, ...]) -> _Labels:
    by_name: dict[AxisName, model_pb2.AxisLabels] = {
        named("axes.axis", labels.axis, AXIS_NAMES): labels for labels in axes
    }
    empty = model_pb2.AxisLabels()
    venues = tuple(by_name.get("venue", empty).names)
    sides = sides_of(tuple(by_name.get("side", empty).names))
    leverages = tuple(by_name.get("leverage", empty).leverages)
    price = by_name.get("price", empty)
    lengths = {"venue": len(venues), "side": len(sides), "leverage": len(leverages), "price": price.bin_count + 2}
    if tuple(lengths[name] for name in by_name) != shape:
        raise ServerError(f"axes { ({name: lengths[name] for name in by_name}) } do not fit the grid's shape {shape}")
    edges = np.arange(price.first_bin, price.first_bin + price.bin_count + 1) * price.bin_width_usd
    low, high = np.concatenate(([0.0], edges)), np.concatenate((edges, [np.inf]))
    low.flags.writeable = high.flags.writeable = False
    return _Labels(tuple(by_name), venues, sides, leverages, price.bin_width_usd, low, high)
