"""Hypothesis strategies for everything kernels read: the builders of this folder, drawn so that they shrink."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from forcedmove_kernels.arrays import U64, Cohorts, Freshness, Notional, Rules, Updates, Window
from tests.parity import books as book_builders
from tests.parity import builders
from tests.parity.builders import CAPACITY, LADDERS, NOW, SMALL, World, bounded
from tests.parity.compare import POISON, all_rows, assert_same, copy, poisoned, poisoned_standing
from tests.parity.draws import Numbers

__all__ = [
    "CAPACITY",
    "NOW",
    "POISON",
    "HypothesisDraws",
    "World",
    "all_rows",
    "amounts",
    "array",
    "assert_same",
    "books",
    "bounded",
    "copy",
    "crowds",
    "freshness_tables",
    "ladders",
    "multipliers",
    "notionals",
    "poisoned",
    "poisoned_standing",
    "prices",
    "quantities",
    "rule_tables",
    "stores",
    "times",
    "updates",
    "windows",
    "worlds",
]
T = TypeVar("T")


@cache
def strategy(numbers: Numbers) -> st.SearchStrategy[Any]:
    """What draws one of ``numbers``."""
    spans = [st.integers(*span) for span in numbers.spans]
    return st.one_of(*spans, st.sampled_from(numbers.points)) if numbers.points else st.one_of(*spans)


class HypothesisDraws:
    """:class:`tests.parity.draws.Draws` whose choices Hypothesis makes, remembers and shrinks."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self.draw = draw

    def integers(self, low: int, high: int) -> int:
        number: int = self.draw(st.integers(low, high))
        return number

    def sampled(self, options: Sequence[T]) -> T:
        option: T = self.draw(st.sampled_from(options))
        return option

    def permutation(self, size: int) -> list[int]:
        order: list[int] = self.draw(st.permutations(range(size)))
        return order

    def array(self, numbers: Numbers, size: int, dtype: Any) -> NDArray[Any]:
        return array(self.draw, strategy(numbers), size, dtype)


def array(
    draw: Callable[[st.SearchStrategy[Any]], Any], elements: st.SearchStrategy[Any], size: int, dtype: Any
) -> NDArray[Any]:
    """One-dimensional array of drawn elements."""
    return np.array(draw(st.lists(elements, min_size=size, max_size=size)), dtype)


prices = strategy(builders.prices_around(SMALL.centre))
quantities = strategy(builders.QUANTITIES)
multipliers = strategy(builders.MULTIPLIERS)
times = strategy(builders.TIMES)
amounts = strategy(book_builders.AMOUNTS)
ladders = st.sampled_from(LADDERS)


@st.composite
def rule_tables(draw: st.DrawFn, markets: int) -> Rules:
    draws = HypothesisDraws(draw)
    return builders.rule_tables(draws, markets, draws.sampled(SMALL.tiers))


@st.composite
def stores(draw: st.DrawFn, rules: Rules) -> Cohorts:
    return builders.store(HypothesisDraws(draw), rules)


@st.composite
def crowds(draw: st.DrawFn) -> Cohorts:
    return builders.crowd(HypothesisDraws(draw))


@st.composite
def windows(draw: st.DrawFn, markets: int) -> Window:
    return builders.window(HypothesisDraws(draw), markets)


@st.composite
def freshness_tables(draw: st.DrawFn) -> Freshness:
    return builders.freshness(HypothesisDraws(draw))


@st.composite
def worlds(draw: st.DrawFn) -> World:
    return builders.world(HypothesisDraws(draw))


@st.composite
def updates(draw: st.DrawFn, cohorts: Cohorts, rules: Rules | None = None) -> Updates:
    """With ``rules`` some extremes lie just at the liquidation prices of cohorts."""
    return builders.updates(HypothesisDraws(draw), cohorts, rules)


@st.composite
def notionals(draw: st.DrawFn, markets: int) -> Notional:
    return builders.notional(HypothesisDraws(draw), markets)


@st.composite
def books(draw: st.DrawFn) -> tuple[U64, U64, int]:
    """Notional, depth (any u64) and the mark's cell."""
    return book_builders.book(HypothesisDraws(draw))
