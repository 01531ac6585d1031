"""Which markets count as fresh: what collectors say of their feeds, and where nobody says, the age of what came."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from forcedmove_server.config import ModelConfig
from forcedmove_server.engine.feed_states import FeedStates
from forcedmove_server.inference.markets import MarketTable
from forcedmove_server.market.events import FEED_STATE, Channel
from forcedmove_server.market.instruments import InstrumentRegistry

S = 10**9
MARKS, TRADES, INTEREST = Channel.MARK_PRICES, Channel.TRADES, Channel.OPEN_INTEREST


@dataclasses.dataclass
class Told:
    """Two markets whose price and open interest came at second 1000; the second one is never spoken of."""

    table: MarketTable
    states: FeedStates

    def tell(self, second: float, channel: Channel, live: bool) -> None:
        row = (round(second * S), 0, int(channel), int(live), 0)
        self.states.take(np.array([row], FEED_STATE))

    def fresh(self, second: float) -> list[bool]:
        return self.states.fresh([0, 1], round(second * S)).tolist()

    def priced(self, second: float) -> None:
        self.table.price_ns[0] = round(second * S)


@pytest.fixture
def told() -> Told:
    table = MarketTable(InstrumentRegistry(), 2)
    table.price_ns[:] = table.open_interest_ns[:] = 1000 * S
    return Told(table, FeedStates(table, ModelConfig(stale_after_s=600, lost_after_s=30.0)))


def test_where_nobody_tells_ages_decide(told: Told) -> None:
    assert told.fresh(1600) == [True, True]
    assert told.fresh(1600.001) == [False, False]
    told.table.open_interest_ns[1] = told.table.price_ns[1] = 1500 * S
    assert told.fresh(1601) == [False, True]


def test_what_has_never_come_is_not_fresh_though_its_feed_is_live(told: Told) -> None:
    told.tell(1000, MARKS, True)
    told.tell(1000, INTEREST, True)
    told.table.open_interest_ns[0] = -1
    assert told.fresh(1001) == [False, True]


def test_a_dead_feed_of_prices_is_left_out_after_half_a_minute(told: Told) -> None:
    told.tell(1000, MARKS, True)
    told.tell(1000, INTEREST, True)
    told.tell(1010, MARKS, False)
    assert told.fresh(1040) == [True, True]
    assert told.fresh(1040.001) == [False, True]
    told.tell(1041, MARKS, True)
    assert told.fresh(1041) == [True, True]


def test_trades_keep_a_price_alive_and_the_last_loss_counts(told: Told) -> None:
    told.tell(1000, MARKS, True)
    told.tell(1000, TRADES, True)
    told.tell(1010, MARKS, False)
    told.priced(1100)
    assert told.fresh(1100)[0]
    told.tell(1100, TRADES, False)
    assert told.fresh(1130)[0]
    assert not told.fresh(1131)[0]


def test_a_live_feed_does_not_make_an_old_price_a_new_one(told: Told) -> None:
    told.tell(1000, MARKS, True)
    assert told.fresh(1090)[0]
    assert not told.fresh(1090.001)[0], "marks never pause for three times as long as they may be lost"
    assert told.fresh(1600)[1], "where nobody tells of marks, as in recorded files, they may"


def test_a_market_that_was_given_up_is_gone_after_an_hour(told: Told) -> None:
    told.tell(1000, MARKS, True)
    told.tell(1000, INTEREST, True)
    told.tell(1010, MARKS, False)
    assert told.states.gone([0, 1], 9000 * S).tolist() == [False, False], "its open interest is still fed"
    told.tell(1010, INTEREST, False)
    assert told.states.gone([0, 1], 4610 * S).tolist() == [False, False]
    assert told.states.gone([0, 1], 4611 * S).tolist() == [True, False]
    told.tell(9000, MARKS, True)
    assert told.states.gone([0, 1], 9000 * S).tolist() == [False, False]


def test_open_interest_that_comes_when_it_changes_does_not_grow_stale_while_its_feed_is_live(told: Told) -> None:
    told.tell(1000, MARKS, True)
    told.tell(1000, INTEREST, True)
    told.priced(9000)
    assert told.fresh(9000)[0], "unchanged for more than two hours"
    told.tell(9000, INTEREST, False)
    told.priced(9600)
    assert told.fresh(9600)[0], "it moves slowly: as old as its loss"
    assert not told.fresh(9601)[0]


def test_the_newest_of_several_states_in_one_batch_counts(told: Told) -> None:
    rows = [(1000 * S, 0, int(MARKS), 1, 0), (1001 * S, 0, int(MARKS), 0, 0), (1002 * S, 0, int(MARKS), 1, 0)]
    told.states.take(np.array(rows, FEED_STATE))
    told.priced(1500)
    assert told.fresh(1500)[0]
