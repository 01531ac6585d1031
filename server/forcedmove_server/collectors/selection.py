"""Which symbols are collected: named ones, or the largest by open interest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from forcedmove_server.errors import ConfigError
from forcedmove_server.market.instruments import Instrument

_TOP = "top:"


class Selection:
    """``("BTC", "ETH")`` names symbols, ``("top:100",)`` the hundred with the most open interest; both may be mixed.

    A name may be that of one market too, as :meth:`InstrumentRegistry.resolve` reads them: ``binance:BTCUSDT``.
    Raises ConfigError for a number that is none, or where nothing is named.
    """

    def __init__(self, symbols: tuple[str, ...]) -> None:
        #: what is named, in its order
        self._named = dict.fromkeys(symbol.upper() for symbol in symbols if not symbol.startswith(_TOP))
        self._top = 0
        for symbol in symbols:
            if symbol.startswith(_TOP):
                number = symbol.removeprefix(_TOP)
                if not (number.isdecimal() and 0 < int(number) <= 10_000):
                    raise ConfigError("symbols", symbol, "must be like top:100")
                self._top = max(self._top, int(number))
        if not symbols:
            raise ConfigError("symbols", symbols, 'must name symbols, or how many: "top:20"')
        self._ranked: dict[str, int] = {}

    @property
    def needs_ranking(self) -> bool:
        """Whether :meth:`rank` has a say."""
        return self._top > 0

    def rank(self, open_interest_usd: Mapping[str, float]) -> None:
        """Choose the largest symbols. Without any figure the choice stays as it was."""
        if open_interest_usd:
            largest = sorted(open_interest_usd, key=lambda symbol: (-open_interest_usd[symbol], symbol))
            self._ranked = {symbol: place for place, symbol in enumerate(largest[: self._top])}

    def has(self, instrument: Instrument) -> bool:
        """Whether a market is collected."""
        return instrument.symbol in self._ranked or any(name in self._named for name in _names(instrument))

    def place(self, instrument: Instrument) -> int:
        """How early a market is served where there is not room for all: named ones first, then by open interest."""
        named = [place for place, name in enumerate(self._named) if name in _names(instrument)]
        return named[0] if named else len(self._named) + self._ranked.get(instrument.symbol, self._top)

    def without(self, instruments: Iterable[Instrument]) -> list[str]:
        """Return what is named and is none of these."""
        found = {name for instrument in instruments for name in _names(instrument)}
        return [name for name in self._named if name not in found]


def _names(instrument: Instrument) -> tuple[str, ...]:
    names = (instrument.symbol, instrument.key, instrument.native_id, instrument.unified)
    return tuple(name.upper() for name in names)
