"""Addresses that are replaced, calls that are paced, waits that grow and shrink."""

from __future__ import annotations

import asyncio
import time

import pytest

from forcedmove_server.collectors.network import Addresses, Backoff, RateLimit, describe_failure
from forcedmove_server.errors import ConfigError

_BASES = {"a.example": "http://127.0.0.1:9000/a", "b.example": "https://proxy.example/"}


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("https://a.example/v1/x?y=1&z=a/b", "http://127.0.0.1:9000/a/v1/x?y=1&z=a/b"),
        ("wss://a.example/ws", "ws://127.0.0.1:9000/a/ws"),
        ("wss://b.example/ws", "wss://proxy.example/ws"),
        ("https://c.example/v1", "https://c.example/v1"),
        ("https://xa.example/v1", "https://xa.example/v1"),
        ("wss://b.example", "wss://proxy.example/"),
    ],
)
def test_hosts_are_replaced_and_nothing_else(url: str, where: str) -> None:
    assert Addresses(_BASES).of(url) == where


@pytest.mark.parametrize(
    "base",
    ["", "127.0.0.1:9000", "ws://127.0.0.1", "ftp://x.example", "http://", "http://x.example?a=1", "http://x/#f"],
)
def test_a_base_that_is_no_url_is_refused(base: str) -> None:
    with pytest.raises(ConfigError, match=r"urls\.a\.example"):
        Addresses({"a.example": base})


@pytest.mark.parametrize("host", ["https://a.example", "a.example/v1", ""])
def test_a_host_that_no_url_could_have_is_refused(host: str) -> None:
    """It would replace nothing, and nobody would learn of it."""
    with pytest.raises(ConfigError):
        Addresses({host: "http://127.0.0.1:9000"})


async def test_a_second_s_worth_at_once_and_no_more_than_the_rate_after() -> None:
    limit = RateLimit(40.0)
    began = time.monotonic()
    for _ in range(40):
        await limit.take()
    assert time.monotonic() - began < 0.1
    for _ in range(12):
        await limit.take()
    assert time.monotonic() - began >= 0.9 * 12 / 40


async def test_weights_count() -> None:
    limit = RateLimit(40.0)
    await limit.take(40.0)
    began = time.monotonic()
    await limit.take(8.0)
    assert time.monotonic() - began >= 0.9 * 8 / 40


async def test_more_than_a_second_s_worth_is_served_in_the_end() -> None:
    limit = RateLimit(100.0)
    async with asyncio.timeout(2.0):
        await limit.take(120.0)


async def test_a_heavy_call_is_not_starved_by_light_ones() -> None:
    limit = RateLimit(50.0)
    served: list[str] = []

    async def take(name: str, amount: float) -> None:
        await limit.take(amount)
        served.append(name)

    async with asyncio.timeout(4.0), asyncio.TaskGroup() as tasks:
        tasks.create_task(take("heavy", 60.0))
        await asyncio.sleep(0)
        for _ in range(5):
            tasks.create_task(take("light", 1.0))
    assert served == ["heavy", *["light"] * 5]


async def test_a_caller_who_gives_up_holds_nobody_else_up() -> None:
    limit = RateLimit(20.0)
    await limit.take(20.0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await limit.take(20.0)
    async with asyncio.timeout(0.5):
        await limit.take(2.0)


async def test_a_pause_lets_nobody_through_and_the_longest_counts() -> None:
    limit = RateLimit(1_000.0)
    limit.pause(0.2)
    limit.pause(0.05)
    began = time.monotonic()
    await asyncio.gather(*(limit.take() for _ in range(3)))
    assert time.monotonic() - began >= 0.19


async def test_a_pause_reaches_those_who_wait_already() -> None:
    limit = RateLimit(20.0)
    await limit.take(20.0)
    waiting = asyncio.create_task(limit.take(1.0))
    await asyncio.sleep(0)
    began = time.monotonic()
    limit.pause(0.2)
    await waiting
    assert time.monotonic() - began >= 0.19


def test_waits_double_up_to_their_cap_with_jitter() -> None:
    rounds = []
    for _ in range(200):
        backoff = Backoff(0.25, 8.0, 15.0)
        rounds.append([backoff.wait_s(0.0) for _ in range(9)])
    for number, waits in enumerate(zip(*rounds, strict=True)):
        most = min(0.25 * 2**number, 8.0)
        assert most / 2 <= min(waits) < max(waits) <= most
        assert max(waits) - min(waits) > most / 4, "without jitter all come back at the same moment"


def test_a_quiet_period_begins_the_waits_anew() -> None:
    backoff = Backoff(0.25, 8.0, 15.0)
    for _ in range(8):
        backoff.wait_s(14.9)
    assert backoff.wait_s(14.9) >= 4.0
    assert backoff.wait_s(15.0) <= 0.25


def test_a_failure_without_words_has_its_name() -> None:
    assert describe_failure(TimeoutError()) == "TimeoutError"
    assert describe_failure(OSError("no route")) == "OSError: no route"
