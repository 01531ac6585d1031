"""Protobuf messages to the client's values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from forcedmove.v1 import heatmap_pb2, model_pb2
from forcedmove_client.errors import ServerError
from forcedmove_client.frames import (
    Assumption,
    AxisName,
    Chain,
    ChannelName,
    Cluster,
    Feed,
    Level,
    MarginRule,
    Market,
    ShortScore,
    SideName,
    SymbolInfo,
    TierMultiplier,
    VenueInfo,
    WeightingName,
)

AXIS_NAMES: dict[model_pb2.Axis.ValueType, AxisName] = {
    model_pb2.AXIS_VENUE: "venue",
    model_pb2.AXIS_SIDE: "side",
    model_pb2.AXIS_LEVERAGE: "leverage",
    model_pb2.AXIS_PRICE: "price",
}
SIDE_NAMES: dict[model_pb2.Side.ValueType, SideName] = {
    model_pb2.SIDE_LONG: "long",
    model_pb2.SIDE_SHORT: "short",
}
WEIGHTING_NAMES: dict[model_pb2.Weighting.ValueType, WeightingName] = {
    model_pb2.WEIGHTING_LIVE: "live",
    model_pb2.WEIGHTING_FRESH: "fresh",
}
CHANNEL_NAMES: dict[heatmap_pb2.FeedChannel.ValueType, ChannelName] = {
    heatmap_pb2.FEED_CHANNEL_TRADES: "trades",
    heatmap_pb2.FEED_CHANNEL_MARK_PRICES: "mark_prices",
    heatmap_pb2.FEED_CHANNEL_OPEN_INTEREST: "open_interest",
    heatmap_pb2.FEED_CHANNEL_LIQUIDATIONS: "liquidations",
    heatmap_pb2.FEED_CHANNEL_DEPTH: "depth",
}
_DTYPES: dict[model_pb2.DataType.ValueType, np.dtype[Any]] = {
    model_pb2.DATA_TYPE_FLOAT32: np.dtype("<f4"),
    model_pb2.DATA_TYPE_FLOAT64: np.dtype("<f8"),
    model_pb2.DATA_TYPE_UINT32: np.dtype("<u4"),
}
N = TypeVar("N", bound=int)
T = TypeVar("T")


def named(field: str, number: N, names: Mapping[N, T]) -> T:
    """Return what an enum's value is called. Raises ServerError for one that this client does not know."""
    try:
        return names[number]
    except KeyError:
        raise ServerError(f"{field} = {number}: not known to this client; the server may be newer") from None


def array_of(tensor: model_pb2.Tensor) -> NDArray[Any]:
    """Return a tensor's elements, without its scale, as a read-only array over its bytes. Raises ServerError."""
    dtype = named("tensor.data_type", tensor.data_type, _DTYPES)
    try:
        return np.frombuffer(tensor.content, dtype).reshape(tuple(tensor.shape))
    except ValueError as error:
        raise ServerError(f"tensor.shape = {list(tensor.shape)}: {error}") from error


def market_of(market: model_pb2.MarketState) -> Market:
    """One market's state."""
    return Market(
        market=market.market,
        venue=market.venue,
        mark_price=market.mark_price_usd,
        open_interest=market.open_interest,
        open_interest_usd=market.open_interest_usd,
        live_long=market.live_long,
        live_short=market.live_short,
        price_age_ms=market.price_age_ms,
        open_interest_age_ms=market.open_interest_age_ms,
        fresh=market.fresh,
    )


def cluster_of(cluster: model_pb2.Cluster) -> Cluster:
    """One cluster."""
    return Cluster(
        side=named("cluster.side", cluster.side, SIDE_NAMES),
        price_low=cluster.price_low_usd,
        price_high=cluster.price_high_usd,
        peak_price=cluster.peak_price_usd,
        notional_usd=cluster.notional_usd,
        distance=cluster.distance_fraction,
        venues={venue.venue: venue.notional_usd for venue in cluster.venues},
        id=cluster.id,
    )


def chain_of(chain: model_pb2.CascadeChain) -> Chain:
    """One cascade chain."""
    return Chain(
        side=named("chain.side", chain.side, SIDE_NAMES),
        start_price=chain.start_price_usd,
        shock_price=chain.shock_price_usd,
        levels=tuple(
            Level(
                trigger_price=level.trigger_price_usd,
                notional_usd=level.notional_usd,
                venues=tuple(level.venues),
                cumulative_usd=level.cumulative_usd,
                price_after=level.price_after_usd,
            )
            for level in chain.levels
        ),
        total_usd=chain.total_usd,
        terminal_price=chain.terminal_price_usd,
        amplification=chain.amplification,
        beyond_window=chain.beyond_window,
    )


def assumption_of(assumption: model_pb2.Assumption) -> Assumption:
    """One assumption."""
    value = assumption.value if assumption.HasField("value") else None
    return Assumption(assumption.name, assumption.text, value)


def score_of(stamp: heatmap_pb2.ScoreStamp) -> ShortScore | None:
    """A symbol's score in short; None for an empty one."""
    if not stamp.ByteSize():
        return None
    return ShortScore(
        bits=stamp.bits if stamp.HasField("bits") else None,
        bits_n=stamp.bits_n,
        released=stamp.released if stamp.HasField("released") else None,
        moves=stamp.moves,
    )


def symbol_of(symbol: heatmap_pb2.SymbolInfo) -> SymbolInfo:
    """One line of the list of symbols."""
    return SymbolInfo(
        symbol=symbol.symbol,
        markets=tuple(symbol.markets),
        mark_price=symbol.mark_price_usd,
        open_interest_usd=symbol.open_interest_usd,
        bin_width=symbol.bin_width_usd,
        cohorts=symbol.cohorts,
    )


def margin_rule_of(rule: model_pb2.MarginRule) -> MarginRule:
    """One market's rule."""
    return MarginRule(
        market=rule.market,
        formula=rule.formula,
        confidence=rule.confidence,
        assumed=rule.assumed,
        trigger=rule.trigger,
        fee_rate=rule.fee_rate,
        max_leverage=rule.max_leverage,
        tiers=rule.tiers,
        tiers_as_of=rule.tiers_as_of,
        tiers_stale=rule.tiers_stale,
        error_bp=rule.error_bp,
        cross_width_share=rule.cross_width_share,
        source=rule.source,
        multipliers=tuple(
            TierMultiplier(
                leverage=tier.leverage,
                ratio=(tier.long_ratio, tier.short_ratio),
                error_bp=(tier.long_error_bp, tier.short_error_bp),
                cross_width=(tier.long_cross_width, tier.short_cross_width),
            )
            for tier in rule.multipliers
        ),
    )


def venue_of(venue: heatmap_pb2.VenueInfo) -> VenueInfo:
    """One line of the list of venues."""
    return VenueInfo(
        venue=venue.venue,
        markets=tuple(map(market_of, venue.markets)),
        rules={rule.market: margin_rule_of(rule) for rule in venue.rules},
        events=venue.events,
        feeds=tuple(map(feed_of, venue.feeds)),
    )


def feed_of(feed: heatmap_pb2.FeedStatus) -> Feed:
    """One channel of a venue."""
    return Feed(
        channel=named("feeds.channel", feed.channel, CHANNEL_NAMES),
        wanted=feed.wanted_markets,
        live=feed.live_markets,
        age_ms=feed.age_ms if feed.HasField("age_ms") else None,
        lag_ms=feed.lag_ms if feed.HasField("lag_ms") else None,
        messages_per_second=feed.messages_per_second,
        messages=feed.messages,
        gaps=feed.gaps,
        drops=feed.drops,
        reconnects=feed.reconnects,
        repeated=feed.repeated,
        malformed=feed.malformed,
        unknown=feed.unknown,
        refused=feed.refused,
        trouble=feed.trouble,
    )


def sides_of(names: tuple[str, ...]) -> tuple[SideName, ...]:
    """Check the labels of a side axis."""
    if not set(names) <= {"long", "short"}:
        raise ServerError(f"axes.names = {names}: not the names of sides")
    return cast("tuple[SideName, ...]", names)
