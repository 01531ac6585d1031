"""Which symbols are collected: named ones, or the largest by open interest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from forcedmove_server.errors import ConfigError
from forcedmove_server.market.instruments import Instrument

#: ``top:20``, and what nobody calls a symbol but means that: ``top20``, ``top 20``, ``top:``; not ``TOP-USDT-SWAP``
_TOP = re.compile(r"top(?:\s*:.*|[\s=_-]*[\d.]+)", re.IGNORECASE)
_LARGEST_TOP = re.compile(r"top:(?P<number>\d{1,5})", re.IGNORECASE)
_MOST = 10_000
#: what a chosen symbol counts for when the largest are chosen again
_STAYS = 1.1


class Selection:
    """``("BTC", "ETH")`` names symbols, ``("top:100",)`` the hundred with the most open interest; both may be mixed.

    A name may be that of one market too, as :meth:`InstrumentRegistry.resolve` reads them: ``binance:BTCUSDT``. Upper
    and lower case are the same; of several numbers the largest counts. Raises ConfigError for what is nearly
    ``top:N``, for a number that is not from 1 to 10 000, or where nothing is named.
    """

    def __init__(self, symbols: tuple[str, ...]) -> None:
        numbers = {symbol: _number(symbol) for symbol in symbols}
        #: what is named, in its order
        self._named = dict.fromkeys(symbol.strip().upper() for symbol, number in numbers.items() if not number)
        self._top = max(numbers.values(), default=0)
        if not symbols:
            raise ConfigError("symbols", symbols, 'must name symbols, or how many: "top:20"')
        self._ranked: dict[str, int] = {}

    @property
    def needs_ranking(self) -> bool:
        """Whether :meth:`rank` has a say."""
        return self._top > 0

    def rank(self, open_interest_usd: Mapping[str, float]) -> None:
        """Choose the largest symbols. Without any figure the choice stays as it was.

        One that was chosen stays until another is larger by a tenth: two that are alike must not take turns.
        """
        if open_interest_usd:
            figure = {s: usd * (_STAYS if s in self._ranked else 1.0) for s, usd in open_interest_usd.items()}
            largest = sorted(figure, key=lambda symbol: (-figure[symbol], symbol))
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


def _number(symbol: str) -> int:
    """Return how many of the largest are meant, 0 where it is a name."""
    text = symbol.strip()
    found = _LARGEST_TOP.fullmatch(text)
    number = int(found["number"]) if found else 0
    if _TOP.fullmatch(text) and not 1 <= number <= _MOST:
        raise ConfigError("symbols", symbol, f"must be like top:100, with a number from 1 to {_MOST:,}")
    return number


def _names(instrument: Instrument) -> tuple[str, ...]:
    names = (instrument.symbol, instrument.key, instrument.native_id, instrument.unified)
    return tuple(name.upper() for name in names)
