"""Open interest of every symbol over the venues that tell it in one call."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping

import aiohttp

from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.network import Network, describe_failure
from forcedmove_server.collectors.records import Mark, OpenInterest, OpenInterestValue, Record
from forcedmove_server.collectors.rest import fetch
from forcedmove_server.collectors.venue import Poll
from forcedmove_server.collectors.venues import venue_class
from forcedmove_server.errors import MalformedMessage
from forcedmove_server.market.defects import Defects
from forcedmove_server.market.instruments import ContractType


async def open_interest_by_symbol(
    listings: Mapping[str, Iterable[Listing]], network: Network, defects: Defects
) -> dict[str, float]:
    """USD of open interest by symbol; ``listings`` by venue. A venue that does not answer is left out and counted.

    A market whose own answer has no mark counts at the median mark of its symbol on the other venues.
    """
    asked = [_census(venue, own, network, defects) for venue, own in listings.items()]
    records = [record for answer in await asyncio.gather(*asked) for record in answer]
    marks: dict[str, list[float]] = defaultdict(list)
    mark_of: dict[str, float] = {}
    for record in records:
        if isinstance(record, Mark):
            marks[record.listing.instrument.symbol].append(record.price)
            mark_of[record.listing.instrument.key] = record.price
    total: dict[str, float] = defaultdict(float)
    for record in records:
        if isinstance(record, OpenInterestValue):
            total[record.listing.instrument.symbol] += record.value_usd
        elif isinstance(record, OpenInterest):
            instrument = record.listing.instrument
            others = sorted(marks[instrument.symbol])
            mark = mark_of.get(instrument.key) or (others[len(others) // 2] if others else 0.0)
            if mark:
                total[instrument.symbol] += instrument.notional_usd(record.quantity, mark)
    return dict(total)


async def _census(name: str, listings: Iterable[Listing], network: Network, defects: Defects) -> list[Record]:
    parser = venue_class(name)({listing.native_id: listing for listing in listings})
    records: list[Record] = []
    for poll in _calls(parser.census(kind) for kind in ContractType):
        try:
            records += parser.parse_answer(poll, await fetch(network, poll))
        except MalformedMessage as error:
            defects.note(f"{name}.malformed", 1, str(error))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            defects.note(f"{name}.ranking.failed", 1, f"{poll.url.partition('?')[0]}: {describe_failure(error)}")
    return records


def _calls(censuses: Iterable[Iterable[Poll]]) -> list[Poll]:
    """Each call once: one answer may hold both kinds of contract."""
    found: dict[tuple[str, str], Poll] = {}
    for census in censuses:
        for poll in census:
            found.setdefault((poll.url, poll.body), poll)
    return list(found.values())
