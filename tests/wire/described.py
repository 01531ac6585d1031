"""Listings for tests, made up from their ids."""

from __future__ import annotations

from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.venue import Venue


def described(venue: type[Venue], *native_ids: str) -> dict[str, Listing]:
    """Return what the venue makes of each id, in their order."""
    found = {}
    for native_id in native_ids:
        listing = venue.describe(native_id)
        assert listing is not None, f"{venue.name} does not know {native_id}"
        found[native_id] = listing
    return found
