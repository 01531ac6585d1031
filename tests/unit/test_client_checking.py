"""What the checker of streams takes for a broken promise."""

from __future__ import annotations

from typing import Any, cast

import pytest

from forcedmove.v1 import heatmap_pb2
from forcedmove_client.checking import StreamChecker
from forcedmove_client.frames import MapFrame
from forcedmove_client.requests import stays


class FrameOf:
    """As much of a MapFrame as is checked."""

    def __init__(self, symbol: str, seq: int, epoch: int = 1) -> None:
        self.symbol, self.seq, self.epoch = symbol, seq, epoch


class Checked(StreamChecker):
    """A checker that is told in short."""

    def __init__(self, delivery: heatmap_pb2.Delivery.ValueType = heatmap_pb2.DELIVERY_LATEST, **wants: Any) -> None:
        super().__init__()
        self.id = self.last = 0
        self.wants = {"delivery": delivery, **wants}
        self.opened()
        self.ask()

    def ask(self, **resume: int) -> None:
        self.id += 1
        wanted = heatmap_pb2.Subscription(resume_epoch=1, resume_seq=resume, **self.wants)
        self.requested(heatmap_pb2.SubscribeRequest(request_id=self.id, subscription=wanted))
        self.received(heatmap_pb2.SubscribeResponse(request_id=self.id, terms=heatmap_pb2.Terms()))

    def get(self, skipped: int = 0, *, request_id: int = 0, **seqs: int) -> None:
        self.last += 1
        response = heatmap_pb2.SubscribeResponse(
            request_id=request_id or self.id, number=self.last, skipped_frames=skipped
        )
        for symbol, seq in seqs.items():
            response.frames.add(symbol=symbol, seq=seq)
        self.received(response)
        if response.request_id == self.id:
            for symbol, seq in seqs.items():
                self.applied(cast(MapFrame, FrameOf(symbol, seq)))


def test_what_is_told_and_what_is_missing_agree() -> None:
    checked = Checked()
    checked.get(BTC=1, ETH=1)
    checked.get(BTC=2, ETH=2)
    checked.get(5, BTC=5, ETH=6)
    checked.get(BTC=6, ETH=7)
    assert (checked.problems, checked.gaps, checked.skipped) == ([], 5, 5)


def test_what_one_response_tells_may_be_missing_before_frames_of_the_next() -> None:
    checked = Checked()
    checked.get(A=1, B=1, C=1)
    checked.get(3, A=2)
    checked.get(B=3)
    checked.get(C=4)
    checked.get(A=3, B=4, C=5)
    assert checked.problems == []


@pytest.mark.parametrize("before", [0, 7])
def test_too_much_told_elsewhere_does_not_make_up_for_silence(before: int) -> None:
    checked = Checked()
    checked.get(BTC=1)
    checked.get(before, BTC=2)
    checked.get(BTC=3)
    checked.problems.clear()
    checked.get(BTC=6)
    assert checked.problems == ["BTC: frames 4 to 5 were skipped and not told"]


def test_too_much_told_is_told() -> None:
    checked = Checked()
    checked.get(BTC=1, ETH=1)
    checked.get(4, BTC=4)
    assert checked.problems == []  # ETH may follow
    checked.get(BTC=5)
    assert checked.problems == ["response 2 told of 2 skipped frames more than are missing"]
    checked.get(2, ETH=2)
    checked.get(1, ETH=4)
    assert checked.problems[1:] == ["response 4 told of 2 skipped frames more than are missing"]


def test_what_is_told_for_a_request_that_was_replaced_is_counted_again() -> None:
    checked = Checked()
    checked.get(BTC=1)
    checked.ask(BTC=1)
    checked.get(3, request_id=1, BTC=5)
    checked.get(6, BTC=8)
    checked.get(BTC=9)
    assert checked.problems == []
    checked.ask(BTC=9)
    checked.get(3, request_id=2, BTC=13)
    checked.get(BTC=13)
    assert checked.problems == ["BTC: frames 10 to 12 were skipped and not told"]


def test_every_frame_means_every_frame() -> None:
    checked = Checked(heatmap_pb2.DELIVERY_EVERY)
    checked.get(BTC=1)
    checked.get(1, BTC=3)
    assert checked.problems == [
        "response 2 tells of 1 skipped frames; none may be",
        "BTC: frames 2 to 2 are missing",
    ]


def test_what_a_rate_leaves_out_is_not_missing() -> None:
    checked = Checked(max_rate_hz=2.0)
    checked.get(BTC=1)
    checked.get(BTC=9)
    assert checked.problems == []


def test_a_narrower_window_holds_from_its_own_responses_on() -> None:
    checked = Checked(max_unacked=3)
    for seq in (1, 2, 3):
        checked.get(BTC=seq)
    checked.wants["max_unacked"] = 1
    checked.ask(BTC=3)
    checked.get(request_id=1, BTC=4)
    assert checked.problems == []
    checked.get(BTC=4)
    assert checked.problems == ["with response 5 5 are unacknowledged, not 1"]


@pytest.mark.parametrize("before", [0, 3])
def test_what_came_while_no_window_was_asked_for_is_not_counted(before: int) -> None:
    checked = Checked(max_unacked=before)
    for window in (0, 1):
        checked.wants["max_unacked"] = window
        checked.ask(BTC=1)
    for request_id in (1, 2, 2, 2):
        checked.get(request_id=request_id, BTC=2)
    checked.get(BTC=2)
    assert checked.problems == []
    checked.get(BTC=3)
    assert checked.problems == ["with response 6 2 are unacknowledged, not 1"]


@pytest.mark.parametrize(
    ("symbol", "before", "now", "stay"),
    [
        ("BTC", ["BTC"], ["BTC", "ETH"], True),
        ("BTC", ["BTC", "ETH"], ["ETH"], False),
        ("BTC", [], ["BTC"], True),
        ("BTC", [], ["ETH"], False),
        ("BTC", ["BTC"], [], True),
        ("BTC", ["binance:BTCUSDT"], ["binance:BTCUSDT", "ETH"], True),
        ("BTC", ["binance:BTCUSDT"], ["ETH"], False),
        ("ETH", ["binance:BTCUSDT", "ETH"], ["binance:BTCUSDT"], False),
    ],
)
def test_which_symbols_stay(symbol: str, before: list[str], now: list[str], stay: bool) -> None:
    assert stays(symbol, before, now) is stay
