"""What the engine publishes, as protobuf messages: one function per message, field by field."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from forcedmove.v1 import heatmap_pb2, model_pb2
from forcedmove_server.engine.frames import (
    AssumptionInfo,
    ChainInfo,
    ClusterInfo,
    MarketStatus,
    RenderedView,
    SymbolMap,
    Tick,
)
from forcedmove_server.market.events import Channel
from forcedmove_server.market.feeds import FeedStatus
from forcedmove_server.rpc.requests import AXIS_NUMBERS, SIDE_NUMBERS
from forcedmove_server.scorecard.summary import ShortScore

FEED_CHANNEL_NUMBERS = {
    Channel.TRADES: heatmap_pb2.FEED_CHANNEL_TRADES,
    Channel.MARK_PRICES: heatmap_pb2.FEED_CHANNEL_MARK_PRICES,
    Channel.OPEN_INTEREST: heatmap_pb2.FEED_CHANNEL_OPEN_INTEREST,
    Channel.LIQUIDATIONS: heatmap_pb2.FEED_CHANNEL_LIQUIDATIONS,
    Channel.DEPTH: heatmap_pb2.FEED_CHANNEL_DEPTH,
}


def write_market(market: MarketStatus, into: model_pb2.MarketState) -> None:
    """One market's state, into a message that is new: made where it belongs and set field by field, it takes half the
    time, and there is one for every market at every tick.
    """
    into.market = market.market
    into.venue = market.venue
    into.mark_price_usd = market.mark_price_usd
    into.open_interest = market.open_interest
    into.open_interest_usd = market.open_interest_usd
    into.live_long = market.live_long
    into.live_short = market.live_short
    into.price_age_ms = market.price_age_ms
    into.open_interest_age_ms = market.open_interest_age_ms
    into.fresh = market.fresh


def write_cluster(cluster: ClusterInfo, into: model_pb2.Cluster) -> None:
    """One cluster with its venues, into a message that is new."""
    into.side = SIDE_NUMBERS[cluster.side]
    into.price_low_usd = cluster.price_low_usd
    into.price_high_usd = cluster.price_high_usd
    into.peak_price_usd = cluster.peak_price_usd
    into.notional_usd = cluster.notional_usd
    into.distance_fraction = cluster.distance_fraction
    into.id = cluster.id
    for venue, notional_usd in cluster.venues:
        into.venues.add(venue=venue, notional_usd=notional_usd)


def chain_message(chain: ChainInfo) -> model_pb2.CascadeChain:
    """One cascade chain with its levels."""
    return model_pb2.CascadeChain(
        side=SIDE_NUMBERS[chain.side],
        start_price_usd=chain.start_price_usd,
        shock_price_usd=chain.shock_price_usd,
        levels=[
            model_pb2.CascadeLevel(
                trigger_price_usd=level.trigger_price_usd,
                notional_usd=level.notional_usd,
                venues=level.venues,
                cumulative_usd=level.cumulative_usd,
                price_after_usd=level.price_after_usd,
            )
            for level in chain.levels
        ],
        depth=len(chain.levels),
        total_usd=chain.total_usd,
        terminal_price_usd=chain.terminal_price_usd,
        amplification=chain.amplification,
        beyond_window=chain.beyond_window,
    )


def assumption_messages(assumptions: Iterable[AssumptionInfo]) -> list[model_pb2.Assumption]:
    """Assumptions; a missing value stays missing."""
    return [model_pb2.Assumption(name=a.name, text=a.text, value=a.value) for a in assumptions]


def score_message(score: ShortScore | None) -> heatmap_pb2.ScoreStamp:
    """A symbol's score in short; empty for None, which takes back what was said before."""
    if score is None:
        return heatmap_pb2.ScoreStamp()
    return heatmap_pb2.ScoreStamp(bits=score.bits, bits_n=score.bits_n, released=score.released, moves=score.moves)


def axis_messages(view: RenderedView) -> list[model_pb2.AxisLabels]:
    """Labels of a view's axes, in the grid's order."""
    labels = {
        "venue": {"names": view.venues},
        "side": {"names": view.sides},
        "leverage": {"leverages": view.leverages},
        "price": {
            "first_bin": view.first_bin,
            "bin_count": view.bin_count,
            "bin_width_usd": view.bin_width_usd,
        },
    }
    return [model_pb2.AxisLabels(axis=AXIS_NUMBERS[axis], **labels[axis]) for axis in view.axes]  # type: ignore[arg-type]


def symbol_message(symbol_map: SymbolMap) -> heatmap_pb2.SymbolInfo:
    """One line of the list of symbols."""
    return heatmap_pb2.SymbolInfo(
        symbol=symbol_map.symbol,
        markets=[market.market for market in symbol_map.markets],
        mark_price_usd=symbol_map.mark_price_usd,
        open_interest_usd=math.fsum(
            market.open_interest_usd for market in symbol_map.markets if math.isfinite(market.open_interest_usd)
        ),
        bin_width_usd=symbol_map.bin_width_usd,
        cohorts=sum(market.cohorts for market in symbol_map.markets),
    )


def margin_rule_message(market: MarketStatus) -> model_pb2.MarginRule:
    """How one market liquidates."""
    margin = market.margin
    return model_pb2.MarginRule(
        market=market.market,
        formula=margin.formula,
        confidence=margin.confidence,
        assumed=margin.assumed,
        trigger=margin.trigger,
        fee_rate=margin.fee_rate,
        max_leverage=margin.max_leverage,
        tiers=margin.tiers,
        tiers_as_of=margin.tiers_as_of,
        tiers_stale=margin.tiers_stale,
        error_bp=margin.error_bp,
        cross_width_share=margin.cross_width_share,
        source=margin.source,
        multipliers=[
            model_pb2.TierMultiplier(
                leverage=tier.leverage,
                long_ratio=tier.ratio[0],
                short_ratio=tier.ratio[1],
                long_error_bp=tier.error_bp[0],
                short_error_bp=tier.error_bp[1],
                long_cross_width=tier.cross_width[0],
                short_cross_width=tier.cross_width[1],
            )
            for tier in margin.multipliers
        ],
    )


def venue_messages(tick: Tick | None, feeds: Sequence[FeedStatus] = ()) -> list[heatmap_pb2.VenueInfo]:
    """Venues in the order of their first market, each with its markets; then those of which there are only feeds."""
    markets: dict[str, list[MarketStatus]] = {}
    for symbol_map in tick.maps.values() if tick else ():
        for market in symbol_map.markets:
            markets.setdefault(market.venue, []).append(market)
    for feed in feeds:
        markets.setdefault(feed.venue, [])
    messages = []
    for venue, found in markets.items():
        message = heatmap_pb2.VenueInfo(
            venue=venue,
            rules=map(margin_rule_message, found),
            events=sum(market.events for market in found),
            feeds=[feed_message(feed) for feed in feeds if feed.venue == venue],
        )
        for market in found:
            write_market(market, message.markets.add())
        messages.append(message)
    return messages


def feed_message(feed: FeedStatus) -> heatmap_pb2.FeedStatus:
    """One channel of one venue."""
    return heatmap_pb2.FeedStatus(
        channel=FEED_CHANNEL_NUMBERS[feed.channel],
        wanted_markets=feed.wanted,
        live_markets=feed.live,
        age_ms=None if feed.age_s is None else round(feed.age_s * 1e3),
        lag_ms=None if feed.lag_s is None else feed.lag_s * 1e3,
        messages_per_second=feed.rate_hz,
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
