"""Which perpetuals the venues list, through ccxt, in a process of its own.

ccxt takes seconds and a few hundred megabytes to load the markets of 22 venues; none of that belongs into a process
that ticks. ``python -m forcedmove_server.collectors.discovery`` reads a :class:`Wish` from its standard input and
writes one :class:`Found` per venue, a line each, as it learns of them.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import msgspec

from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.network import Addresses, describe_failure
from forcedmove_server.collectors.venues import venue_class
from forcedmove_server.errors import InstrumentError, NotReadyError
from forcedmove_server.market.instruments import ContractType, Instrument

#: venues that are asked at the same time
_AT_ONCE = 4
_TIMEOUT_MS = 15_000
#: all venues together answer within this time, or those that did not are asked again
_WITHIN_S = 90.0
_MOST_LINE_BYTES = 64 * 2**20


class Wish(msgspec.Struct, frozen=True):
    """What to discover: venues by name, and hosts to replace."""

    venues: tuple[str, ...]
    urls: dict[str, str] = {}


class FoundInstrument(msgspec.Struct, frozen=True):
    """An instrument as it crosses the pipe."""

    native_id: str
    base: str
    quote: str
    inverse: bool
    contract_size: float
    quantity_step: float
    price_step: float
    max_leverage: float
    listed_base: str
    units: float


class Found(msgspec.Struct, frozen=True):
    """What one venue lists, or why that is not known; ``left_out`` are markets that cannot be described, and why."""

    venue: str
    instruments: tuple[FoundInstrument, ...] = ()
    left_out: dict[str, str] = {}
    failure: str = ""

    def listings(self) -> list[Listing]:
        """Return the instruments as listings, not yet registered."""
        return [
            Listing.of(
                Instrument(
                    venue=self.venue,
                    native_id=one.native_id,
                    base=one.base,
                    quote=one.quote,
                    contract_type=ContractType.INVERSE if one.inverse else ContractType.LINEAR,
                    contract_size=one.contract_size,
                    quantity_step=one.quantity_step,
                    price_step=one.price_step,
                    max_leverage=one.max_leverage,
                    listed_base=one.listed_base,
                ),
                one.units,
            )
            for one in self.instruments
        ]


async def discover(
    venues: tuple[str, ...], urls: Mapping[str, str], within_s: float = _WITHIN_S
) -> AsyncIterator[Found]:
    """Yield what each venue lists, in the order of their answers.

    Raises NotReadyError when the process fails, or when some have not answered ``within_s`` seconds: one that sends a
    byte now and then never meets the timeout of a single read.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __name__,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=_MOST_LINE_BYTES,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        complaints = asyncio.ensure_future(process.stderr.read())
        process.stdin.write(msgspec.json.encode(Wish(venues, dict(urls))))
        process.stdin.close()
        end = time.monotonic() + within_s
        missing = list(venues)
        while line := await _line(process.stdout, end - time.monotonic(), missing):
            found = msgspec.json.decode(line, type=Found)
            missing.remove(found.venue)
            yield found
        status = await process.wait()
        said = (await complaints).decode(errors="replace").strip()
        if status:
            raise NotReadyError(f"discovery ended with status {status}: {said[-500:] or 'it said nothing'}")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _line(pipe: asyncio.StreamReader, within_s: float, missing: list[str]) -> bytes:
    try:
        async with asyncio.timeout(max(within_s, 0.0)):
            return await pipe.readline()
    except TimeoutError:
        raise NotReadyError(f"discovery: no answer in time from {', '.join(missing)}") from None


def main() -> None:
    """Answer the wish on standard input."""
    wish = msgspec.json.decode(sys.stdin.buffer.read(), type=Wish)
    addresses = Addresses(wish.urls)
    with ThreadPoolExecutor(_AT_ONCE) as workers:
        answers = {workers.submit(venue_markets, venue, addresses): venue for venue in wish.venues}
        for answer in as_completed(answers):
            error = answer.exception()  # ccxt stumbles over odd answers with any error; the other venues go on
            found = answer.result() if error is None else Found(answers[answer], failure=describe_failure(error))
            sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")
            sys.stdout.buffer.flush()


def venue_markets(name: str, addresses: Addresses) -> Found:
    """Ask one venue."""
    import ccxt  # not before the process has said hello: it takes seconds

    venue = venue_class(name)
    instruments: dict[str, FoundInstrument] = {}
    left_out: dict[str, str] = {}
    for exchange_id in venue.exchanges:
        exchange = getattr(ccxt, exchange_id)(
            {"enableRateLimit": True, "timeout": _TIMEOUT_MS, "options": dict(venue.ccxt_options)}
        )
        _redirect(exchange, addresses)
        try:
            markets = exchange.load_markets()
        except ccxt.BaseError as error:
            reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0][:300]}"
            return Found(name, failure=f"{exchange_id}: {reason}")
        for market in markets.values():
            try:
                listing = venue.adopt(market)
            except InstrumentError as error:
                left_out[str(market.get("symbol"))] = str(error)
                continue
            if listing is not None:
                instruments[listing.native_id] = _found(listing)
    if not instruments:
        return Found(name, left_out=left_out, failure="lists no perpetual in US dollars")
    return Found(name, tuple(instruments.values()), left_out)


def _found(listing: Listing) -> FoundInstrument:
    one = listing.instrument
    return FoundInstrument(
        native_id=one.native_id,
        base=one.base,
        quote=one.quote,
        inverse=listing.inverse,
        contract_size=one.contract_size,
        quantity_step=one.quantity_step,
        price_step=one.price_step,
        max_leverage=one.max_leverage,
        listed_base=one.listed_base,
        units=listing.units,
    )


def _redirect(exchange: Any, addresses: Addresses) -> None:
    """Have ccxt call the replaced hosts."""
    fetch = exchange.fetch

    def redirected(url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
        return fetch(addresses.of(url), method, headers, body)

    exchange.fetch = redirected


if __name__ == "__main__":
    main()
