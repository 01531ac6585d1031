"""Accounts whose positions are public: Hyperliquid's, asked for by address (``clearinghouseState``).

https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/info-endpoint/perpetuals. Sizes and prices are those
of listed coins; ``szi`` is negative for a short; ``liquidationPx`` is null where a position is never liquidated as
things stand. ``leverage`` is the setting, not what is effective, and is not read: the tier follows from the entry
price. A call weighs 2 of 1200 a minute (rate limits of the same pages).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated

import aiohttp
import msgspec

from forcedmove_server.collectors.fields import Positive
from forcedmove_server.collectors.network import Backoff, Network, RateLimit, describe_failure
from forcedmove_server.collectors.rest import TooOftenError, fetch
from forcedmove_server.collectors.venue import UNREADABLE, Poll
from forcedmove_server.collectors.venues.hyperliquid import VENUE
from forcedmove_server.errors import ForcedMoveError, MalformedMessage
from forcedmove_server.market.events import Channel
from forcedmove_server.market.positions import ExactPosition, PositionAck, PositionChange, PositionKey

_LOG = logging.getLogger(__name__)

#: what a call weighs, and how much a second may cost: the venue's own feeds are polled beside it
_WEIGHT, _WEIGHT_PER_S = 2.0, 8.0

Tell = Callable[[PositionChange], Awaitable[PositionAck]]


#: numbers come as text; what is no number is refused
_Signed = Annotated[float, msgspec.Meta(gt=-1e30, lt=1e30)]


class _Position(msgspec.Struct):
    coin: str
    szi: _Signed
    entryPx: Positive | None = None
    liquidationPx: _Signed | None = None


class _Row(msgspec.Struct):
    position: _Position


class _State(msgspec.Struct):
    assetPositions: list[_Row]


_state = msgspec.json.Decoder(_State, strict=False)


def read_account(answer: bytes, address: str) -> tuple[ExactPosition, ...]:
    """Return the positions of an account from the answer to ``clearinghouseState``. Raises MalformedMessage.

    Coins that are not described (HIP-3) are left out.
    """
    try:
        rows = _state.decode(answer).assetPositions
    except UNREADABLE as error:
        raise MalformedMessage(VENUE.name, answer[:200], str(error)) from error
    found = []
    for position in (row.position for row in rows):
        listing = VENUE.describe(position.coin)
        if listing is None or not position.szi:
            continue
        level = position.liquidationPx
        found.append(
            ExactPosition(
                key=PositionKey(address, f"{VENUE.name}:{position.coin}", 0 if position.szi > 0 else 1),
                quantity=abs(position.szi) * listing.coin,
                liquidation_price_usd=level / listing.units if level is not None and level > 0 else None,
                entry_price_usd=None if position.entryPx is None else position.entryPx / listing.units,
            )
        )
    return tuple(found)


async def follow_accounts(addresses: Sequence[str], url: str, interval_s: float, network: Network, tell: Tell) -> None:
    """Ask for every account again and again, as often as the venue's limit allows, and tell; until cancelled.

    Each account is a producer of its own: one that cannot be read any more grows old by itself.
    """
    limit = RateLimit(_WEIGHT_PER_S)
    unique = list(dict.fromkeys(address.lower() for address in addresses))
    async with asyncio.TaskGroup() as tasks:
        for place, address in enumerate(unique):
            first_s = min(interval_s, 2.0) * place / len(unique)
            tasks.create_task(_follow(address, url, first_s, interval_s, limit, network, tell))


async def _follow(
    address: str, url: str, first_s: float, interval_s: float, limit: RateLimit, network: Network, tell: Tell
) -> None:
    body = msgspec.json.encode({"type": "clearinghouseState", "user": address}).decode()
    poll = Poll(Channel.OPEN_INTEREST, url, weight=_WEIGHT, interval_s=interval_s, method="POST", body=body)
    backoff = Backoff(least_s=1.0, most_s=max(interval_s, 1.0))
    failing = False
    await asyncio.sleep(first_s)
    while True:
        await limit.take(poll.weight)
        began = time.monotonic()
        try:
            positions = read_account(await fetch(network, poll), address)
            await tell(
                PositionChange(
                    f"account:{address}",
                    time.time_ns(),
                    positions,
                    replace=True,
                    representative=True,
                    lenient=True,
                )
            )
        except TooOftenError as error:
            limit.pause(error.wait_s)
            reason = str(error)
        except (ForcedMoveError, aiohttp.ClientError, OSError, TimeoutError) as error:
            reason = describe_failure(error)
        else:
            failing = False
            backoff = Backoff(least_s=1.0, most_s=max(interval_s, 1.0))
            await asyncio.sleep(max(interval_s - (time.monotonic() - began), 0.0))
            continue
        if not failing:  # once, until it works again
            failing = True
            _LOG.warning("positions of a Hyperliquid account cannot be read: %s", reason)
        await asyncio.sleep(backoff.wait_s(0.0))
