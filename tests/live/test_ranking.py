"""Open interest by symbol, over venues that tell it in contracts, in coins or in dollars, and some not at all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import pytest
from aiohttp import web

from forcedmove_server.collectors import ranking
from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.network import Addresses, Network, http_session
from forcedmove_server.collectors.records import Mark, OpenInterest, OpenInterestValue, Record
from forcedmove_server.collectors.venue import Poll, listing_of
from forcedmove_server.market.defects import Defects
from forcedmove_server.market.events import Channel
from forcedmove_server.market.instruments import ContractType
from tests.live.fake_venue import FakeVenue
from tests.live.samples import NOW_NS
from tests.live.scripted import scripted


class Ranked(FakeVenue):
    """Its one census answer is made of ``figures``: native id to mark (0: none), contracts, dollars (0: none)."""

    figures: ClassVar[dict[str, tuple[float, float, float]]] = {}

    def census(self, contract_type: ContractType) -> Iterable[Poll]:
        yield Poll(Channel.OPEN_INTEREST, f"https://{self.name}.example/census", contract_type=contract_type)

    def read_answer(self, poll: Poll, answer: bytes) -> list[Record]:
        if answer != b"{}":
            raise ValueError("is no census")
        records: list[Record] = []
        for key, (mark, contracts, dollars) in self.figures.items():
            listing = self.listed(key, records)
            if listing is not None:
                if mark:
                    records.append(Mark(listing, NOW_NS, mark))
                if dollars:
                    records.append(OpenInterestValue(listing, NOW_NS, dollars))
                else:
                    records.append(OpenInterest(listing, NOW_NS, contracts * listing.contract))
        return records


VENUES = {
    name: type(name, (Ranked,), {"name": name, "figures": figures})
    for name, figures in {
        "coins": {"BTCUSDT": (100.0, 5.0, 0.0), "ETHUSDT": (10.0, 3.0, 0.0)},
        "dollars": {"BTCUSDT": (0.0, 0.0, 250.0), "DOGEUSDT": (1.0, 1.0, 0.0)},
        "markless": {"BTCUSDT": (0.0, 2.0, 0.0), "SOLUSDT": (0.0, 9.0, 0.0)},
        "inverse": {"BTCUSD": (110.0, 7.0, 0.0)},
        "limited": {"ETHUSDT": (10.0, 1_000.0, 0.0)},
        "odd": {"ETHUSDT": (10.0, 1_000.0, 0.0)},
    }.items()
}
ASKED: list[str] = []


@pytest.fixture
def listings(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Listing]]:
    monkeypatch.setattr(ranking, "venue_class", VENUES.__getitem__)
    found: dict[str, list[Listing]] = {}
    for name, venue in VENUES.items():
        for key in venue.figures:  # type: ignore[attr-defined]
            inverse = key.endswith("USD")
            coin = key.removesuffix("USD" if inverse else "USDT")
            one = listing_of(
                name, key, coin, "USD" if inverse else "USDT", inverse=inverse, contract_size=10.0 if inverse else 1.0
            )
            if coin != "DOGE":  # the venue lists it, we do not
                found.setdefault(name, []).append(one)
    return found


async def ranked(listings: dict[str, list[Listing]], *venues: str) -> tuple[dict[str, float], Defects]:
    async def handle(request: web.Request) -> web.Response:
        host = request.path.split("/")[1]
        ASKED.append(host)
        if host == "limited":
            return web.Response(status=429)
        return web.Response(text="[]" if host == "odd" else "{}")

    ASKED.clear()
    defects = Defects()
    async with scripted(handle) as base, http_session() as session:
        network = Network(session, Addresses({f"{name}.example": f"{base}/{name}" for name in VENUES}))
        chosen = {name: listings[name] for name in venues}
        return await ranking.open_interest_by_symbol(chosen, network, defects), defects


async def test_contracts_count_at_their_mark_and_dollars_as_they_are(listings: dict[str, list[Listing]]) -> None:
    figures, defects = await ranked(listings, "coins", "dollars", "inverse")
    assert figures == {"BTC": 5.0 * 100.0 + 250.0 + 70.0, "ETH": 30.0}
    assert not defects.counts
    assert sorted(ASKED) == ["coins", "dollars", "inverse"], "an answer for both kinds of contract is asked for once"


async def test_a_market_without_a_mark_counts_at_that_of_others_or_not_at_all(
    listings: dict[str, list[Listing]],
) -> None:
    figures, _ = await ranked(listings, "coins", "markless", "inverse")
    assert figures == {"BTC": 500.0 + 2.0 * 110.0 + 70.0, "ETH": 30.0}


async def test_a_venue_that_does_not_answer_is_counted_and_left_out(listings: dict[str, list[Listing]]) -> None:
    figures, defects = await ranked(listings, "coins", "limited", "odd")
    assert figures == {"BTC": 500.0, "ETH": 30.0}
    assert dict(defects.counts) == {"limited.ranking.failed": 1, "odd.malformed": 1}


async def test_without_any_answer_there_is_no_figure(listings: dict[str, list[Listing]]) -> None:
    assert (await ranked(listings, "limited"))[0] == {}
