"""A cascade on a hand-written map and book: read the file, run the kernel, tell the chain. See docs/SCENARIO.md."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.backend import Backend
from forcedmove_kernels.fixed_point import MAX_PRICE_UNITS, PRICE_BITS
from forcedmove_server.engine.chains import cell_of, chain_info, follow_shock
from forcedmove_server.engine.frames import ChainInfo, SideName
from forcedmove_server.errors import ConfigError, InstrumentError
from forcedmove_server.market.instruments import bin_width_usd
from forcedmove_server.typed_toml import Key, convert, fill, parse_file

BookSide = Literal["bid", "ask"]

#: more bins than this between the outermost prices is a mistyped price
MAX_BINS = 100_000
_USD = Key("USD", "notional", 0, 1e12, above=True)
_PRICE = Key("USD", "price", 0, 1e12, above=True)
_FRACTION = Key("share of the mark", "move", -0.999, 10)


@dataclass(frozen=True, slots=True)
class ScenarioTable:
    """The keys at the top of a scenario file, besides its two lists."""

    symbol: Annotated[str, Key("", "symbol, for example BTC")]
    mark: Annotated[float, Key("USD", "mark price before the shock", 0, 1e12, above=True)]
    shock_price: Annotated[float, Key("USD", "price the mark is pushed to", 0, 1e12, above=True)] = math.nan
    shock_fraction: Annotated[float, Key("share of the mark", "the same as a move of the mark", -0.999, 10)] = math.nan
    bin_width_usd: Annotated[
        float,
        Key("USD", "width of a price bin; absent: $50 for BTC, else the 1-2-5 step nearest to 5 bp", 0, 1e9, True),
    ] = math.nan


@dataclass(frozen=True, slots=True)
class Liquidation:
    """Positions that are liquidated at one price."""

    price: Annotated[float, Key("USD", "liquidation price", 0, 1e12, above=True)]
    side: Annotated[SideName, Key("", "side of the positions")]
    usd: Annotated[float, Key("USD", "notional; may be absent where venues are a table", 0, 1e12, above=True)] = (
        math.nan
    )
    venue_cents: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class BookLevel:
    """Orders that rest at one price."""

    price: Annotated[float, Key("USD", "price of the orders", 0, 1e12, above=True)]
    side: Annotated[BookSide, Key("", "bids absorb falling longs, asks rising shorts")]
    usd: Annotated[float, Key("USD", "notional", 0, 1e12, above=True)]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A checked scenario."""

    symbol: str
    mark: float
    shock: float
    bin_width: float
    liquidations: tuple[Liquidation, ...]
    book: tuple[BookLevel, ...]
    place: str

    def with_shock(self, price: float | None = None, fraction: float | None = None) -> Scenario:
        """Return the same map and book with another shock. Raises ConfigError for one that cannot be."""
        name, value, key = ("price", price, _PRICE) if fraction is None else ("shock", fraction, _FRACTION)
        try:
            number = float(convert(float, key, value))
            shock = number if fraction is None else self.mark * (1 + number)
            return _checked(replace(self, shock=shock))
        except ValueError as error:
            raise ConfigError(name, value, str(error), "command line") from None


def read_scenario(path: str | Path) -> tuple[Scenario | None, list[ConfigError]]:
    """Read a scenario file; either a scenario or what is wrong with it, every error naming field, value and place."""
    place = str(path)
    errors: list[ConfigError] = []
    try:
        raw = parse_file(Path(path))
    except ConfigError as error:
        return None, [error]
    lists = {name: raw.get(name, []) for name in ("liquidations", "book")}
    top = fill(ScenarioTable, raw, "", place, errors, beside=tuple(lists))
    liquidations = [
        _liquidation(row, where, place, errors) for where, row in _rows(lists, "liquidations", place, errors)
    ]
    book = [fill(BookLevel, row, where, place, errors) for where, row in _rows(lists, "book", place, errors)]
    shocks = [name for name in ("shock_price", "shock_fraction") if name in raw]
    if len(shocks) != 1:
        value = {name: raw[name] for name in shocks} or None
        errors.append(ConfigError("shock_price", value, "give either shock_price or shock_fraction", place))
    if errors:
        return None, errors
    table = ScenarioTable(**top)
    try:
        scenario = Scenario(
            symbol=table.symbol,
            mark=table.mark,
            shock=table.mark * (1 + table.shock_fraction) if "shock_fraction" in raw else table.shock_price,
            bin_width=bin_width_usd(table.symbol, table.mark)
            if math.isnan(table.bin_width_usd)
            else table.bin_width_usd,
            liquidations=tuple(Liquidation(**values) for values in liquidations),
            book=tuple(BookLevel(**values) for values in book),
            place=place,
        )
        return _checked(scenario), []
    except (ConfigError, InstrumentError) as error:
        return None, [ConfigError(error.field, error.value, error.reason, place)]


def run_scenario(scenario: Scenario, backend: Backend) -> ChainInfo:
    """Follow the scenario's shock through its map and book."""
    prices = _prices(scenario)
    first_bin = cell_of(min(prices), 0, scenario.bin_width, 1 << 32) - 1
    cells = cell_of(max(prices), 0, scenario.bin_width, 1 << 32) - first_bin + 2
    side: SideName = "long" if scenario.shock <= scenario.mark else "short"
    venue_cents: dict[str, NDArray[np.uint64]] = {"": np.zeros(cells, np.uint64)}
    for row in scenario.liquidations:
        if row.side == side:
            cell = cell_of(row.price, first_bin, scenario.bin_width, cells)
            for venue, cents in (row.venue_cents or {}).items():
                venue_cents.setdefault(venue, np.zeros(cells, np.uint64))[cell] += np.uint64(cents)
    depth = np.zeros(cells, np.uint64)
    for level in scenario.book:
        if (level.side == "bid") == (side == "long"):
            depth[cell_of(level.price, first_bin, scenario.bin_width, cells)] += np.uint64(_cents(level.usd))
    notional: NDArray[np.uint64] = np.asarray(list(venue_cents.values())).sum(axis=0, dtype=np.uint64)
    mark, shock, width = scenario.mark, scenario.shock, scenario.bin_width
    chain = follow_shock(backend, notional, depth, first_bin, width, mark, shock)
    return chain_info(chain, side, first_bin, width, mark, shock, venue_cents)


def _rows(lists: dict[str, Any], name: str, place: str, errors: list[ConfigError]) -> list[tuple[str, object]]:
    """Return the rows of a list of tables, each with its name for errors."""
    rows = lists[name]
    if not isinstance(rows, list) or not rows:
        errors.append(ConfigError(name, rows, f"must be at least one [[{name}]] table", place))
        return []
    return [(f"{name}[{number}]", row) for number, row in enumerate(rows, 1)]


def _liquidation(row: object, where: str, place: str, errors: list[ConfigError]) -> dict[str, Any]:
    before = len(errors)
    values = fill(Liquidation, row, where, place, errors, beside=("venues",))
    if len(errors) == before and isinstance(row, Mapping):
        try:
            values["venue_cents"] = _venue_cents(row.get("venues"), values.get("usd"))
        except ValueError as error:
            errors.append(ConfigError(f"{where}.venues", row.get("venues"), str(error), place))
    return values


def _venue_cents(venues: object, usd: float | None) -> dict[str, int]:
    """Split a level over venues: a list in equal parts (a cent that is left goes to the first), a table as it says."""
    if isinstance(venues, list) and venues and all(isinstance(v, str) and v.strip() for v in venues):
        if len(set(venues)) != len(venues):
            raise ValueError("names a venue twice")
        if usd is None:
            raise ValueError("a list of venues shares out usd, which is missing")
        part, left = divmod(_cents(usd), len(venues))
        return {venue: part + (k < left) for k, venue in enumerate(venues)}
    if isinstance(venues, dict) and venues:
        cents = {venue: _cents(float(convert(float, _USD, value))) for venue, value in venues.items()}
        if usd is not None and sum(cents.values()) != _cents(usd):
            raise ValueError(f"adds up to {sum(cents.values()) / 100:.2f}, but usd = {usd:.2f}")
        return cents
    raise ValueError("must be a list of venue names, or a table of USD by venue")


def _checked(scenario: Scenario) -> Scenario:
    """Return the scenario. Raises ConfigError where its parts contradict each other."""
    mark, width = scenario.mark, scenario.bin_width
    if scenario.shock == mark:
        raise ConfigError("shock_price", scenario.shock, "must differ from the mark", scenario.place)
    for number, row in enumerate(scenario.liquidations, 1):
        if (row.price > mark) if row.side == "long" else (row.price < mark):
            reason = f"a {row.side} on this side of the mark ({mark:g}) would already be liquidated"
            raise ConfigError(f"liquidations[{number}].price", row.price, reason, scenario.place)
    for number, level in enumerate(scenario.book, 1):
        if (level.price > mark) if level.side == "bid" else (level.price < mark):
            reason = f"a {level.side} on this side of the mark ({mark:g}) would already be filled"
            raise ConfigError(f"book[{number}].price", level.price, reason, scenario.place)
    low, high = min(_prices(scenario)), max(_prices(scenario))
    if high / width >= MAX_PRICE_UNITS >> PRICE_BITS or (high - low) / width > MAX_BINS:
        reason = f"too narrow for prices from {low:g} to {high:g}: at most {MAX_BINS} bins"
        raise ConfigError("bin_width_usd", width, reason, scenario.place)
    return scenario


def _prices(scenario: Scenario) -> list[float]:
    levels = [row.price for row in scenario.liquidations] + [level.price for level in scenario.book]
    return [scenario.mark, scenario.shock, *levels]


def _cents(usd: float) -> int:
    return round(usd * 100)
