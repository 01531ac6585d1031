"""A map made up for tests of what is drawn: few bins, round figures, every part present."""

from __future__ import annotations

import numpy as np

from forcedmove_client.frames import AxisName, Chain, Cluster, Level, MapFrame, Market

VENUES = ("binance", "bybit", "okx")
SHARES = (0.5, 0.3, 0.2)
LEVERAGES = (5.0, 10.0, 25.0)
MARK, WIDTH, FIRST, BINS = 97_512.4, 50.0, 1_750, 400


def base_grid(seed: int = 3) -> np.ndarray:
    """USD by side and bin: smooth, with two long peaks of 20 and 40 million and a short one of 10 million."""
    rng = np.random.default_rng(seed)
    low = (FIRST + np.arange(BINS)) * WIDTH
    grid = rng.gamma(2.0, 0.4e6, (2, BINS)) * np.exp(-np.abs(low / MARK - 1) * 12)
    grid[0, low > MARK] = 0
    grid[1, low <= MARK] = 0
    for side, price, usd in ((0, 96_000.0, 20e6), (0, 94_000.0, 40e6), (1, 99_000.0, 10e6)):
        grid[side, round(price / WIDTH) - FIRST] = usd
    return grid


def sample_frame(
    keep: tuple[AxisName, ...] = ("venue", "side", "price"), seq: int = 1284, mark: float = MARK
) -> MapFrame:
    """Return a frame that keeps the given axes."""
    by_side = np.concatenate([[[7e6], [1e6]], base_grid(), [[2e6], [9e6]]], axis=1)
    full = by_side * np.array(SHARES)[:, None, None]
    full = full[:, :, None, :] * np.array([0.5, 0.3, 0.2])[:, None]
    order: tuple[AxisName, ...] = ("venue", "side", "leverage", "price")
    grid = full.sum(tuple(k for k, axis in enumerate(order) if axis not in keep))
    low = (FIRST + np.arange(BINS)) * WIDTH
    return MapFrame(
        symbol="BTC",
        epoch=1,
        seq=seq,
        event_time=np.datetime64("2026-01-05T13:05:07", "ns") + np.timedelta64(seq, "s"),
        published_time=np.datetime64("2026-01-05T13:05:08", "ns"),
        mark_price=mark,
        bin_width=WIDTH,
        weighting="live",
        axes=tuple(axis for axis in order if axis in keep),
        venues=VENUES if "venue" in keep else (),
        sides=("long", "short") if "side" in keep else (),
        leverages=LEVERAGES if "leverage" in keep else (),
        price_low=np.concatenate([[0.0], low, [low[-1] + WIDTH]]),
        price_high=np.concatenate([low[:1], low + WIDTH, [np.inf]]),
        grid=grid.astype(np.float32),
        markets=tuple(
            Market(f"{v}:BTCUSDT", v, mark, 1e4, share * 3e9, 1e4, 1e4, 100, 2_000, v != "okx")
            for v, share in zip(VENUES, SHARES, strict=True)
        ),
        coverage=0.8,
        clusters=(
            _cluster("long", 96_000.0, 20e6, mark),
            _cluster("long", 94_000.0, 40e6, mark),
            _cluster("short", 99_000.0, 10e6, mark),
        ),
        next_down=Chain(
            side="long",
            start_price=mark,
            shock_price=96_050.0,
            levels=(
                Level(96_000.0, 20e6, ("binance", "bybit"), 20e6, 94_000.0),
                Level(94_000.0, 40e6, ("binance", "bybit", "okx"), 60e6, 93_000.0),
            ),
            total_usd=60e6,
            terminal_price=93_000.0,
            amplification=(mark - 93_000) / (mark - 96_050),
            beyond_window=False,
        ),
        next_up=None,
        assumptions=(),
    )


def _cluster(side: str, price: float, usd: float, mark: float) -> Cluster:
    edge = price + WIDTH if side == "long" else price
    split = {venue: usd * share for venue, share in zip(VENUES, SHARES, strict=True)}
    return Cluster(side, price, price + WIDTH, price, usd, edge / mark - 1, split)  # type: ignore[arg-type]
