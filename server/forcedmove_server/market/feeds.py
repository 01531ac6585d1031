"""How a venue's feeds are doing, per channel: what readers, the command line and metrics are told."""

from __future__ import annotations

from dataclasses import dataclass

from forcedmove_server.market.events import Channel


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """One channel of one venue.

    ``live`` of ``wanted`` markets are being fed. ``age_s`` is the time since the newest message, ``lag_s`` the smoothed
    time from the venue's stamp to its receipt (clock differences included); both None before the first message.
    ``rate_hz`` are messages per second over the last seconds. The counts are since the start: ``messages`` that held an
    event, ``gaps`` announced, ``drops`` of events for want of room, ``reconnects``, ``repeated`` events left out,
    ``malformed`` and ``unknown`` messages, ``refused`` subscriptions. ``trouble`` is the newest fault, in words.
    """

    venue: str
    channel: Channel
    wanted: int
    live: int
    age_s: float | None
    lag_s: float | None
    rate_hz: float
    messages: int
    gaps: int
    drops: int
    reconnects: int
    repeated: int
    malformed: int
    unknown: int
    refused: int
    trouble: str
