"""Python client of a forcedmove server.

::

    from forcedmove_client import Client

    with Client("127.0.0.1:7878") as client:
        for frame in client.subscribe("BTC", price_range=0.1):
            print(frame.event_time, frame.mark_price, frame.grid.sum())

``AsyncClient`` is the same for asyncio. What is named here is public; modules and other names are not.
"""

from forcedmove_client.access import Tls
from forcedmove_client.aio import AsyncClient
from forcedmove_client.checking import CopiesChecker, StreamChecker
from forcedmove_client.errors import (
    AccessDeniedError,
    ForcedMoveClientError,
    HistoryGoneError,
    InvalidArgumentError,
    LimitExceededError,
    ServerError,
    TakenOverError,
    UnavailableError,
    UnknownNameError,
)
from forcedmove_client.events import Event, EventPage, EventStream, EventStreamStats, Outcome
from forcedmove_client.forecasts import (
    BookCoverage,
    Forecast,
    PathForecast,
    Quantile,
    ShockOutcome,
    TippingPoint,
    VenueForecast,
    VenueOutcome,
)
from forcedmove_client.frames import (
    Assumption,
    Band,
    Chain,
    Cluster,
    Feed,
    Level,
    MapFrame,
    MarginRule,
    Market,
    ShortScore,
    SymbolInfo,
    TierMultiplier,
    VenueInfo,
)
from forcedmove_client.ingest import Acknowledgement, IngestStream
from forcedmove_client.ingest_requests import IngestResult, IngestStats, PositionDelta
from forcedmove_client.margin import Liquidation, OtherPosition
from forcedmove_client.positions import HeldPosition, HeldPositions, Position, PositionKey, PositionsAnswer
from forcedmove_client.scan import ScanEstimate, ScanResult, ScanStream, ScanSummary, SymbolScan
from forcedmove_client.scorecard import (
    Estimate,
    Figure,
    Headline,
    Invariants,
    MarketScore,
    ReliabilityBin,
    Scorecard,
    ScoringRules,
    Unscored,
)
from forcedmove_client.server_status import (
    GatewayStatus,
    Health,
    JournalStatus,
    QuestionCounts,
    ServerStatus,
    StageTime,
)
from forcedmove_client.subscription import StreamStats, Subscription
from forcedmove_client.sync import BlockingEvents, BlockingIngest, BlockingScan, BlockingSubscription, Client
from forcedmove_client.whatif import Outlook, Touch, WhatIf, WhatIfRow

__all__ = [
    "AccessDeniedError",
    "Acknowledgement",
    "Assumption",
    "AsyncClient",
    "Band",
    "BlockingEvents",
    "BlockingIngest",
    "BlockingScan",
    "BlockingSubscription",
    "BookCoverage",
    "Chain",
    "Client",
    "Cluster",
    "CopiesChecker",
    "Estimate",
    "Event",
    "EventPage",
    "EventStream",
    "EventStreamStats",
    "Feed",
    "Figure",
    "ForcedMoveClientError",
    "Forecast",
    "GatewayStatus",
    "Headline",
    "Health",
    "HeldPosition",
    "HeldPositions",
    "HistoryGoneError",
    "IngestResult",
    "IngestStats",
    "IngestStream",
    "InvalidArgumentError",
    "Invariants",
    "JournalStatus",
    "Level",
    "LimitExceededError",
    "Liquidation",
    "MapFrame",
    "MarginRule",
    "Market",
    "MarketScore",
    "OtherPosition",
    "Outcome",
    "Outlook",
    "PathForecast",
    "Position",
    "PositionDelta",
    "PositionKey",
    "PositionsAnswer",
    "Quantile",
    "QuestionCounts",
    "ReliabilityBin",
    "ScanEstimate",
    "ScanResult",
    "ScanStream",
    "ScanSummary",
    "Scorecard",
    "ScoringRules",
    "ServerError",
    "ServerStatus",
    "ShockOutcome",
    "ShortScore",
    "StageTime",
    "StreamChecker",
    "StreamStats",
    "Subscription",
    "SymbolInfo",
    "SymbolScan",
    "TakenOverError",
    "TierMultiplier",
    "TippingPoint",
    "Tls",
    "Touch",
    "UnavailableError",
    "UnknownNameError",
    "Unscored",
    "VenueForecast",
    "VenueInfo",
    "VenueOutcome",
    "WhatIf",
    "WhatIfRow",
]
