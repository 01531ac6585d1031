"""The state machine of armed chains: conditions, hysteresis, rungs, and the order of events whatever happens."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forcedmove_kernels.fixed_point import LONG, SHORT
from forcedmove_server.config import ArmingConfig
from forcedmove_server.engine.clusters.arming import Candidate, Change, SideArming, shortfall
from forcedmove_server.engine.clusters.events import EventKind
from forcedmove_server.engine.clusters.tracking import Track
from forcedmove_server.engine.frames import ChainInfo, LevelInfo

S = 10**9
CONFIG = ArmingConfig(dwell_s=10, leave_dwell_s=60, horizon_s=3_600)
MARK = 100.0


def candidate(
    cluster: int = 1, distance: float = 0.015, levels: int = 4, usd: float = 80e6, venues: int = 3, end: float = 0.96
) -> Candidate:
    edge = MARK * (1 - distance)
    names = tuple(f"venue {k}" for k in range(venues))
    level = LevelInfo(edge, usd / max(levels, 1), names, usd, edge * end)
    chain = ChainInfo("long", MARK, edge, (level,) * levels, usd, edge * end, 3.0, False)
    return Candidate(Track(cluster, 10, 12, 11, 10**9, 0, 0, True), edge, distance, chain)


class Machine:
    """Feeds a machine second by second and remembers what it told."""

    def __init__(self, side: int = LONG, config: ArmingConfig = CONFIG) -> None:
        self.arming = SideArming(side, config)
        self.now_s = 0
        self.told: list[Change] = []

    def run(
        self, seconds: int, *candidates: Candidate, low: float = MARK, high: float = MARK, volume: float | None = None
    ) -> None:
        for _ in range(seconds):
            self.now_s += 1
            self.told += self.arming.step(self.now_s * S, low, high, candidates, {}, volume)

    @property
    def kinds(self) -> list[str]:
        return [str(change.kind) for change in self.told]


def test_it_is_armed_once_the_conditions_have_held_for_the_dwell() -> None:
    machine = Machine()
    machine.run(10, candidate())
    assert machine.kinds == []
    machine.run(1, candidate())
    assert machine.kinds == ["armed"]
    assert machine.told[0].arm.at_ns == 11 * S


def test_each_condition_counts() -> None:
    for missed, words in (
        (candidate(distance=0.021), "2.10% away"),
        (candidate(levels=2), "fires 2 levels"),
        (candidate(usd=49e6), "$49,000,000"),
        (candidate(venues=1), "1 venues"),
        (candidate(end=0.997), "carries the mark 0.30%"),
    ):
        assert words in shortfall(CONFIG, missed, None)
        machine = Machine()
        machine.run(30, missed)
        assert machine.kinds == []
    assert shortfall(CONFIG, candidate(), None) == ""


def test_a_small_symbol_is_measured_by_its_own_volume() -> None:
    small = candidate(usd=2e6)
    assert shortfall(CONFIG, small, None)
    assert not shortfall(CONFIG, small, 150e6)  # 1 % of what is traded in a day


def test_conditions_are_left_further_out_than_they_are_entered() -> None:
    machine = Machine()
    machine.run(11, candidate())
    machine.run(200, candidate(distance=0.024, usd=45e6))  # between the thresholds
    assert machine.kinds == ["armed"]
    machine.run(60, candidate(distance=0.026))
    assert machine.kinds == ["armed"]
    machine.run(1, candidate(distance=0.026))
    assert machine.kinds == ["armed", "disarmed"]
    assert "2.60% away" in machine.told[-1].reason


@pytest.mark.parametrize(
    ("least", "slack", "left"), [(4, 1.25, 2), (8, 1.25, 5), (5, 1.25, 3), (10, 3.0, 2), (4, 1.0, 3)]
)
def test_counts_are_left_at_least_one_below_where_they_are_entered(least: int, slack: float, left: int) -> None:
    """``left`` is the largest count that misses: a level less is no miss at any factor above 1."""
    config = dataclasses.replace(CONFIG, min_levels=least, min_venues=least)
    for count in range(1, 2 * least):
        levels = shortfall(config, candidate(levels=count, venues=least), None, slack)
        venues = shortfall(config, candidate(levels=least, venues=count), None, slack)
        assert levels == (f"fires {count} levels" if count <= left else "")
        assert venues == (f"fires on {count} venues" if count <= left else "")


def test_no_factor_makes_a_chain_of_nothing_hold() -> None:
    config = dataclasses.replace(CONFIG, min_levels=1, min_venues=1, min_notional_usd=0.0)
    assert shortfall(config, candidate(levels=0), None, 10.0) == "fires 0 levels"


def test_an_armed_chain_that_loses_a_level_stays_armed() -> None:
    machine = Machine()
    machine.run(11, candidate(levels=4))
    machine.run(200, candidate(levels=3))
    assert machine.kinds == ["armed"]
    machine.run(61, candidate(levels=2))
    assert machine.kinds == ["armed", "disarmed"]


@given(st.lists(st.booleans(), max_size=300))
def test_a_chain_on_the_brink_does_not_flap(tips: list[bool]) -> None:
    """It alternates between four levels and one: it stays armed unless it is missed for a minute in a row."""
    machine = Machine()
    machine.run(11, candidate())
    missed = 0
    for tip in tips:
        machine.run(1, candidate(levels=4 if tip else 1))
        missed = 0 if tip else missed + 1
        if missed > 60:
            break
        assert machine.kinds == ["armed"]


def test_it_escalates_by_rungs_and_only_upwards() -> None:
    machine = Machine()
    machine.run(11, candidate())
    for _ in range(3):
        machine.run(5, candidate(usd=121e6, levels=5))
        machine.run(5, candidate(usd=70e6))
    assert machine.kinds == ["armed", "escalated"]
    assert machine.told[1].reason == "notional $80,000,000 to $121,000,000"
    machine.run(1, candidate(distance=0.009, levels=8))
    assert machine.told[-1].reason == "levels 5 to 8; distance 1.50% to 0.90%"


def test_the_mark_that_reaches_the_edge_triggers_it_on_either_side() -> None:
    machine = Machine()
    machine.run(11, candidate())
    machine.run(1, candidate(), low=98.5)  # exactly the edge: the bin above it
    assert machine.kinds == ["armed"]
    machine.run(1, low=98.49)
    assert machine.kinds == ["armed", "triggered"]
    machine.run(500, candidate(cluster=2))  # nothing new until it is resolved
    assert machine.kinds == ["armed", "triggered"]
    assert machine.arming.resolve("over").kind is EventKind.RESOLVED
    machine.run(11, candidate(cluster=2))
    assert machine.kinds[-1] == "armed"
    short = Machine(SHORT)
    short.run(11, candidate())
    short.run(1, high=98.5)
    assert short.kinds == ["armed", "triggered"]


def test_it_expires_and_the_same_cluster_has_to_leave_first() -> None:
    machine = Machine()
    machine.run(11 + 3_600, candidate())
    assert machine.kinds == ["armed", "expired"]
    machine.run(500, candidate())
    assert machine.kinds == ["armed", "expired"]
    machine.run(61, candidate(levels=1))
    machine.run(11, candidate())
    assert machine.kinds == ["armed", "expired", "armed"]


def test_what_has_expired_stays_so_in_the_cluster_that_it_ends_in() -> None:
    machine = Machine()
    machine.run(11 + 3_600, candidate(cluster=1))
    assert machine.kinds == ["armed", "expired"]
    machine.now_s += 1
    machine.told += machine.arming.step(machine.now_s * S, MARK, MARK, [candidate(cluster=7)], {1: 7}, None)
    machine.run(500, candidate(cluster=7))
    assert machine.kinds == ["armed", "expired"]
    machine.run(61, candidate(cluster=7, levels=1))
    machine.run(11, candidate(cluster=7))
    assert machine.kinds == ["armed", "expired", "armed"]


def test_an_arm_follows_its_cluster_into_another() -> None:
    machine = Machine()
    machine.run(11, candidate(cluster=1))
    machine.told += machine.arming.step(12 * S, MARK, MARK, [candidate(cluster=7)], {1: 7}, None)
    machine.now_s = 12
    machine.run(300, candidate(cluster=7))
    assert machine.kinds == ["armed"]
    assert machine.arming.arm is not None
    assert machine.arming.arm.cluster == 7
    machine.run(61, candidate(cluster=8))
    assert machine.kinds == ["armed", "disarmed"]
    assert machine.told[-1].reason == "its cluster is gone"


MOMENTS = st.lists(
    st.tuples(
        st.integers(1, 900),
        st.floats(0.9, 1.1),
        st.lists(
            st.builds(
                candidate,
                cluster=st.integers(1, 3),
                distance=st.floats(0.0, 0.04),
                levels=st.integers(0, 8),
                usd=st.floats(1e6, 3e8),
                venues=st.integers(1, 4),
            ),
            max_size=3,
        ),
        st.booleans(),
    ),
    max_size=60,
)
#: what may follow what within one arm
AFTER = {
    None: {"armed"},
    "armed": {"escalated", "triggered", "disarmed", "expired"},
    "escalated": {"escalated", "triggered", "disarmed", "expired"},
    "triggered": {"resolved"},
}


@given(MOMENTS, st.sampled_from([LONG, SHORT]))
def test_events_come_in_order_whatever_happens(
    moments: list[tuple[int, float, list[Candidate], bool]], side: int
) -> None:
    machine = Machine(side)
    last: str | None = None
    for seconds, move, candidates, resolve in moments:
        machine.now_s += seconds
        extremes = MARK * min(move, 1.0), MARK * max(move, 1.0)
        told = machine.arming.step(machine.now_s * S, *extremes, candidates, {}, None)
        arm = machine.arming.arm
        if resolve and arm is not None and arm.triggered_ns is not None:
            told = [*told, machine.arming.resolve("over")]
        for change in told:
            kind = str(change.kind)
            assert kind in AFTER[last]
            last = None if kind in ("disarmed", "expired", "resolved") else kind
            assert change.reason
    assert (machine.arming.arm is None) == (last is None)
