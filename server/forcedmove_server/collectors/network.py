"""What connections and polls share: one HTTP session, addresses that can be replaced, and how often may be asked."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

import aiohttp

from forcedmove_server.errors import ConfigError


class Addresses:
    """Replaces the hosts of URLs: ``{"fapi.binance.com": "http://127.0.0.1:9000/binance"}``.

    A replacement is a base: scheme, host and possibly a path in front. Websockets go to the same place, ``ws`` for
    ``http`` and ``wss`` for ``https``. Raises ConfigError for a base that is no such URL, and for what is no host.
    """

    def __init__(self, bases: Mapping[str, str] | None = None) -> None:
        self._bases: dict[str, str] = {}
        for host, base in (bases or {}).items():
            if not host or "/" in host:
                raise ConfigError("urls", host, "must be a host as URLs have it: fapi.binance.com")
            parts = urlsplit(base)
            if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
                raise ConfigError(f"urls.{host}", base, "must be a URL like http://127.0.0.1:9000")
            self._bases[host] = base.rstrip("/")

    def of(self, url: str) -> str:
        """Return where a URL really is."""
        scheme, _, rest = url.partition("://")
        host, _, path = rest.partition("/")
        base = self._bases.get(host)
        if base is None:
            return url
        if scheme in ("ws", "wss"):
            base = "ws" + base.removeprefix("http")
        return f"{base}/{path}"


class RateLimit:
    """A token bucket: ``per_s`` a second on average, at most one second's worth at once."""

    def __init__(self, per_s: float) -> None:
        self.per_s = per_s
        self._tokens = max(per_s, 1.0)
        self._filled_at = time.monotonic()
        self._paused_until = 0.0
        self._turn = asyncio.Lock()

    async def take(self, amount: float = 1.0) -> None:
        """Wait until ``amount`` may be spent; callers are served in the order they come, so that none is starved."""
        async with self._turn:
            await self._take(amount)

    async def _take(self, amount: float) -> None:
        while True:
            now = time.monotonic()
            self._tokens = min(self._tokens + (now - self._filled_at) * self.per_s, max(self.per_s, amount, 1.0))
            self._filled_at = now
            if now < self._paused_until:
                await asyncio.sleep(self._paused_until - now)
            elif self._tokens >= amount:
                self._tokens -= amount
                return
            else:
                await asyncio.sleep((amount - self._tokens) / self.per_s)

    def pause(self, seconds: float) -> None:
        """Let nobody through for a while: the venue said that it was asked too often."""
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)


class Backoff:
    """Growing, jittered waits, capped; a quiet period begins them anew."""

    def __init__(self, least_s: float = 0.25, most_s: float = 5.0, quiet_s: float = 15.0) -> None:
        self._least_s, self._most_s, self._quiet_s = least_s, most_s, quiet_s
        self._next_s = least_s

    def wait_s(self, worked_s: float) -> float:
        """Seconds to wait after something that worked for ``worked_s`` failed."""
        if worked_s >= self._quiet_s:
            self._next_s = self._least_s
        wait = self._next_s * random.uniform(0.5, 1.0)
        self._next_s = min(2 * self._next_s, self._most_s)
        return wait


class Network:
    """The HTTP session of all collectors, and the addresses they are told to use."""

    def __init__(self, session: aiohttp.ClientSession, addresses: Addresses) -> None:
        self.session, self.addresses = session, addresses


def http_session() -> aiohttp.ClientSession:
    """Make a session; total time is limited per request, not per connection."""
    timeout = aiohttp.ClientTimeout(total=None, connect=10.0, sock_connect=10.0)
    connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=60)
    return aiohttp.ClientSession(timeout=timeout, connector=connector, headers={"User-Agent": "forcedmove"})


def describe_failure(error: BaseException) -> str:
    """Say what failed in one line; some of aiohttp's errors have no text."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error that is none of several."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def is_cancelled() -> bool:
    """Whether the current task has been asked to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def send(socket: aiohttp.ClientWebSocketResponse[bool], content: str | bytes) -> None:
    """Send a frame of the kind that the content is."""
    if isinstance(content, str):
        await socket.send_str(content)
    else:
        await socket.send_bytes(content)


def in_batches(names: list[str], size: int) -> Iterable[list[str]]:
    """Cut a list into parts of at most ``size``."""
    return (names[k : k + size] for k in range(0, len(names), size))
