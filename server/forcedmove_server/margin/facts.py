"""How sure a statement about a venue is, and where it is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)


class Confidence(StrEnum):
    """Where a fact comes from, surest first."""

    DOC = "DOC"
    """The venue's own help or API text."""
    REC = "REC"
    """Settled by recorded messages of the venue."""
    CODE = "CODE"
    """Read in the source of a program that trades there."""
    DERIVED = "DERIVED"
    """Follows by arithmetic from a DOC or REC fact."""
    MEM = "MEM"
    """Commonly said, not confirmed."""
    ASSUMED = "ASSUMED"
    """Nothing was found: a stand-in."""

    @property
    def official(self) -> bool:
        """Whether the venue itself says so, or its messages show it."""
        return self in (Confidence.DOC, Confidence.REC)


_ORDER = tuple(Confidence)


def weakest(confidences: Iterable[Confidence]) -> Confidence:
    """Return the least sure of several confidences: a result is no better than its worst input."""
    return max(confidences, key=_ORDER.index)


@dataclass(frozen=True, slots=True)
class Fact(Generic[T_co]):
    """A value, how sure it is, and its source."""

    value: T_co
    confidence: Confidence
    source: str

    def __str__(self) -> str:
        return f"{self.value} [{self.confidence}: {self.source}]"
