"""docs/feeds.md, made from the venues: ``python -m forcedmove_server.collectors.document > docs/feeds.md``."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator

from forcedmove_server.collectors.venue import Stream, Venue
from forcedmove_server.collectors.venues import venue_class, venue_names
from forcedmove_server.market.events import Channel

_HEAD = """# Live feeds of {count} venues

*Made by `make docs` from `server/forcedmove_server/collectors/venues/`; a test keeps it current.*

What is collected from each venue, over which connections, and what its numbers mean. No key and no account is needed
for any of it. Written from documentation, recorded messages and the source of programs that trade there, and tested
against an emulator of each venue: **a first live run has to confirm every unit and side**.
"""


def document() -> str:
    """Return the page."""
    names = venue_names()
    parts = [_HEAD.format(count=len(names))]
    for name in names:
        parts += _section(venue_class(name))
    return "\n".join(parts)


def _section(venue: type[Venue]) -> Iterator[str]:
    yield f"## {venue.name}\n"
    about = inspect.getdoc(inspect.getmodule(venue)) or ""
    yield about.replace("``", "`") + "\n"
    yield "| connection | contracts | channels | topics | asked for | our ping |"
    yield "|---|---|---|---|---|---|"
    for stream in venue.streams:
        yield _row(stream)
    yield f"\nREST: at most {venue.rest_weight_per_s:g} units of weight a second.\n"


def _row(stream: Stream) -> str:
    address = f"ticket from `{stream.ticket}`" if stream.ticket else f"`{stream.url}`"
    channels = ", ".join(channel.name.lower().replace("_", " ") for channel in Channel if channel in stream.channels)
    cells = (
        address,
        str(stream.contract_type or "all"),
        channels,
        f"{stream.topics_per_connection} a connection",
        f"{stream.topics_per_message} a message, {stream.messages_per_s:g} messages/s",
        f"every {stream.ping_s:g} s" if stream.ping_s else "–",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.stdout.write(document())
