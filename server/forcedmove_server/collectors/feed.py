"""What a connection tells of what it receives, and of itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from forcedmove_server.collectors.records import Event
from forcedmove_server.collectors.venue import Topic
from forcedmove_server.errors import MalformedMessage


class Feed(Protocol):
    """What a connection tells its venue's collector. Times are Unix nanoseconds."""

    def event(self, event: Event, received_ns: int) -> bool:
        """Take an event; False when its book is out of step and has to begin anew."""
        ...

    def live(self, topic: Topic, lost_ns: int, now_ns: int) -> None:
        """A topic is being fed; it was lost since ``lost_ns`` (0: it is new)."""
        ...

    def lost(self, topics: Iterable[Topic], since_ns: int, now_ns: int, reason: str) -> None:
        """Live topics are not fed any more; the last message came at ``since_ns``."""
        ...

    def malformed(self, error: MalformedMessage) -> None:
        """A message could not be read."""
        ...

    def unknown(self, kind: str) -> None:
        """A message was of a kind that the parser does not know."""
        ...

    def unlisted(self, native_id: str) -> None:
        """An event was of an instrument that is not collected."""
        ...

    def refused(self, topics: Iterable[Topic], reason: str) -> None:
        """The venue does not want to feed these topics."""
        ...
