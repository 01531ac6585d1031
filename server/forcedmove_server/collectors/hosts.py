"""Which hosts a venue's feeds call, so that a replaced address that nobody would use is told of."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from forcedmove_server.collectors.venue import Venue, listing_of
from forcedmove_server.collectors.venues import venue_class, venue_names
from forcedmove_server.errors import ConfigError
from forcedmove_server.market.instruments import ContractType


def check_hosts(hosts: Collection[str], venues: Iterable[str]) -> None:
    """Raise ConfigError for the first host that no venue calls; it names what was probably meant.

    Hosts of venues that are not among ``venues`` are no mistake: one list of addresses may serve many selections.
    """
    if not hosts:
        return
    of_feeds = _called(venue_names(), feed_hosts)
    if of_feeds.issuperset(hosts):
        return
    known = of_feeds | _called(set(venues), discovery_hosts)
    for host in hosts:
        if host not in known:
            raise ConfigError("urls", host, f"no venue calls this host; {_instead(host, known, of_feeds)}")


def feed_hosts(venue: type[Venue]) -> set[str]:
    """Hosts of a venue's websockets, tickets and polls."""
    urls = [url for stream in venue.streams for url in (stream.url, stream.ticket) if url]
    parser = venue({})
    for kind in ContractType:
        if any(stream.contract_type in (None, kind) for stream in venue.streams):
            inverse = kind is ContractType.INVERSE
            quote = "USD" if inverse else "USDT"
            any_market = listing_of(venue.name, f"BTC{quote}", "BTC", quote, inverse=inverse)
            urls += [poll.url for poll in (*parser.polls(kind, [any_market]), *parser.census(kind))]
    return {urlsplit(url).netloc for url in urls}


def discovery_hosts(venue: type[Venue]) -> set[str]:
    """Hosts that ccxt calls when it lists a venue's markets, and others of the venue that it knows."""
    import ccxt  # takes a second or more, and is rarely needed

    found: set[str] = set()
    for exchange_id in venue.exchanges:
        exchange = getattr(ccxt, exchange_id)()
        for url in _texts([exchange.urls.get(key) for key in ("api", "hostnames")]):
            whole = exchange.implode_hostname(url)
            found.add(urlsplit(whole).netloc or whole)
    return found


def _called(venues: Iterable[str], hosts_of: Callable[[type[Venue]], set[str]]) -> set[str]:
    return {host for name in venues for host in hosts_of(venue_class(name))}


def _instead(host: str, known: set[str], of_feeds: set[str]) -> str:
    close = difflib.get_close_matches(host, sorted(known), n=3)
    return (
        f"did you mean {' or '.join(map(repr, close))}?" if close else f"hosts of feeds: {', '.join(sorted(of_feeds))}"
    )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)
