"""One module per venue, each with its class under the name ``VENUE``. ADD_A_VENUE.md is the recipe."""

from __future__ import annotations

import importlib
import pkgutil

from forcedmove_server.collectors.venue import Venue
from forcedmove_server.errors import UnknownNameError


def venue_names() -> list[str]:
    """Return the names of all venues that can be collected."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def venue_class(name: str) -> type[Venue]:
    """Return a venue's class. Raises UnknownNameError."""
    if name not in venue_names():
        raise UnknownNameError("venue", name, venue_names())
    module = importlib.import_module(f"{__name__}.{name}")
    found: type[Venue] = module.VENUE
    return found
