"""Public tier tables, fetched through ccxt.

ccxt brings the markets (ids, contract sizes), the hosts and the rate limits; the answers are parsed by our own feeds,
because its unified tiers mix units: contracts called notional (OKX, HTX, MEXC, Kraken inverse), percentages that become
None (Phemex), deductions left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Any, NamedTuple

from forcedmove_server.errors import InputError, NotReadyError
from forcedmove_server.margin.facts import Confidence
from forcedmove_server.margin.feeds.feed import Call, ListedMarket, TierFeed
from forcedmove_server.margin.ladders import Form, Ladder, LadderFile
from forcedmove_server.margin.provenance import Origin

_ANY_MARKET = ListedMarket("BTC/USDT:USDT", "BTC-USDT-SWAP", "BTC", False, 1.0)

#: called with (calls done, calls in all) after every call
Progress = Callable[[int, int], None]


class Fetched(NamedTuple):
    """What came of a fetch: the ladders, and why markets were left out, by unified symbol or call."""

    file: LadderFile
    problems: dict[str, str]


def fetch_ladders(
    feed: TierFeed,
    today: date,
    symbols: Sequence[str] = (),
    progress: Progress = lambda done, total: None,
    exchanges: Sequence[Any] | None = None,
) -> Fetched:
    """Fetch a venue's ladders; ``symbols`` are bases or unified symbols, none means every perpetual.

    ``exchanges`` are ccxt instances (default: made from the feed's names). A market whose answer cannot be used is left
    out and reported; so is a call that fails while others go through. Raises NotReadyError when the venue cannot be
    reached at all, InputError for symbols it does not list.
    """
    found: dict[str, Form] = {}
    problems: dict[str, str] = {}
    if next(feed.calls([_ANY_MARKET]), None) is None:
        raise InputError("venue", feed.venue, "publishes no tier table that anybody can fetch; use 'tiers import'")
    clients = [_exchange(name) for name in feed.exchanges] if exchanges is None else exchanges
    calls = [(client, call, markets) for client in clients for call, markets in _calls(feed, _markets(client, symbols))]
    if not calls:
        raise InputError("symbols", list(symbols), f"{feed.venue} lists no such perpetual")
    for done, (client, call, markets) in enumerate(calls, 1):
        try:
            answer = _ask(client, call)
        except NotReadyError as error:
            if done == 1:
                raise
            problems[f"{call.method} {call.params}"] = str(error)
        else:
            ladders, unusable = parse_answer(feed, answer, markets)
            found |= ladders
            problems |= unusable
        progress(done, len(calls))
    return Fetched(ladder_file(feed.venue, found, today, Origin.FETCHED, Confidence.DOC, feed.source), problems)


def parse_answer(
    feed: TierFeed, answer: Any, markets: dict[str, ListedMarket]
) -> tuple[dict[str, Form], dict[str, str]]:
    """Turn one answer into ladders by unified symbol, and what could not be used.

    Market by market, so that one bad row costs one market.
    """
    found: dict[str, Form] = {}
    problems: dict[str, str] = {}
    for native_id, market in markets.items():
        try:
            for unified, form in feed.parse(answer, {native_id: market}):
                form.build()
                found[unified] = form
        except InputError as error:
            problems[market.unified] = str(error)
    return found, problems


def ladder_file(
    venue: str, found: dict[str, Form], today: date, origin: Origin, confidence: Confidence, source: str
) -> LadderFile:
    """Group markets with equal ladders into one file."""
    groups: list[tuple[Form, list[str]]] = []
    for unified, form in sorted(found.items()):
        for known, markets in groups:
            if known == form:
                markets.append(unified)
                break
        else:
            groups.append((form, [unified]))
    ladders = [Ladder(markets, form) for form, markets in groups]
    return LadderFile(venue, today, confidence, source, ladders, origin)


def _calls(feed: TierFeed, markets: dict[str, ListedMarket]) -> Iterator[tuple[Call, dict[str, ListedMarket]]]:
    """Each call once, with the markets that it is made for: some answers do not name theirs (Gate)."""
    wanted: dict[tuple[str, str], tuple[Call, dict[str, ListedMarket]]] = {}
    for native_id, market in markets.items():
        for call in feed.calls([market]):
            _, mine = wanted.setdefault((call.method, str(call.params)), (call, {}))
            mine[native_id] = market
    yield from wanted.values()


def _exchange(name: str) -> Any:
    import ccxt  # takes seconds to import, and only this command needs it

    return getattr(ccxt, name)({"enableRateLimit": True, "timeout": 20_000})


def _markets(client: Any, symbols: Sequence[str]) -> dict[str, ListedMarket]:
    """USD-quoted perpetuals of one exchange by their own id. Raises NotReadyError."""
    listed = _translated(client.id, client.load_markets)
    wanted = {name.upper() for name in symbols}
    return {
        str(market["id"]): ListedMarket(
            unified=market["symbol"],
            native_id=str(market["id"]),
            base=market["base"],
            inverse=bool(market.get("inverse")),
            contract_size=abs(float(market.get("contractSize") or 1.0)),
        )
        for market in listed.values()
        if market.get("swap")
        and market.get("active") is not False
        and str(market.get("quote", "")).startswith("USD")
        and (not wanted or {str(market["base"]).upper(), str(market["symbol"]).upper()} & wanted)
    }


def _ask(client: Any, call: Call) -> Any:
    return _translated(client.id, lambda: getattr(client, call.method)(call.params))


def _translated(venue: str, ask: Callable[[], Any]) -> Any:
    """Turn ccxt's errors into ours: a venue that refuses or cannot be reached is a fault of the world."""
    import ccxt

    try:
        return ask()
    except ccxt.BaseError as error:
        kind = type(error).__name__
        raise NotReadyError(f"{venue}: {kind}: {str(error).partition(chr(10))[0][:200]}") from error
