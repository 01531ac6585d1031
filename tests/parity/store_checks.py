"""Resident stores against the oracle's, through random lives; see :mod:`tests.parity.checks`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from forcedmove_kernels.arrays import I32, Cohorts, Rules, View, Window
from forcedmove_kernels.backend import Backend
from forcedmove_kernels.store import ResidentStore
from tests.parity import builders
from tests.parity.builders import NOW, Size
from tests.parity.checks import ORACLE
from tests.parity.compare import assert_array, assert_same, slots_in_use
from tests.parity.draws import Draws, Numbers, subset

LIFE = (
    "apply",
    "apply",
    "refresh",
    "apply",
    "read",
    "refresh",
    "apply",
    "window",
    "rules",
    "ages",
    "spread",
    "compact",
    "replace",
    "thin",
)


class Pair:
    """Two stores that must answer alike: the oracle's and the one under test."""

    def __init__(self, expected: ResidentStore, got: ResidentStore) -> None:
        self.expected = expected
        self.got = got

    def both(self, name: str, *args: Any) -> Any:
        """Call a method of both. Return the oracle's answer, or None where both refuse."""
        try:
            expected = getattr(self.expected, name)(*args)
        except ValueError as refusal:
            try:
                getattr(self.got, name)(*args)
            except ValueError:
                return None
            raise AssertionError(f"{name} answers where the oracle refuses: {refusal}") from refusal
        got = getattr(self.got, name)(*args)
        if isinstance(expected, np.ndarray):
            assert_array(got, expected, name)
        elif isinstance(expected, tuple):
            assert_same(got, expected)
        elif isinstance(expected, dict):
            assert list(got) == list(expected), f"{name}: {list(got)} instead of {list(expected)}"
            for key, record in expected.items():
                assert_same(got[key], record)
        else:
            assert got == expected, f"{name}: {got} instead of {expected}"
        assert_array(self.got.used, self.expected.used, f"used after {name}")
        assert_array(self.got.first_bin, self.expected.first_bin, f"first_bin after {name}")
        return expected


def resident_store(backend: Backend, draws: Draws, size: Size) -> None:
    """Any sequence of what the engine does; every answer and every refusal alike, and all arrays at the end."""
    pair, rules = opened(backend, draws, size)
    markets, tiers = len(rules), rules[0].multiplier.shape[3]
    first_bins = builders.first_bins(size, pair.expected.bins)
    for _ in range(draws.integers(1, 6)):
        market = draws.integers(0, markets - 1)
        deed = draws.sampled(LIFE)
        if deed == "apply":
            pair.both("apply", builders.updates(draws, gathered(pair.expected), stacked(rules), size))
        elif deed == "refresh":
            pair.both("refresh")
        elif deed == "read":
            read(pair, draws, rules)
        elif deed == "window":
            pair.both("move_window", subset(draws, markets), first_bin_of(draws, first_bins))
        elif deed == "rules":
            rules[market] = grown(builders.rule_tables(draws, 1, tiers), pair.expected.cohorts(market))
            pair.both("set_rules", market, rules[market])
        elif deed == "ages":
            pair.both("set_freshness", builders.freshness(draws))
        elif deed == "spread":
            near = draws.sampled((500, 0, 1 << 16, 65_537))
            pair.both("set_spread", subset(draws, markets), draws.sampled((128, 0, 256, 257, 1)), near)
        elif deed == "compact":
            now = draws.sampled((NOW, 0, 1 << 33))
            pair.both("compact", market, now, builders.ladder(draws), draws.sampled((0, 1, 21)))
        elif deed == "thin":
            thin(pair, draws, rules, market)
        else:
            replace(pair, draws, size, rules, market)
    read(pair, draws, rules)
    pair.both("refresh")
    read(pair, draws, rules)
    everything = np.arange(markets, dtype=np.int32)
    for weighted in (False, True):
        assert pair.both("totals", everything, weighted) is not None, "the oracle refuses rows that were just rebuilt"
    for market in range(markets):
        pair.both("cohorts", market)


def opened(backend: Backend, draws: Draws, size: Size) -> tuple[Pair, list[Rules]]:
    """Two stores with the same cohorts, up to date, and the rules of each market."""
    markets, capacity = draws.integers(1, size.markets), draws.sampled(size.capacity)
    tiers, bins = draws.sampled(size.tiers), draws.sampled(size.bins)
    pair = Pair(
        ORACLE.open_store(markets, capacity, tiers, bins),
        backend.open_store(markets, capacity, tiers, bins),
    )
    rules = [builders.rule_tables(draws, 1, tiers) for _ in range(markets)]
    for market in range(markets):
        pair.both("set_rules", market, rules[market])
    pair.both("set_freshness", builders.freshness(draws))
    first_bin = first_bin_of(draws, builders.first_bins(size, bins))
    pair.both("move_window", np.arange(markets, dtype=np.int32), first_bin)
    for market in range(markets):
        replace(pair, draws, size, rules, market)
    pair.both("refresh")
    return pair, rules


def first_bin_of(draws: Draws, first_bins: Numbers) -> int:
    """Where windows begin: within the bins that prices have, so that cents fit."""
    return min(int(draws.array(first_bins, 1, np.int64)[0]), 1 << 22)


def grown(rules: Rules, cohorts: Cohorts) -> Rules:
    """``rules`` that offer every tier that is alive."""
    return rules._replace(tiers=np.maximum(rules.tiers, cohorts.live_tiers.max(initial=1)).astype(np.uint8))


def replace(pair: Pair, draws: Draws, size: Size, rules: list[Rules], market: int) -> None:
    """Give a market other cohorts; the store that holds them may have spare slots."""
    cohorts = builders.store(draws, rules[market], size._replace(capacity=(pair.expected.capacity,)))
    if draws.sampled((True, False)):
        used = slots_in_use(cohorts, 0)
        cohorts = Cohorts(
            np.array([0, used.stop]), cohorts.used, *(np.ascontiguousarray(field[..., used]) for field in cohorts[2:])
        )
    pair.both("replace", market, cohorts)


def thin(pair: Pair, draws: Draws, rules: list[Rules], source: int) -> None:
    """Show a part of a market's cohorts in another market, or in its own place; more than all of them is refused."""
    target = draws.integers(0, len(rules) - 1)
    rules[target] = grown(rules[source], pair.expected.cohorts(target))
    pair.both("set_rules", target, rules[target])
    alive = pair.expected.cohorts(source).lots.sum(1, dtype=np.uint64)
    parts = [draws.sampled((0, 1, 2, 3, 4)) for _ in range(2)]
    lots = np.array([int(n) * part // 3 for n, part in zip(alive, parts, strict=True)], np.uint64)
    pair.both("thin", source, target, lots)


def gathered(store: ResidentStore) -> Cohorts:
    """Every market's cohorts, as one store with its spare slots."""
    markets = len(store.used)
    cohorts = builders.empty_store([store.capacity] * markets)
    for market in range(markets):
        own = store.cohorts(market)
        cohorts.used[market] = own.used[0]
        for field, values in zip(cohorts[2:], own[2:], strict=True):
            field[..., slots_in_use(cohorts, market)] = values
    return cohorts


def stacked(rules: list[Rules]) -> Rules:
    """The tables of all markets as one record."""
    return Rules(*(np.concatenate(fields) for fields in zip(*rules, strict=True)))


def read(pair: Pair, draws: Draws, rules: list[Rules]) -> None:
    """Ask for everything there is to see; what is stale is refused by both."""
    store = pair.expected
    markets = draws.array(Numbers(((0, len(rules) - 1),)), draws.integers(1, 3), np.int32)
    weighted = draws.sampled((False, True))
    pair.both("totals", markets, weighted)
    pair.both("leverage_grid", markets, weighted)
    first = draws.array(Numbers(((0, 3), (1990, 2000))), len(markets), np.uint32)
    pair.both("leverage_grid", markets, weighted, Window(first, draws.sampled((store.bins, 7))))
    money, rule = builders.notional(draws, len(markets)), builders.cluster_rule(draws)
    pair.both("profiles", markets, builders.groups(draws, len(markets)), money, rule)
    pair.both("cohorts", int(markets[0]))
    for tiers in (None, subset(draws, rules[0].multiplier.shape[3])):
        pair.both("render", view(draws, store, tiers))


def view(draws: Draws, store: ResidentStore, tiers: I32 | None) -> View:
    """Any rows of the markets that share a window, in any part of it."""
    market = draws.integers(0, len(store.used) - 1)
    together = np.flatnonzero(store.first_bin == store.first_bin[market]).astype(np.int32)
    shape = len(together), 2, 1 if tiers is None else len(tiers)
    outputs = draws.integers(1, 3)
    target = draws.array(Numbers(((-1, outputs - 1),)), math.prod(shape), np.int32).reshape(shape)
    high = draws.integers(1, store.bins)
    low = draws.integers(0, high - 1)
    money = builders.notional(draws, len(together))
    return View(together, tiers, draws.sampled((False, True)), money, target, outputs, low, high)
