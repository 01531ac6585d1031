"""How a venue liquidates, as a declaration: every fact with how sure it is and where it is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from forcedmove_server.margin.equations import FORMULAS, Formula
from forcedmove_server.margin.facts import Confidence, Fact, weakest
from forcedmove_server.margin.margin_rule import Maintenance
from forcedmove_server.margin.process import AT_ONCE, LiquidationProcess
from forcedmove_server.margin.trigger import Trigger
from forcedmove_server.market.instruments import ContractType, Instrument

_UNKNOWN_PROCESS = Fact(AT_ONCE, Confidence.ASSUMED, "nothing found")


@dataclass(frozen=True, slots=True)
class ContractRules:
    """The rule of one kind of contract: a formula by name, and the fee rate it counts in the trigger."""

    formula: Fact[str]
    fee: Fact[float] | None = None

    @property
    def variant(self) -> Formula:
        """The formula itself."""
        return FORMULAS[self.formula.value]

    @property
    def fee_rate(self) -> float:
        """Fee rate in the trigger; 0 where none is counted."""
        return self.fee.value if self.fee else 0.0

    @property
    def confidence(self) -> Confidence:
        """How sure formula and fee are together."""
        return weakest([self.formula.confidence, *([self.fee.confidence] if self.fee else [])])

    def facts(self) -> Iterator[tuple[str, Fact[object]]]:
        """Formula and fee, each with what it is called."""
        yield self.formula.value, self.formula
        if self.fee is not None:
            yield f"fee of {self.fee.value:.3%} in the trigger", self.fee


@dataclass(frozen=True, slots=True, kw_only=True)
class Venue:
    """One exchange. ``names`` are those of recorded archives that mean it too; ``quotes`` those of its linear
    contracts, the likeliest first.

    ``tiers`` says where its maintenance table is written and whether it moves in jumps or slices; ``tiers_public``
    whether anybody can fetch it. ``notes`` are what a map of this venue takes for granted beyond that.
    ``cross_note`` says what cross accounts do differently that is not modelled. ``extra_margin_fee`` is a rate by which
    margin added to a position is discounted. ``from_instrument`` computes a
    ladder from a market's own description, where the venue documents how.
    """

    name: str
    title: str
    linear: ContractRules | None
    inverse: ContractRules | None = None
    trigger: Fact[Trigger]
    max_leverage: Fact[float]
    tiers: Fact[str]
    tiers_public: bool
    modes: Fact[str]
    process: Fact[LiquidationProcess] = _UNKNOWN_PROCESS
    extra_margin_fee: Fact[float] | None = None
    cross_note: str = ""
    quotes: tuple[str, ...] = ("USDT", "USDC")
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    from_instrument: Callable[[Instrument], Maintenance | None] | None = None

    def rules_of(self, contract_type: ContractType) -> ContractRules | None:
        """Rules of a kind of contract; None where the venue lists none."""
        return self.inverse if contract_type is ContractType.INVERSE else self.linear
