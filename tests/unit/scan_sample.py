"""A made-up scan of many symbols, as a client gets it."""

from __future__ import annotations

import numpy as np

from forcedmove_client.scan import ScanEstimate, ScanResult, ScanSummary, SymbolScan


def sample_scan(symbols: int, shocks: tuple[float, ...], seed: int = 1, *, paths: bool = False) -> ScanResult:
    """Symbols of which the first has no depth beyond one shock and runs out of its window, by falling fragility."""
    rng, moves = np.random.default_rng(seed), np.array(shocks)
    found = []
    for number in range(symbols):
        tip = 0.004 * (1 + number) ** 0.5
        excess = rng.lognormal(-1.5, 0.8, len(moves)) + 3.0 / (1 + number) ** 0.4 * np.exp(
            -((np.abs(moves) / tip - 2) ** 2)
        )
        mark = float(rng.lognormal(3, 3))
        terminal = mark * (1 + moves * (1 + excess))
        fragility = excess / 3
        fragility[-1] = np.inf if number == 0 else fragility[-1]
        found.append(
            SymbolScan(
                symbol=f"COIN{number:02d}" if number else "BTC",
                seq=7,
                event_time=np.datetime64(1_700_000_000_000_000_000 + number, "ns"),
                mark_price=mark,
                volatility_day=0.04,
                volatility_measured=bool(number % 2),
                shocks=moves,
                terminal_price=terminal,
                fired_usd=1e6 * excess,
                levels=np.arange(len(moves)),
                amplification=1 + excess,
                fragility=fragility,
                touch_probability=np.exp(-np.abs(moves) * 20),
                beyond_window=np.arange(len(moves)) == (len(moves) - 1 if number == 0 else -1),
                path_terminal=np.stack([terminal, terminal, terminal]) if paths else None,
                path_fired_usd=np.stack([1e6 * excess] * 3) if paths else None,
                tipping_down=-tip if number % 5 else None,
                tipping_up=tip * 1.3 if number % 3 else None,
                tipping_distance=tip if number % 5 else None,
                max_amplification=float(1 + excess.max()),
                max_fragility=float(fragility.max()),
                expected_loss_usd=float(rng.lognormal(12, 2)),
                notional_usd=float(rng.lognormal(17, 2)),
            )
        )
    found.sort(key=lambda one: -one.max_fragility)
    ranking = tuple((one.symbol, one.max_fragility) for one in found)
    chains = symbols * len(moves)
    return ScanResult(
        ScanEstimate(symbols + 3, chains, 0, 1 << 20, 0.5),
        {one.symbol: one for one in found},
        ScanSummary(ranking, symbols + 2, 2, 1, 0.4, ()),
    )
