"""A hub whose engine is in another process, and may have been too fast for this one."""

from __future__ import annotations

from collections.abc import Iterable

from forcedmove_server.engine.frames import Tick
from forcedmove_server.errors import LimitError
from forcedmove_server.rpc.encoding import EncodedFrame
from forcedmove_server.rpc.hub import Hub
from forcedmove_server.rpc.topics import Topic


class GatewayHub(Hub):
    """Tells readers of what the feed merged on its way here, as of what they were too slow for themselves."""

    def _deliver(self, tick: Tick, news: Iterable[tuple[Topic, EncodedFrame | LimitError]]) -> None:
        news = list(news)
        for topic, frame in news:
            if topic.latest is None or not isinstance(frame, EncodedFrame) or frame.delta is not None:
                continue
            # a symbol's seq rises by one whenever it changes, and a watched view comes with each change
            if missed := frame.seq - topic.latest.seq - 1:
                frame.prev_seq = 0  # nothing continues across the gap, neither now nor for readers that resume
                for reader in topic.readers:
                    reader.missed(missed)
        super()._deliver(tick, news)
