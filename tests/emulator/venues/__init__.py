"""One module per emulated venue, each with its class under the name ``EMULATOR``."""

from __future__ import annotations

import importlib
import pkgutil

from tests.emulator.venue import EmulatedVenue


def emulator_names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def emulator_class(name: str) -> type[EmulatedVenue]:
    found: type[EmulatedVenue] = importlib.import_module(f"{__name__}.{name}").EMULATOR
    return found
