"""Which topics have fallen silent although their connection lives: those of channels that never pause."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from forcedmove_server.collectors.venue import Topic
from forcedmove_server.market.events import Channel

#: a topic that stays silent is asked for less and less often: its market may be halted
_LONGEST_S = 3600.0


class Silence:
    """Clocks of a connection's topics; times are monotonic seconds. ``limits_s`` by channel; others may pause."""

    def __init__(self, limits_s: Mapping[Channel, float]) -> None:
        self._limits_s = limits_s
        self._fed: dict[tuple[Channel, str], float] = {}
        self._expected: dict[str, float] = {}
        #: when a topic was found silent, and how long it may be silent from then on
        self._found: dict[str, tuple[float, float]] = {}

    def opened(self) -> None:
        """A connection was made; who was silent before is remembered."""
        self._fed.clear()
        self._expected.clear()

    def fed(self, channel: Channel, native_id: str, now: float) -> None:
        """A channel of a market brought something."""
        if channel in self._limits_s:
            self._fed[channel, native_id] = now

    def expects(self, topic: Topic) -> None:
        """A topic should bring something from now on; one that never begins is silent too."""
        self._expected[topic.name] = time.monotonic()

    def silent(self, topics: Iterable[Topic]) -> dict[Topic, float]:
        """Return which of these, all of them expected, are silent, and for how long; each is then patient anew."""
        now = time.monotonic()
        found = {}
        for topic in topics:
            limits = [self._limits_s[channel] for channel in topic.channels if channel in self._limits_s]
            if not limits:
                continue
            last = self._heard(topic)
            began, patience_s = self._found.get(topic.name, (0.0, min(limits)))
            if last > began:  # it has brought something since it was found silent
                self._found.pop(topic.name, None)
                patience_s = min(limits)
            since = max(last, began, self._expected.get(topic.name, now))
            if now - since > patience_s:
                found[topic] = now - since
                self._found[topic.name] = now, min(2 * patience_s, max(_LONGEST_S, min(limits)))
        return found

    def quiet_s(self, topic: Topic) -> float:
        """For how long a topic of a channel that never pauses has brought nothing; 0 of others."""
        since = max(self._heard(topic), self._expected.get(topic.name, 0.0))
        return time.monotonic() - since if self.watches(topic) and since else 0.0

    def watches(self, topic: Topic) -> bool:
        """Whether a topic feeds a channel that never pauses."""
        return any(channel in self._limits_s for channel in topic.channels)

    def _heard(self, topic: Topic) -> float:
        """When a topic brought something last on a channel that never pauses; those of a whole market, any of it."""
        channels = [channel for channel in topic.channels if channel in self._limits_s]
        return max(
            (self._fed.get((channel, native_id), 0.0) for channel in channels for native_id in topic.native_ids),
            default=0.0,
        )
