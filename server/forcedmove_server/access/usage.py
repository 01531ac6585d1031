"""What tokens use just now, held against their quotas. Used from one event loop; memory is bounded by the tokens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from forcedmove_server.access.tokens import Quotas
from forcedmove_server.errors import LimitError, QuotaError

#: what a token may send at once after it was silent
_BURST_S = 10.0
_RETRY_S = 2.0


class Bucket:
    """A token bucket that may be overdrawn by one message: ``rate`` units a second, ``capacity`` at most."""

    def __init__(self, rate: float, capacity: float, clock: Callable[[], float]) -> None:
        self.rate, self.capacity, self._clock = rate, capacity, clock
        self._level, self._at = capacity, clock()

    def wait_s(self, wanted: float = 0.0) -> float:
        """Seconds until ``wanted`` units may be taken; with 0, until it is overdrawn no more. 0 when it is now."""
        now = self._clock()
        self._level = min(self.capacity, self._level + (now - self._at) * self.rate)
        self._at = now
        return max(0.0, (wanted - self._level) / self.rate)

    def take(self, units: float) -> None:
        """Take units, whether or not they are there."""
        self._level -= units


class Usage:
    """What one token uses."""

    def __init__(self, quotas: Quotas, clock: Callable[[], float] = time.monotonic) -> None:
        self.streams = self.symbols = self.scans = 0
        self._clock = clock
        self.change_quotas(quotas)

    def change_quotas(self, quotas: Quotas) -> None:
        """Take other quotas; what is held stays held, rates begin anew."""
        self.quotas = quotas
        self._bytes = Bucket(quotas.max_bytes_per_s, quotas.max_bytes_per_s * _BURST_S, self._clock)
        self._cost = Bucket(quotas.max_cost_per_minute / 60, quotas.max_cost_per_minute, self._clock)

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Hold a stream open. Raises QuotaError."""
        if self.streams >= self.quotas.max_streams:
            raise _used_up("max_streams", f"{self.streams} streams are open")
        self.streams += 1
        try:
            yield
        finally:
            self.streams -= 1

    @contextmanager
    def scan(self) -> Iterator[None]:
        """Run a scan. Raises QuotaError."""
        if self.scans >= self.quotas.max_scans:
            raise _used_up("max_scans", f"{self.scans} scans are running")
        self.scans += 1
        try:
            yield
        finally:
            self.scans -= 1

    def change_symbols(self, before: int, after: int) -> None:
        """Let a stream have ``after`` symbols in place of ``before``. Raises QuotaError and changes nothing then."""
        total = self.symbols - before + after
        if after > before and total > self.quotas.max_symbols:
            raise _used_up("max_symbols", f"all streams together would have {total} symbols")
        self.symbols = total

    def check_bytes(self) -> None:
        """Raise QuotaError while more was sent than may be."""
        if wait_s := self._bytes.wait_s():
            raise _used_up("max_bytes_per_s", f"more than {self.quotas.max_bytes_per_s} bytes/s were sent", wait_s)

    def sent(self, count: int) -> None:
        """Count bytes."""
        self._bytes.take(count)

    def charge(self, units: float) -> None:
        """Take cost units. Raises QuotaError, or LimitError where a whole minute has fewer."""
        if units > self.quotas.max_cost_per_minute:
            raise LimitError(
                f"this costs {units:.0f} units, the token's quota max_cost_per_minute is "
                f"{self.quotas.max_cost_per_minute}: ask for fewer symbols, shocks or paths"
            )
        if wait_s := self._cost.wait_s(units):
            raise _used_up("max_cost_per_minute", f"{units:.0f} units are not left this minute", wait_s)
        self._cost.take(units)


def _used_up(quota: str, found: str, retry_s: float = _RETRY_S) -> QuotaError:
    reason = f"QUOTA_{quota.removeprefix('max_').upper()}"
    return QuotaError(f"{found}; the token's quota is {quota}", reason, retry_s)
