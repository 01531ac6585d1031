"""An instrument as its venue's parser uses it: what turns the venue's prices and quantities into the model's."""

from __future__ import annotations

import math
from dataclasses import dataclass

from forcedmove_server.market.instruments import ContractType, Instrument


@dataclass(frozen=True, slots=True)
class Listing:
    """One instrument of one venue.

    ``units`` is how many base units one coin of the venue's listing is (1000 for ``1000PEPE``); ``contract`` how many
    model units (base units on linear, USD on inverse contracts) one contract is, NaN where nobody said; ``coin`` how
    many base units one listed coin is, NaN on inverse contracts, whose coins are worth a price.
    ``market`` is the instrument's index in the run's registry.
    """

    instrument: Instrument
    market: int = -1
    units: float = 1.0
    contract: float = math.nan
    coin: float = math.nan
    inverse: bool = False

    @classmethod
    def of(cls, instrument: Instrument, units: float = 1.0, market: int = -1, sized: bool = True) -> Listing:
        """Describe an instrument; ``sized`` says that its contract size is known."""
        inverse = instrument.contract_type is ContractType.INVERSE
        return cls(
            instrument,
            market,
            units,
            instrument.contract_size if sized else math.nan,
            math.nan if inverse else units,
            inverse,
        )

    @property
    def symbol(self) -> str:
        """The underlying whose markets share one map."""
        return self.instrument.symbol

    @property
    def native_id(self) -> str:
        """The id that the venue's messages use."""
        return self.instrument.native_id
