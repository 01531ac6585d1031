"""Where a maintenance ladder comes from, and how old it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from forcedmove_server.margin.facts import Confidence

#: a ladder further away than this is called stale, unless the configuration says otherwise
STALE_AFTER_DAYS = 90


class Origin(StrEnum):
    """How a ladder got here."""

    SHIPPED = "shipped"
    FETCHED = "fetched"
    IMPORTED = "imported"
    INSTRUMENT = "instrument"
    """Computed from the market's own description by the venue's documented rule."""
    STAND_IN = "stand-in"
    """The ladder of another market: this one's is missing."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Origin, date and source of a ladder; ``as_of`` is None without a date, ``about`` says that it is not exact."""

    origin: Origin
    as_of: date | None
    confidence: Confidence
    source: str
    about: bool = False

    def age_days(self, today: date) -> int | None:
        """Whole days between the ladder's date and ``today``; None without a date, negative for a later ladder."""
        return None if self.as_of is None else (today - self.as_of).days

    def stale(self, today: date, after_days: int = STALE_AFTER_DAYS) -> bool:
        """Whether the ladder is a stand-in, undated, or more than ``after_days`` away from ``today``.

        A ladder by the venue's own rule from the market's own description has no date and is never stale.
        """
        if self.origin is Origin.INSTRUMENT:
            return False
        age = self.age_days(today)
        return self.origin is Origin.STAND_IN or age is None or abs(age) > after_days

    def describe(self, today: date, after_days: int = STALE_AFTER_DAYS) -> str:
        """Say it in one phrase: ``shipped table of 2024-10-24, 762 days old (stale)``."""
        if self.origin is Origin.STAND_IN:
            return f"no table: {self.source}"
        age = self.age_days(today)
        if age is None or self.as_of is None:
            return f"by the venue's rule ({self.source})" if self.origin is Origin.INSTRUMENT else "undated table"
        stale = " (stale)" if self.stale(today, after_days) else ""
        if self.about:
            return f"{self.origin} table of about {self.as_of:%Y-%m}{stale}"
        when = f"{age} days old" if age >= 0 else f"{-age} days later than the market"
        return f"{self.origin} table of {self.as_of}, {when}{stale}"


#: of rules made by hand
UNDATED = Provenance(Origin.STAND_IN, None, Confidence.ASSUMED, "given by hand")
