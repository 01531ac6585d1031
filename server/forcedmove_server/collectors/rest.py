"""REST calls that are made again and again, within what the venue allows."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import time
from collections.abc import Iterable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Protocol

import aiohttp

from forcedmove_server.collectors.fields import MOST_BYTES
from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.network import Backoff, Network, RateLimit, describe_failure
from forcedmove_server.collectors.records import Record
from forcedmove_server.collectors.venue import Poll, Venue
from forcedmove_server.errors import MalformedMessage

#: calls of one venue under way at once
_AT_ONCE = 6
_TIMEOUT_S = 10.0
#: how long a venue is left alone that says it was asked too often and not for how long
_PAUSE_S = 10.0
#: the longest that it is believed: bans last minutes to hours, a date far off is a mistake
_LONGEST_PAUSE_S = 3_600.0
_TOO_OFTEN = (418, 429)
#: share by which intervals vary, so that polls do not fall into step
_JITTER = 0.1


class TooOftenError(aiohttp.ClientError):
    """The venue was asked too often; ``wait_s`` is how long it wants to be left alone."""

    def __init__(self, status: int, wait_s: float) -> None:
        self.wait_s = wait_s
        super().__init__(f"asked too often ({status}), waiting {wait_s:g} s")


class Answers(Protocol):
    """What polls tell their venue's collector. Times are Unix nanoseconds."""

    def answered(self, poll: Poll, records: Iterable[Record], received_ns: int) -> None:
        """A call succeeded."""
        ...

    def failed(self, poll: Poll, reason: str, now_ns: int) -> None:
        """A call failed; it will be made again."""
        ...

    def malformed(self, error: MalformedMessage) -> None:
        """An answer could not be read."""
        ...


class Poller:
    """The polls of one venue. ``run`` makes them until it is cancelled; :meth:`set_polls` may change them meanwhile."""

    def __init__(self, venue: type[Venue], listings: Mapping[str, Listing], answers: Answers, network: Network) -> None:
        self._parser = venue(listings)
        self._answers, self._network = answers, network
        self._limit = RateLimit(venue.rest_weight_per_s)
        self._polls: dict[Poll, int] = {}  # and a number; what is due under an older one is not wanted any more
        self._due: list[tuple[float, int, Poll]] = []
        self._numbers = itertools.count()
        self._changed = asyncio.Event()
        self._backoffs: dict[Poll, Backoff] = {}

    def set_polls(self, polls: Iterable[Poll]) -> None:
        """Make these calls from now on; new ones are spread over their interval, so that they never come at once."""
        wanted = set(polls)
        now = time.monotonic()
        self._polls = {poll: number for poll, number in self._polls.items() if poll in wanted}
        self._due = [due for due in self._due if self._is_wanted(due)]
        heapq.heapify(self._due)
        self._backoffs = {poll: backoff for poll, backoff in self._backoffs.items() if poll in wanted}
        new = sorted(wanted - self._polls.keys(), key=lambda poll: poll.url)
        for place, poll in enumerate(new):
            self._polls[poll] = next(self._numbers)
            heapq.heappush(self._due, (now + poll.interval_s * place / len(new), self._polls[poll], poll))
        self._changed.set()

    async def run(self) -> None:
        """Make the calls; each begins about ``interval_s`` after it began last, or when the venue's limit allows."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_AT_ONCE):
                tasks.create_task(self._work())

    async def _work(self) -> None:
        while True:
            due = await self._next()
            _, number, poll = due
            await self._limit.take(poll.weight)
            began = time.monotonic()
            wait_s = await self._make(poll) if self._is_wanted(due) else 0.0
            if self._is_wanted(due):
                heapq.heappush(self._due, (began + wait_s, number, poll))
                self._changed.set()

    def _is_wanted(self, due: tuple[float, int, Poll]) -> bool:
        _, number, poll = due
        return self._polls.get(poll) == number

    async def _next(self) -> tuple[float, int, Poll]:
        """Wait for the next poll that is due."""
        while True:
            wait = self._due[0][0] - time.monotonic() if self._due else None
            if wait is not None and wait <= 0:
                return heapq.heappop(self._due)
            self._changed.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _make(self, poll: Poll) -> float:
        """Make one call; returns the seconds until it is due again."""
        began = time.monotonic()
        try:
            content = await fetch(self._network, poll)
            records = self._parser.parse_answer(poll, content)
        except TooOftenError as error:
            self._limit.pause(error.wait_s)
            reason = str(error)
            for other in self._polls:  # nobody is asked until then
                if other != poll:
                    self._answers.failed(other, reason, time.time_ns())
        except MalformedMessage as error:
            self._answers.malformed(error)
            reason = "the answer cannot be read"
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            reason = describe_failure(error)
        else:
            self._backoffs.pop(poll, None)
            self._answers.answered(poll, records, time.time_ns())
            return poll.interval_s * random.uniform(1 - _JITTER, 1 + _JITTER)
        self._answers.failed(poll, f"{poll.method} {poll.url.partition('?')[0]}: {reason}", time.time_ns())
        backoff = self._backoffs.setdefault(poll, Backoff(least_s=1.0, most_s=5.0))
        return max(backoff.wait_s(time.monotonic() - began), 0.5)


async def fetch(network: Network, poll: Poll) -> bytes:
    """Make one call. Raises aiohttp's errors, OSError and TimeoutError; TooOftenError says for how long to wait."""
    async with asyncio.timeout(_TIMEOUT_S):
        url = network.addresses.of(poll.url)
        headers = {"Content-Type": "application/json"} if poll.body else None
        body = poll.body.encode() if poll.body else None
        async with network.session.request(poll.method, url, data=body, headers=headers) as answer:
            if answer.status in _TOO_OFTEN:
                raise TooOftenError(answer.status, _retry_after_s(answer.headers.get("Retry-After", ""), time.time()))
            answer.raise_for_status()
            parts: list[bytes] = []
            size = 0
            async for part in answer.content.iter_any():
                parts.append(part)
                size += len(part)
                if size > MOST_BYTES:
                    raise aiohttp.ClientPayloadError(f"more than {MOST_BYTES} bytes")
            return b"".join(parts)


def _retry_after_s(header: str, now_s: float) -> float:
    """Read Retry-After (RFC 9110, 10.2.3): seconds, or a date in one of HTTP's three forms."""
    text = header.strip()
    try:
        if text.isdecimal():
            wait_s = float(text)
        else:
            until = parsedate_to_datetime(text)
            wait_s = (until if until.tzinfo else until.replace(tzinfo=UTC)).timestamp() - now_s
    except (ValueError, OverflowError):
        return _PAUSE_S
    return min(max(wait_s, 1.0), _LONGEST_PAUSE_S)
