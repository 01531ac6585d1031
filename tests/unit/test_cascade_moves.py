"""What counts as a cascade: how far, how fast, how much was liquidated, and when it began and ended."""

from __future__ import annotations

import numpy as np
import pytest

from forcedmove_kernels.fixed_point import LONG, SHORT
from forcedmove_server.engine.clusters.cascades import CascadeRule, Move, SideMoves, levels_reached
from forcedmove_server.engine.clusters.observed import Seen, released

S = 10**9
RULE = CascadeRule(window_ns=300 * S, move=0.005, sigmas=4.0, released=0.003)
QUIET = 0.001  # daily volatility at which the fixed move decides


def seen(
    at_s: float,
    mark: float,
    low: float | None = None,
    high: float | None = None,
    interest: tuple[float, float] = (1_000.0, 1_000.0),
    told: tuple[float, float] = (0.0, 0.0),
) -> Seen:
    """Two markets of which the first tells every liquidation; ``told`` is of the liquidated side of both."""
    return Seen(
        time_ns=round(at_s * S),
        mark_usd=mark,
        low_usd=mark if low is None else low,
        high_usd=mark if high is None else high,
        quantity=np.array(interest),
        usd=np.array([100.0, 100.0]),
        interest_ns=np.array([at_s * S, at_s * S], np.int64),
        liquidated=np.array([[told[0]] * 2, [told[1]] * 2]),
        complete=np.array([True, False]),
    )


def play(moves: SideMoves, story: list[Seen], volatility: float = QUIET) -> list[Move]:
    ended = (moves.take(moment, volatility, (99.2, 98.5, 97.0), 0.1) for moment in story)
    return [move for move in ended if move is not None]


def fall(side: int = LONG, told: float = 900.0, size: float = 1.0) -> list[Seen]:
    """A minute of calm, then a fall of two per cent from second 60 on, then calm; mirrored for shorts."""
    way = 1 if side == LONG else -1

    def at(second: int) -> float:
        if second < 60:
            return 100.0
        return 100.0 - way * size * min((second - 59) * 0.5, 2.0)

    return [seen(s, at(s), told=(told * (s >= 60), 0.0)) for s in range(200)]


@pytest.mark.parametrize("side", [LONG, SHORT])
def test_a_cascade_has_a_beginning_a_floor_and_an_end(side: int) -> None:
    (move,) = play(SideMoves(side, RULE), fall(side))
    assert move.cascade
    assert move.began_ns == 60 * S
    assert move.floor_usd == (98.0 if side == LONG else 102.0)
    assert move.floor_ns == 63 * S
    assert move.ended_ns == (63 + 60) * S
    assert move.released.liquidated == move.released.total == 900.0
    assert move.levels == (2 if side == LONG else 3)


def test_a_fall_that_liquidates_too_little_is_a_move_and_nothing_more() -> None:
    (move,) = play(SideMoves(LONG, RULE), fall(told=500.0))  # of 200 000 USD, .25 %
    assert not move.cascade
    assert move.floor_usd == 98.0


def test_a_fall_that_is_too_small_or_too_slow_is_nothing() -> None:
    assert play(SideMoves(LONG, RULE), fall(size=0.2)) == []
    slow = [seen(s, 100 - s * 0.0015) for s in range(0, 3_000, 5)]
    assert play(SideMoves(LONG, RULE), slow) == []


def test_a_wild_market_has_to_move_further() -> None:
    assert play(SideMoves(LONG, RULE), fall(), volatility=0.10) == []  # four sigmas of five minutes are 2.4 %
    assert play(SideMoves(LONG, RULE), fall(), volatility=0.05)


def test_it_begins_at_the_latest_observation_from_which_it_fell_far_enough() -> None:
    """A slow drift before does not belong to it."""
    drift = [seen(s, 100 - s * 0.001) for s in range(200)]
    crash = [seen(200 + k, 99.8 - 0.6 * (k + 1), told=(900.0, 0.0)) for k in range(3)]
    after = [seen(203 + k, 98.0, told=(900.0, 0.0)) for k in range(70)]
    (move,) = play(SideMoves(LONG, RULE), [*drift, *crash, *after])
    assert move.began_ns == 200 * S


def test_it_goes_on_while_there_are_new_lows_and_waits_for_open_interest() -> None:
    story = [seen(s, 100.0) for s in range(10)]
    story += [seen(10 + 30 * k, 99.0 - k, told=(900.0, 0.0)) for k in range(4)]
    late = [seen(130 + k, 96.0, told=(900.0, 0.0)) for k in range(100)]
    moves = SideMoves(LONG, RULE)
    (move,) = play(moves, [*story, *late])
    assert (move.floor_usd, move.floor_ns, move.ended_ns) == (96.0, 100 * S, 160 * S)
    blind = [
        Seen(*(getattr(m, f) if f != "interest_ns" else np.zeros(2, np.int64) for f in Seen.__slots__)) for m in late
    ]
    unseen = SideMoves(LONG, RULE)
    assert play(unseen, [*story, *blind]) == []
    assert unseen.running


def test_a_wick_between_ticks_counts_for_the_floor() -> None:
    story = [
        seen(0, 100.0),
        seen(1, 99.5, low=97.0, told=(900.0, 0.0)),
        *(seen(s, 99.5, told=(900.0, 0.0)) for s in range(2, 80)),
    ]
    (move,) = play(SideMoves(LONG, RULE), story)
    assert (move.began_ns, move.floor_usd) == (1 * S, 97.0)


def test_coarse_ticks_of_a_fast_replay_are_held_against_their_own_length() -> None:
    hours = [seen(3_600 * k, 100.0 - 2.0 * (k >= 3), told=(900.0 * (k >= 3), 0.0)) for k in range(6)]
    assert play(SideMoves(LONG, RULE), hours, volatility=0.05) == []  # four sigmas of an hour are 4 %
    (move,) = play(SideMoves(LONG, RULE), hours)
    assert move.began_ns == 3 * 3_600 * S


def test_what_left_is_counted_market_by_market() -> None:
    before = seen(0, 100.0, told=(50.0, 10.0))
    after = seen(60, 98.0, interest=(900.0, 970.0), told=(250.0, 1_010.0))
    left = released(before, after, LONG)
    assert left.liquidated == 200.0 + 1_000.0
    assert left.released == 100 * 100 + 30 * 100
    assert left.total == 200.0 + 3_000.0  # complete as told; elsewhere the larger of 1 000 told and 3 000 that left
    assert left.interest == 200_000.0


def test_a_level_is_reached_when_its_bin_is_entered() -> None:
    assert levels_reached((99.0, 98.0), 99.05, LONG, 0.1) == 1
    assert levels_reached((99.0, 98.0), 99.1, LONG, 0.1) == 0
    assert levels_reached((101.0, 102.0), 101.0, SHORT, 0.1) == 1
