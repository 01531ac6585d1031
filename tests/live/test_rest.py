"""Polls: within the venue's limit, spread out, patient with failures, and changed while they run."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime

import aiohttp
import pytest
from aiohttp import web

from forcedmove_server.collectors import rest
from forcedmove_server.collectors.network import Addresses, Network, http_session
from forcedmove_server.collectors.records import Mark, Record
from forcedmove_server.collectors.rest import Poller, TooOftenError, fetch
from forcedmove_server.collectors.venue import Poll
from forcedmove_server.errors import MalformedMessage
from forcedmove_server.market.events import Channel
from tests.live.fake_venue import FakeVenue, encoded, venue_type
from tests.live.samples import BTC, NOW_NS
from tests.live.scripted import scripted
from tests.live.waiting import eventually, running

MARK = encoded(Mark(BTC, NOW_NS, 100.0))


class Told:
    """What the poller told, and when each path was called."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, str]] = []
        self.answers: list[tuple[Poll, list[Record]]] = []
        self.failures: list[tuple[Poll, str]] = []
        self.malformations: list[MalformedMessage] = []

    def answered(self, poll: Poll, records: Iterable[Record], received_ns: int) -> None:
        self.answers.append((poll, list(records)))

    def failed(self, poll: Poll, reason: str, now_ns: int) -> None:
        self.failures.append((poll, reason))

    def malformed(self, error: MalformedMessage) -> None:
        self.malformations.append(error)

    def times(self, path: str) -> list[float]:
        return [when for when, called in self.calls if called == path]


def poll(path: str = "/mark", interval_s: float = 0.05, **fields: object) -> Poll:
    return Poll(Channel.MARK_PRICES, f"https://fake.example{path}", interval_s=interval_s, **fields)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def polling(
    answer: Callable[[str, int], web.Response], *polls: Poll, venue: type[FakeVenue] = FakeVenue
) -> AsyncIterator[tuple[Told, Poller]]:
    """Run a poller against ``answer(path, how many calls so far)``."""
    told, counts = Told(), Counter[str]()

    async def handle(request: web.Request) -> web.Response:
        told.calls.append((time.monotonic(), request.path))
        counts[request.path] += 1
        return answer(request.path, counts[request.path])

    async with scripted(handle) as base, http_session() as session:
        poller = Poller(venue, {"BTCUSDT": BTC}, told, Network(session, Addresses({"fake.example": base})))
        poller.set_polls(polls)
        async with running(poller.run()):
            yield told, poller


def fine(path: str, count: int) -> web.Response:
    return web.Response(text=MARK)


async def test_an_answer_is_parsed_and_asked_for_again() -> None:
    async with polling(fine, poll()) as (told, _):
        await eventually(lambda: len(told.answers) >= 3, "three answers")
    assert all(records == [Mark(BTC, NOW_NS, 100.0)] for _, records in told.answers)
    assert not told.failures


async def test_polls_begin_spread_over_their_interval() -> None:
    """All at once would be a burst of hundreds of calls at every start, and again every interval."""
    polls = [poll(f"/{k}", interval_s=0.8) for k in range(8)]
    async with polling(fine, *polls) as (told, _):
        await eventually(lambda: len(told.answers) >= 8, "every poll once")
    firsts = sorted(told.times(f"/{k}")[0] for k in range(8))
    assert all(later - earlier > 0.05 for earlier, later in itertools.pairwise(firsts))


async def test_an_interval_has_jitter() -> None:
    """Calls that once met would meet for as long as the program runs, here and with every other copy of it."""
    polls = [poll(f"/{k}", interval_s=0.5) for k in range(20)]
    async with polling(fine, *polls) as (told, _):
        await eventually(lambda: len(told.calls) >= 44, "every poll twice")
    steps = [times[1] - times[0] for k in range(20) if len(times := told.times(f"/{k}")) > 1]
    assert statistics.pstdev(steps) > 0.02
    assert statistics.mean(steps) == pytest.approx(0.5, abs=0.1)


async def test_the_venue_s_limit_holds_whatever_is_wanted() -> None:
    slow = venue_type(rest_weight_per_s=20.0)
    polls = [poll(f"/{k}", interval_s=0.01, weight=2.0) for k in range(10)]
    async with polling(fine, *polls, venue=slow) as (told, _):
        await eventually(lambda: len(told.calls) >= 18, "18 calls")
    span = told.calls[17][0] - told.calls[0][0]
    spent, allowed = 18 * 2.0, 20.0 + 20.0 * (span + 0.05)
    assert spent <= allowed, "one second's worth at once, then the rate"


async def test_too_often_stops_every_call_for_as_long_as_the_venue_says() -> None:
    def answer(path: str, count: int) -> web.Response:
        if path == "/a" and count == 1:
            return web.Response(status=429, headers={"Retry-After": "1"})
        return fine(path, count)

    async with polling(answer, poll("/a"), poll("/b")) as (told, _):
        await eventually(lambda: len(told.times("/a")) >= 2, "it is asked again")
    refused_at = told.times("/a")[0]
    within = [path for when, path in told.calls if refused_at + 0.15 < when < refused_at + 0.9]
    assert within == []
    reasons = {poll.url: reason for poll, reason, *_ in told.failures}
    assert reasons["https://fake.example/a"] == "GET https://fake.example/a: asked too often (429), waiting 1 s"
    assert reasons["https://fake.example/b"] == "asked too often (429), waiting 1 s", "it is not asked either"


@pytest.mark.parametrize("status", [429, 418])
@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        ("7", 7.0),
        ("0", 1.0),
        ("1800", 1800.0),
        ("100000", 3600.0),
        ("9" * 400, 3600.0),
        (None, 10.0),
        ("", 10.0),
        ("-5", 10.0),
        ("1e3", 10.0),
        ("tomorrow", 10.0),
        ("Wed, 41 Oct 2026 07:28:00 GMT", 10.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 1680.0),
        ("Wednesday, 21-Oct-26 07:28:00 GMT", 1680.0),
        ("Wed Oct 21 07:28:00 2026", 1680.0),
        ("Wed, 21 Oct 2026 08:58:00 +0200", 1.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600.0),
    ],
)
async def test_how_long_a_venue_is_left_alone(
    header: str | None, wait_s: float, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime(2026, 10, 21, 7, 0, tzinfo=UTC).timestamp()

    async def handle(_: web.Request) -> web.Response:
        return web.Response(status=status, headers={} if header is None else {"Retry-After": header})

    async with scripted(handle) as base, http_session() as session:
        monkeypatch.setattr(rest.time, "time", lambda: now)
        with pytest.raises(TooOftenError) as raised:
            await fetch(Network(session, Addresses({"fake.example": base})), poll())
    assert raised.value.wait_s == wait_s


async def test_an_error_of_the_server_is_met_with_a_wait() -> None:
    def answer(path: str, count: int) -> web.Response:
        return web.Response(status=503) if count == 1 else fine(path, count)

    async with polling(answer, poll()) as (told, _):
        await eventually(lambda: len(told.answers) >= 1, "it recovers")
    assert len(told.failures) == 1
    assert "503" in told.failures[0][1]
    first, second = told.times("/mark")[:2]
    assert second - first >= 0.45, "the interval alone is a twentieth of a second"


async def test_an_answer_that_means_nothing_is_counted_and_asked_for_again() -> None:
    def answer(path: str, count: int) -> web.Response:
        return web.Response(text="<html>" if count == 1 else MARK)

    async with polling(answer, poll()) as (told, _):
        await eventually(lambda: len(told.answers) >= 1, "it recovers")
    assert len(told.malformations) == 1
    assert "cannot be read" in told.failures[0][1]


async def test_an_endless_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "MOST_BYTES", 10_000)

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            for _ in range(1_000):
                await response.write(b" " * 10_000)
        return response

    async with scripted(handle) as base, http_session() as session:
        with pytest.raises(aiohttp.ClientPayloadError, match="more than 10000 bytes"):
            await fetch(Network(session, Addresses({"fake.example": base})), poll())


async def test_an_answer_that_never_comes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "_TIMEOUT_S", 0.1)

    async def handle(_: web.Request) -> web.Response:
        await asyncio.sleep(5.0)
        return web.Response()

    async with scripted(handle) as base, http_session() as session:
        with pytest.raises(TimeoutError):
            await fetch(Network(session, Addresses({"fake.example": base})), poll())


async def test_a_call_with_a_body_sends_it_as_json() -> None:
    seen: list[tuple[str, str, str]] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append((request.method, request.content_type, await request.text()))
        return web.Response(text=MARK)

    async with scripted(handle) as base, http_session() as session:
        await fetch(Network(session, Addresses({"fake.example": base})), poll(method="POST", body='{"type":"x"}'))
    assert seen == [("POST", "application/json", '{"type":"x"}')]


async def test_polls_are_replaced_while_they_run() -> None:
    async with polling(fine, poll("/old"), poll("/both")) as (told, poller):
        await eventually(lambda: told.times("/old") and told.times("/both"), "both are asked for")
        poller.set_polls([poll("/both"), poll("/new")])
        await eventually(lambda: told.times("/new"), "the new one is asked for")
        await asyncio.sleep(0.06)  # what was under way ends
        olds, news = len(told.times("/old")), len(told.times("/new"))
        await eventually(lambda: len(told.times("/new")) >= news + 5, "the new one goes on")
        assert len(told.times("/old")) == olds


async def test_a_poll_that_goes_and_comes_back_is_not_made_twice_as_often() -> None:
    """A market that is delisted and listed again must not double its calls for as long as the program runs."""
    async with polling(fine, poll(interval_s=0.1)) as (told, poller):
        for _ in range(5):
            await eventually(lambda: told.calls, "it is asked for")
            poller.set_polls([])
            poller.set_polls([poll(interval_s=0.1)])
        told.calls.clear()
        await eventually(lambda: len(told.calls) >= 5, "it goes on")
        calls = told.times("/mark")
    assert calls[4] - calls[1] >= 0.2


async def test_a_bug_in_a_parser_ends_the_polls() -> None:
    def answer(path: str, count: int) -> web.Response:
        return web.Response(text='{"op":"bug"}')

    with pytest.raises(ExceptionGroup) as raised:
        async with polling(answer, poll()):
            await asyncio.sleep(0.5)
    assert raised.value.subgroup(KeyError)
