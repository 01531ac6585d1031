"""What is simulated: venues, symbols, and every number of the market, with units in the names."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from forcedmove_server.config import SimulationRegime
from forcedmove_server.errors import InputError, UnknownNameError
from forcedmove_server.margin.multipliers import LEVERAGE_TIERS
from forcedmove_server.margin.rules import rule_for
from forcedmove_server.market.instruments import ContractType, Instrument
from forcedmove_server.sources.simulate.regime_profiles import RegimeProfile, regime_profile

STEP_S = 1
STEP_NS = STEP_S * 1_000_000_000


@dataclass(frozen=True, slots=True)
class SymbolProfile:
    """An underlying on the first day; ``open_interest_usd`` is one side, all venues together."""

    price_usd: float
    open_interest_usd: float
    daily_volatility: float
    beta: float
    price_step: float
    quantity_step: float
    on_chain_max_leverage: float


SYMBOLS: dict[str, SymbolProfile] = {
    "BTC": SymbolProfile(97_500.0, 6.0e9, 0.030, 1.0, 0.1, 0.001, 40.0),
    "ETH": SymbolProfile(3_400.0, 3.0e9, 0.038, 1.25, 0.01, 0.01, 25.0),
    "SOL": SymbolProfile(190.0, 1.0e9, 0.045, 1.5, 0.01, 0.1, 20.0),
    "XRP": SymbolProfile(2.4, 0.7e9, 0.045, 1.4, 0.0001, 1.0, 20.0),
    "DOGE": SymbolProfile(0.35, 0.5e9, 0.050, 1.5, 0.00001, 10.0, 10.0),
    "AVAX": SymbolProfile(38.0, 0.2e9, 0.050, 1.6, 0.001, 1.0, 10.0),
}


@dataclass(frozen=True, slots=True)
class VenueProfile:
    """How a venue trades and what it publishes.

    ``leverage_weights`` is the share of opened notional per tier of ``LEVERAGE_TIERS``. ``liquidations`` says how much
    of them the feed carries: all, one a second, or none; ``liquidation_price`` whether it prints the bankruptcy price
    or the fill.
    """

    venue: str
    native_id: str
    quote: str
    open_interest_share: float
    leverage_weights: tuple[float, ...]
    liquidations: Literal["full", "sampled", "none"]
    liquidation_price: Literal["bankruptcy", "fill"]
    open_interest_every_s: int
    depth_every_s: int
    trades_per_s: float
    latency_ms: float
    max_leverage: float
    contract_type: ContractType = ContractType.LINEAR
    inverse_contract_usd: float = 10.0
    on_chain: bool = False


VENUES: dict[str, VenueProfile] = {
    "binance": VenueProfile(
        "binance", "{}USDT", "USDT", 0.38,
        (0.40, 0.25, 0.17, 0.06, 0.05, 0.02, 0.02, 0.01, 0.005, 0.009, 0.002, 0.003, 0.001),
        "sampled", "fill", 10, 2, 6.0, 18, 125,
    ),
    "bybit": VenueProfile(
        "bybit", "{}USDT", "USDT", 0.24,
        (0.35, 0.24, 0.17, 0.07, 0.06, 0.03, 0.03, 0.015, 0.01, 0.015, 0.004, 0.006, 0.0),
        "full", "bankruptcy", 1, 2, 4.0, 25, 100,
    ),
    "okx": VenueProfile(
        "okx", "{}-USDT-SWAP", "USDT", 0.17,
        (0.41, 0.25, 0.17, 0.06, 0.05, 0.02, 0.018, 0.008, 0.004, 0.007, 0.001, 0.002, 0.0),
        "sampled", "bankruptcy", 3, 3, 3.0, 22, 100,
    ),
    "hyperliquid": VenueProfile(
        "hyperliquid", "{}", "USDC", 0.14,
        (0.54, 0.25, 0.12, 0.035, 0.02, 0.013, 0.012, 0.006, 0.004, 0.0, 0.0, 0.0, 0.0),
        "none", "fill", 5, 2, 3.0, 70, 50, on_chain=True,
    ),
    "binance-inverse": VenueProfile(
        "binance", "{}USD_PERP", "USD", 0.07,
        (0.50, 0.25, 0.12, 0.04, 0.03, 0.015, 0.015, 0.01, 0.006, 0.008, 0.002, 0.003, 0.001),
        "sampled", "fill", 10, 5, 1.0, 18, 125, ContractType.INVERSE,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SimulationConfig:
    """One simulated market. The same values give the same bytes.

    Event time starts at ``epoch_ns``. The first ``warmup_hours`` come in batches of ``warmup_batch_s`` (a consumer
    plays them at once to have a rich map), the rest in batches of ``batch_s``; ``duration_hours`` counts from the
    epoch and includes the warm-up, None never ends. History is coarser than a live feed: in the warm-up open interest
    and books come every ``warmup_poll_s``, of all venues together, or as rarely as the venue sends them.
    ``initial_share`` is the share of the equilibrium population that is open at the epoch: 0 starts an empty market,
    whose every opening is then on the tape. ``crashes_per_day`` is a chance that only the mixed regime has;
    ``scheduled_crash_hours`` come on top of what the regime schedules.

    Raises InputError naming the field, UnknownNameError for a venue, symbol or regime without a profile.
    """

    seed: int = 1
    regime: SimulationRegime = "mixed"
    venues: tuple[str, ...] = tuple(VENUES)
    symbols: tuple[str, ...] = ("BTC", "ETH", "SOL")
    #: a Monday at the time of the shipped maintenance tables, which are what the simulated venues liquidate by
    epoch_ns: int = 1_791_158_400_000_000_000  # 2026-10-05 00:00 UTC
    batch_s: int = 1
    warmup_hours: float = 24.0
    warmup_batch_s: int = 60
    warmup_poll_s: int = 30
    duration_hours: float | None = None
    live_positions: int = 15_000
    initial_share: float = 1.0
    #: seconds a position is kept, and the share of *live* positions of each kind: scalpers, day and swing traders
    lifetime_s: tuple[float, ...] = (1_800.0, 43_200.0, 432_000.0)
    lifetime_shares: tuple[float, ...] = (0.005, 0.22, 0.775)
    add_share: float = 0.12
    position_log_sd: float = 1.0
    account_median_usd: float = 8_000.0
    account_log_sd: float = 1.2
    #: relative scatter of leverage up to 10x, where accounts are cross-margined and nobody holds a round number
    cross_leverage_log_sd: float = 0.08
    #: isolated positions above 10x are this many times smaller, and as many times more numerous
    tail_split: float = 5.0
    #: volume between market makers, which opens nothing, per day and open interest
    churn_per_open_interest_day: float = 0.6
    #: resting notional within 1 % of the price on one side, as a share of open interest
    depth_share_1_percent: float = 0.03
    crashes_per_day: float = 0.4
    scheduled_crash_hours: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for kind, names, known in (("venue", self.venues, VENUES), ("symbol", self.symbols, SYMBOLS)):
            if not names or len(set(names)) != len(names):
                raise InputError(f"{kind}s", names, "needs at least one name, each once")
            for name in names:
                if name not in known:
                    raise UnknownNameError(kind, name, sorted(known))
        regime_profile(self.regime)
        for field_name, low, high in (
            ("batch_s", 1, 3_600),
            ("warmup_batch_s", 1, 3_600),
            ("warmup_poll_s", 1, 3_600),
            ("warmup_hours", 0, 24 * 365),
            ("live_positions", 100, 2_000_000),
            ("initial_share", 0, 1),
            ("add_share", 0, 0.9),
            ("tail_split", 1, 1_000),
            ("churn_per_open_interest_day", 0, 100),
            ("depth_share_1_percent", 1e-4, 1),
            ("crashes_per_day", 0, 24),
        ):
            value = getattr(self, field_name)
            if not low <= value <= high:
                raise InputError(field_name, value, f"must lie in {low:g} .. {high:g}")
        if self.duration_hours is not None and not 0 < self.duration_hours < math.inf:
            raise InputError("duration_hours", self.duration_hours, "must be a positive number of hours, or None")
        if len(self.lifetime_s) != len(self.lifetime_shares) or not math.isclose(sum(self.lifetime_shares), 1):
            raise InputError("lifetime_shares", self.lifetime_shares, "one share per lifetime, adding up to 1")

    @property
    def weather(self) -> RegimeProfile:
        """What the regime fixes."""
        return regime_profile(self.regime)

    @property
    def warmup_steps(self) -> int:
        """Steps of the warm-up."""
        return round(self.warmup_hours * 3_600 / STEP_S)

    @property
    def true_leverage_weights(self) -> dict[str, tuple[float, ...]]:
        """Share of opened notional per tier of ``LEVERAGE_TIERS``, by market key: what inference tries to find."""
        return {instrument.key: leverage_weights(profile, instrument) for profile, instrument in self.markets()}

    def markets(self) -> list[tuple[VenueProfile, Instrument]]:
        """Return every simulated market, symbol by symbol."""
        return [
            (VENUES[venue], _instrument(VENUES[venue], symbol, SYMBOLS[symbol]))
            for symbol in self.symbols
            for venue in self.venues
        ]


def leverage_weights(profile: VenueProfile, instrument: Instrument) -> tuple[float, ...]:
    """Return a venue's weights cut at a market's greatest leverage and made to add up to one."""
    cut = [
        weight if leverage <= instrument.max_leverage else 0.0
        for leverage, weight in zip(LEVERAGE_TIERS, profile.leverage_weights, strict=True)
    ]
    return tuple(weight / sum(cut) for weight in cut)


def _instrument(profile: VenueProfile, base: str, symbol: SymbolProfile) -> Instrument:
    inverse = profile.contract_type is ContractType.INVERSE
    contract = (100.0 if base == "BTC" else profile.inverse_contract_usd) if inverse else 1.0
    described = Instrument(
        venue=profile.venue,
        native_id=profile.native_id.format(base),
        base=base,
        quote=profile.quote,
        contract_type=profile.contract_type,
        contract_size=contract,
        quantity_step=contract if inverse else symbol.quantity_step,
        price_step=symbol.price_step,
        max_leverage=symbol.on_chain_max_leverage if profile.on_chain else profile.max_leverage,
    )
    # A venue offers no more than its ladder does.
    ladder = rule_for(described).leverage_limit
    return described if ladder >= described.max_leverage else replace(described, max_leverage=ladder)
