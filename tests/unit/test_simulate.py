"""The simulated market: deterministic, consistent with its own truth, and recognisably a market."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from forcedmove_server.errors import InputError, NotReadyError, UnknownNameError
from forcedmove_server.margin.multipliers import LEVERAGE_TIERS
from forcedmove_server.margin.rules import rule_for
from forcedmove_server.margin.venues import venue_named
from forcedmove_server.market.events import EVENT_DTYPES, EventBatch, Records
from forcedmove_server.market.instruments import ContractType, InstrumentRegistry
from forcedmove_server.sources.simulate import SimulatedSource, SimulationConfig
from forcedmove_server.sources.simulate.config import SYMBOLS, VENUES

SMALL = SimulationConfig(seed=5, live_positions=2_000, warmup_hours=0.1, duration_hours=0.15)
#: one hour of the full market with a crash in it
CRASH = SimulationConfig(seed=2, warmup_hours=0, batch_s=60, duration_hours=1.5, scheduled_crash_hours=(0.25,))


def play(config: SimulationConfig) -> tuple[SimulatedSource, InstrumentRegistry, list[EventBatch]]:
    source, registry = SimulatedSource(config), InstrumentRegistry()
    return source, registry, list(source.batches(registry))


def joined(batches: list[EventBatch], kind: str) -> Records:
    return np.concatenate([batch.by_kind()[kind] for batch in batches])


@pytest.fixture(scope="module")
def crash() -> tuple[SimulatedSource, InstrumentRegistry, list[EventBatch]]:
    return play(CRASH)


def test_the_same_seed_gives_the_same_bytes() -> None:
    (first, _, one), (second, _, two) = play(SMALL), play(SMALL)
    assert len(one) == len(two) > 100
    for a, b in zip(one, two, strict=True):
        assert a.until_ns == b.until_ns
        for kind, rows in a.by_kind().items():
            assert rows.tobytes() == b.by_kind()[kind].tobytes(), kind
    assert first.truth().tobytes() == second.truth().tobytes()
    # A second iteration of one source starts the same market anew.
    again = next(iter(first.batches(InstrumentRegistry())))
    assert again.trades.tobytes() == one[0].trades.tobytes()


def test_another_seed_gives_another_market() -> None:
    one, two = (
        next(iter(SimulatedSource(SimulationConfig(seed=s)).batches(InstrumentRegistry()))).trades for s in (1, 2)
    )
    assert one.tobytes() != two.tobytes()


def test_how_it_is_cut_into_batches_does_not_change_the_world() -> None:
    coarse = SimulationConfig(seed=5, live_positions=2_000, warmup_hours=0.15, duration_hours=0.15, warmup_batch_s=77)
    assert play(SMALL)[0].truth().tobytes() == play(coarse)[0].truth().tobytes()


def test_batches_keep_the_contract_of_sources() -> None:
    source, registry, batches = play(SMALL)
    start = SMALL.epoch_ns
    for batch in batches:
        for kind, rows in batch.by_kind().items():
            assert rows.dtype == EVENT_DTYPES[kind]
            assert np.all(np.diff(rows["time_ns"]) >= 0), kind
            assert np.all((rows["time_ns"] >= start) & (rows["time_ns"] < batch.until_ns)), kind
            assert np.all((rows["market"] >= 0) & (rows["market"] < len(registry)))
            for name in {"price", "quantity"} & set(rows.dtype.names or ()):
                assert np.all(np.isfinite(rows[name]) & (rows[name] > 0)), (kind, name)
            if "received_ns" in (rows.dtype.names or ()):
                assert np.all(rows["received_ns"] >= rows["time_ns"])
        start = batch.until_ns
    assert start == SMALL.epoch_ns + round(0.15 * 3_600) * 1_000_000_000
    assert source.warm_until_ns == SMALL.epoch_ns + 360 * 1_000_000_000
    assert [b.until_ns for b in batches if b.until_ns <= source.warm_until_ns][-1] == source.warm_until_ns
    assert source.progress() == 1.0
    assert not source.defects.counts


def test_history_is_coarser_than_the_live_feed() -> None:
    _, registry, batches = play(SMALL)
    bybit = registry.index_of("bybit:BTCUSDT")
    seconds = (joined(batches, "open_interest")["time_ns"] - SMALL.epoch_ns) // 10**9
    mine = seconds[joined(batches, "open_interest")["market"] == bybit]
    assert set(np.diff(mine[mine < 360]).tolist()) == {30}
    assert set(np.diff(mine[mine >= 360]).tolist()) == {1}


def test_markets_are_named_as_on_their_venues() -> None:
    registry = play(SMALL)[1]
    keys = {i.key for i in registry}
    assert {"binance:BTCUSDT", "bybit:ETHUSDT", "okx:SOL-USDT-SWAP", "hyperliquid:BTC", "binance:BTCUSD_PERP"} <= keys
    assert len(registry.markets_of("BTC")) == 5
    assert registry[registry.index_of("binance:BTCUSD_PERP")].contract_type is ContractType.INVERSE
    assert registry.symbols() == ["BTC", "ETH", "SOL"]
    assert all(venue_named(i.venue) for i in registry)


def in_steps(rows: Records, registry: InstrumentRegistry) -> Iterator[tuple[int, int, int]]:
    """(market, longs, shorts) in lots."""
    for market, instrument in enumerate(registry):
        mine = rows[rows["market"] == market]
        lots = mine["quantity"] / instrument.quantity_step
        assert np.allclose(lots, np.rint(lots), atol=1e-6)
        yield market, *(int(np.rint(lots[mine["side"] == side]).sum()) for side in (0, 1))


def test_open_interest_is_the_sum_of_true_positions_at_every_observation() -> None:
    config = SimulationConfig(seed=11, live_positions=2_000, warmup_hours=0, duration_hours=0.1)
    source, registry = SimulatedSource(config), InstrumentRegistry()
    observed = 0
    for batch in itertools.islice(source.batches(registry), 120):
        totals = {market: (longs, shorts) for market, longs, shorts in in_steps(source.truth(), registry)}
        for row in batch.open_interest:
            lots = round(float(row["quantity"]) / registry[int(row["market"])].quantity_step)
            assert totals[int(row["market"])] == (lots, lots)
            observed += 1
    assert observed > 300


def test_no_true_position_is_beyond_its_mark(
    crash: tuple[SimulatedSource, InstrumentRegistry, list[EventBatch]],
) -> None:
    source, registry, batches = crash
    truth = source.truth()
    marks = batches[-1].mark_prices
    mark = np.zeros(len(registry))
    mark[marks["market"]] = marks["price"]
    long = truth["side"] == 0
    assert np.all(truth["liquidation_price"][long] < mark[truth["market"][long]])
    assert np.all(truth["liquidation_price"][~long] > mark[truth["market"][~long]])


def test_positions_are_liquidated_by_their_venues_rule(
    crash: tuple[SimulatedSource, InstrumentRegistry, list[EventBatch]],
) -> None:
    source, registry, _ = crash
    truth = source.truth()
    truth = truth[truth["leverage"] > 1]  # market makers are cross-margined
    for market, instrument in enumerate(registry):
        mine = truth[truth["market"] == market]
        inverse = instrument.contract_type is ContractType.INVERSE
        quantity = mine["account_usd"] / (1.0 if inverse else mine["entry"])
        expected = rule_for(instrument).liquidation_price(mine["side"], mine["entry"], quantity, mine["leverage"])
        # The maintenance tier of an account is chosen at its opening; averaging in may move it across a floor.
        error = np.abs(mine["liquidation_price"] / expected - 1)
        assert np.mean(error < 1e-9) > 0.9, instrument.key
        assert np.max(error) < 0.005, instrument.key


def test_a_crash_cascades(crash: tuple[SimulatedSource, InstrumentRegistry, list[EventBatch]]) -> None:
    """Forced selling takes the price further than the news did, and every venue with a feed reports some of it."""
    _, registry, batches = crash
    marks = joined(batches, "mark_prices")
    btc = marks["price"][marks["market"] == registry.index_of("binance:BTCUSDT")]
    assert abs(btc.min() / btc[0] - 1) > 0.02
    liquidations = joined(batches, "liquidations")
    venues = {registry[int(m)].venue for m in np.unique(liquidations["market"])}
    assert venues == {"binance", "bybit", "okx"}
    bybit = liquidations[np.isin(liquidations["market"], [m for m, i in enumerate(registry) if i.venue == "bybit"])]
    assert len(bybit) > 20
    seconds = np.stack([liquidations["market"], (liquidations["time_ns"] - CRASH.epoch_ns) // 1_000_000_000])
    sampled = np.array([registry[int(m)].venue != "bybit" for m in seconds[0]])
    assert len(np.unique(seconds[:, sampled], axis=1).T) == sampled.sum()  # at most one a second and market


def test_every_liquidation_is_on_the_tape(
    crash: tuple[SimulatedSource, InstrumentRegistry, list[EventBatch]],
) -> None:
    """A feed's message has a trade of its quantity and moment, with the aggressor on the closing side."""
    _, _, batches = crash
    trades, liquidations = joined(batches, "trades"), joined(batches, "liquidations")
    keys = ("market", "time_ns", "quantity")
    tape = {tuple(row[k] for k in keys): int(row["aggressor"]) for row in trades[trades["time_ns"] % 10**9 > 9 * 10**8]}
    for row in liquidations:
        assert tape[tuple(row[k] for k in keys)] == (-1 if row["side"] == 0 else 1)


def test_depth_withdraws_in_a_crash_and_is_well_formed(
    crash: tuple[SimulatedSource, InstrumentRegistry, list[EventBatch]],
) -> None:
    _, registry, batches = crash
    depth = joined(batches, "depth")
    mine = depth[depth["market"] == registry.index_of("binance:BTCUSDT")]
    times = np.unique(mine["time_ns"])
    total = np.array([mine["quantity"][mine["time_ns"] == t].sum() for t in times[::30]])
    assert total.min() < 0.5 * total[0]
    snapshot = mine[mine["time_ns"] == times[0]]
    bids, asks = snapshot[snapshot["side"] == 0], snapshot[snapshot["side"] == 1]
    assert np.all(np.diff(bids["price"]) < 0)
    assert np.all(np.diff(asks["price"]) > 0)
    assert bids["price"][0] < asks["price"][0]


def test_it_looks_like_a_market() -> None:
    """Daily volatility, volume and open interest in the range of the real ones, without a crash."""
    config = SimulationConfig(seed=3, warmup_hours=4, duration_hours=4, crashes_per_day=0)
    source, registry, batches = play(config)
    marks, trades, truth = joined(batches, "mark_prices"), joined(batches, "trades"), source.truth()
    for symbol, profile in SYMBOLS.items():
        if symbol not in config.symbols:
            continue
        market = registry.markets_of(symbol)[0]
        path = np.log(marks["price"][marks["market"] == market][::60])
        daily = np.diff(path).std() * np.sqrt(1_440)
        assert 0.5 < daily / profile.daily_volatility < 2.5, symbol
    market = registry.index_of("bybit:BTCUSDT")
    price = marks["price"][marks["market"] == market][-1]
    held = truth["quantity"][(truth["market"] == market) & (truth["side"] == 0)].sum()
    traded = trades["quantity"][trades["market"] == market].sum()
    assert 0.5e9 < held * price < 3e9
    assert 1 < traded / held * 6 < 10
    # Venues trade within a few basis points of each other.
    other = marks["price"][marks["market"] == registry.index_of("hyperliquid:BTC")][-1]
    assert abs(other / price - 1) < 1e-3
    assert set(np.unique(trades["aggressor"])) == {-1, 1}


def test_true_leverage_weights_are_those_of_the_openings() -> None:
    config = SimulationConfig(
        seed=4, warmup_hours=6, duration_hours=6, crashes_per_day=0, initial_share=0, add_share=0,
        live_positions=60_000,
        symbols=("BTC",), venues=("bybit",), cross_leverage_log_sd=0.0,
    )  # fmt: skip
    source, _, _ = play(config)
    weights = config.true_leverage_weights["bybit:BTCUSDT"]
    assert sum(weights) == pytest.approx(1)
    truth = source.truth()
    low = truth[(truth["leverage"] > 1) & (truth["leverage"] <= 5)]  # tiers that nothing has liquidated
    usd = np.array([(low["quantity"] * low["entry"])[low["leverage"] == tier].sum() for tier in LEVERAGE_TIERS[:3]])
    assert usd / usd.sum() == pytest.approx(np.array(weights[:3]) / sum(weights[:3]), abs=0.03)


def test_an_empty_market_fills_up() -> None:
    config = SimulationConfig(seed=1, initial_share=0, warmup_hours=0, live_positions=2_000)
    source, registry = SimulatedSource(config), InstrumentRegistry()
    batches = source.batches(registry)
    next(batches)
    before = len(source.truth())
    for _ in range(300):
        next(batches)
    assert before < len(source.truth())
    assert source.progress() is None


def test_weights_of_every_venue_are_shares() -> None:
    for name, profile in VENUES.items():
        assert len(profile.leverage_weights) == len(LEVERAGE_TIERS), name
        assert sum(profile.leverage_weights) == pytest.approx(1), name


def test_truth_needs_a_batch() -> None:
    with pytest.raises(NotReadyError):
        SimulatedSource(SMALL).truth()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("symbols", ()),
        ("symbols", ("BTC", "BTC")),
        ("batch_s", 0),
        ("warmup_hours", -1.0),
        ("warmup_hours", float("nan")),
        ("duration_hours", 0.0),
        ("live_positions", 1),
        ("initial_share", 1.5),
        ("lifetime_shares", (0.5, 0.4, 0.2)),
        ("crashes_per_day", float("inf")),
    ],
)
def test_bad_config_is_named(field: str, value: object) -> None:
    with pytest.raises(InputError, match=field):
        SimulationConfig(**{field: value})  # type: ignore[arg-type]


def test_unknown_names_say_what_is_known() -> None:
    with pytest.raises(UnknownNameError, match="known: AVAX, BTC"):
        SimulationConfig(symbols=("NOPE",))
    with pytest.raises(UnknownNameError, match="binance"):
        SimulationConfig(venues=("nowhere",))
