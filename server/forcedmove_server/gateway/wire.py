"""What engine process and gateways tell each other: msgpack by msgspec, which makes plain values and never code.

Both ends are processes of one user and one installation, started together; there are no versions. Margin rules are
most of a map and change once a day: they travel apart, whenever a market's are new.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from forcedmove_server import errors
from forcedmove_server.engine.frames import (
    AssumptionInfo,
    AxisName,
    ChainInfo,
    ClusterInfo,
    MarginInfo,
    MarketStatus,
    RenderedView,
    SideName,
    SymbolMap,
    ViewSpec,
)
from forcedmove_server.engine.stages import StageHistogram
from forcedmove_server.errors import ForcedMoveError, ServerFailedError
from forcedmove_server.market.instruments import Instrument
from forcedmove_server.scorecard.summary import ShortScore

SERVICE = "forcedmove_internal.TickFeed"
FOLLOW, RENDER = f"/{SERVICE}/Follow", f"/{SERVICE}/Render"
#: metadata of Follow: the gateway's number
GATEWAY_KEY = "gateway"

ViewKey = tuple[str, ViewSpec]
#: a MarketStatus without its margin, field by field
MarketRow = tuple[str, str, float, float, float, float, float, int, int, bool, int, int]


class MapMessage(msgspec.Struct, frozen=True, array_like=True):
    """A SymbolMap whose markets' margins travel apart."""

    symbol: str
    seq: int
    event_time_ns: int
    mark_price_usd: float
    bin_width_usd: float
    markets: tuple[MarketRow, ...]
    coverage: float
    clusters: tuple[ClusterInfo, ...]
    next_down: ChainInfo | None
    next_up: ChainInfo | None
    assumptions: tuple[AssumptionInfo, ...]
    score: ShortScore | None


class ViewMessage(msgspec.Struct, frozen=True, array_like=True):
    """A RenderedView of ``symbol``; arrays are their bytes, f32 and u32 of this machine."""

    symbol: str
    spec: ViewSpec
    axes: tuple[AxisName, ...]
    venues: tuple[str, ...]
    sides: tuple[SideName, ...]
    leverages: tuple[float, ...]
    first_bin: int
    bin_count: int
    bin_width_usd: float
    shape: tuple[int, ...]
    values: memoryview
    revision: int
    since: int
    changed: memoryview


class Moment(msgspec.Struct, frozen=True, array_like=True):
    """One tick, as far as a gateway wants it. ``instruments`` and ``margins`` are those that it does not know yet.

    ``maps`` are of symbols that it watches or has never heard of. Pieces are bytes already, so that gateways share
    them.
    """

    epoch: int
    number: int
    event_time_ns: int
    published_ns: int
    missed_ticks: int
    instruments: tuple[Instrument, ...]
    margins: dict[str, MarginInfo]
    maps: tuple[msgspec.Raw, ...]
    views: tuple[msgspec.Raw, ...]


class Wish(msgspec.Struct, frozen=True, array_like=True):
    """A view that a gateway wants from now on, or no more."""

    watched: bool
    symbol: str
    spec: ViewSpec


class Report(msgspec.Struct, frozen=True, array_like=True):
    """Figures of a gateway: what it holds now, and counts since it started."""

    streams: int = 0
    subscribers: int = 0
    views: int = 0
    messages: int = 0
    sent_bytes: int = 0
    frames: int = 0
    conflated: int = 0
    resident_bytes: int = 0
    stages: tuple[StageHistogram, ...] = ()


class Told(msgspec.Struct, frozen=True, array_like=True):
    """What a gateway says: wishes in their order, and now and then how it is doing."""

    wishes: tuple[Wish, ...] = ()
    report: Report | None = None


class Refusal(msgspec.Struct, frozen=True, array_like=True):
    """An error of the tree: its class, its message and its attributes."""

    kind: str
    message: str
    fields: dict[str, Any]


class Rendered(msgspec.Struct, frozen=True, array_like=True):
    """The answer to a rendering: a refusal, or all the rest."""

    refusal: Refusal | None = None
    map: MapMessage | None = None
    margins: dict[str, MarginInfo] = {}
    view: ViewMessage | None = None


def _plain(value: Any) -> Any:
    # a number of NumPy's, or the value that an error is about, which is only ever shown
    return value.item() if isinstance(value, np.generic) else repr(value)


_encoder = msgspec.msgpack.Encoder(enc_hook=_plain)
encode = _encoder.encode
decode_moment = msgspec.msgpack.Decoder(Moment).decode
decode_map = msgspec.msgpack.Decoder(MapMessage).decode
decode_view = msgspec.msgpack.Decoder(ViewMessage).decode
decode_told = msgspec.msgpack.Decoder(Told).decode
decode_key = msgspec.msgpack.Decoder(ViewKey).decode
decode_rendered = msgspec.msgpack.Decoder(Rendered).decode


def map_message(newest: SymbolMap) -> MapMessage:
    """Return a map without its margins."""
    rows = tuple(
        (
            each.market, each.venue, each.mark_price_usd, each.open_interest, each.open_interest_usd, each.live_long,
            each.live_short, each.price_age_ms, each.open_interest_age_ms, each.fresh, each.cohorts, each.events,
        )
        for each in newest.markets
    )  # fmt: skip
    return MapMessage(
        newest.symbol,
        newest.seq,
        newest.event_time_ns,
        newest.mark_price_usd,
        newest.bin_width_usd,
        rows,
        newest.coverage,
        newest.clusters,
        newest.next_down,
        newest.next_up,
        newest.assumptions,
        newest.score,
    )


def map_of(message: MapMessage, margins: dict[str, MarginInfo]) -> SymbolMap:
    """Return the map; ``margins`` has those of all its markets."""
    markets = tuple(
        MarketStatus(*row[:10], margin=margins[row[0]], cohorts=row[10], events=row[11]) for row in message.markets
    )
    return SymbolMap(
        message.symbol,
        message.seq,
        message.event_time_ns,
        message.mark_price_usd,
        message.bin_width_usd,
        markets,
        message.coverage,
        message.clusters,
        message.next_down,
        message.next_up,
        message.assumptions,
        message.score,
    )


def view_message(key: ViewKey, view: RenderedView) -> ViewMessage:
    """Return a rendering with the view it is of."""
    return ViewMessage(
        *key,
        view.axes,
        view.venues,
        view.sides,
        view.leverages,
        view.first_bin,
        view.bin_count,
        view.bin_width_usd,
        view.values.shape,
        np.ascontiguousarray(view.values, np.float32).reshape(-1).view(np.uint8).data,
        view.revision,
        view.since,
        np.ascontiguousarray(view.changed, np.uint32).view(np.uint8).data,
    )


def view_of(message: ViewMessage) -> RenderedView:
    """Return the rendering; its arrays lie in the message's bytes and cannot be written."""
    return RenderedView(
        message.axes,
        message.venues,
        message.sides,
        message.leverages,
        message.first_bin,
        message.bin_count,
        message.bin_width_usd,
        np.frombuffer(message.values, np.float32).reshape(message.shape),
        message.revision,
        message.since,
        np.frombuffer(message.changed, np.uint32),
    )


def refusal_of(error: ForcedMoveError) -> Refusal:
    """Return an error as it travels."""
    return Refusal(type(error).__name__, str(error), dict(vars(error)))


def error_of(refusal: Refusal) -> ForcedMoveError:
    """Return the error again: same class, message and attributes, without what its constructor does."""
    kind = getattr(errors, refusal.kind, None)
    if not (isinstance(kind, type) and issubclass(kind, ForcedMoveError)):
        return ServerFailedError(refusal.message)
    error = kind.__new__(kind, refusal.message)
    vars(error).update(refusal.fields)
    return error
