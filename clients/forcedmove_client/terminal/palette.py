"""Colours: one ramp per side of even lightness steps, and a colour for every venue.

Ramps are interpolated in OKLab (Ottosson, 2020), where equal steps look equally large, so that twice the brightness
is read as a steady rise and not as a jump between hues.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

BACKGROUND = "#0b0e14"
EDGE = "#2a3140"
DIM = "#6b7484"
TEXT = "#c7cdd8"
BRIGHT = "#ffffff"
MARK = "#ffd866"
GOOD, WARN, BAD = "#5fd38d", "#ffb454", "#ff5c57"

#: dark to bright, monotonic in lightness
LONG_STOPS = ("#3a1526", "#7d1d3f", "#c8323f", "#f2703a", "#ffb84d", "#fff0b0")
SHORT_STOPS = ("#0f2233", "#0f4560", "#12737e", "#1fa38c", "#6fd69a", "#e2ffd6")

_VENUE_COLOURS = (
    "#f0b90b", "#5b8def", "#9fe870", "#c77dff", "#ff8f6b", "#37c5c9",
    "#ef6fa8", "#b4a269", "#7fb7ff", "#d95f5f", "#8ad1a5", "#a99bd8",
)  # fmt: skip

_STEPS = 64
_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def to_oklab(colours: Sequence[str]) -> NDArray[np.float64]:
    """OKLab coordinates, float64 ``[N, 3]``, of colours written ``#rrggbb``."""
    srgb = np.array([[int(c[k : k + 2], 16) for k in (1, 3, 5)] for c in colours]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    lab: NDArray[np.float64] = np.cbrt(linear @ _TO_LMS.T) @ _TO_LAB.T
    return lab


def from_oklab(lab: NDArray[np.float64]) -> list[str]:
    """Colours ``#rrggbb`` of OKLab coordinates ``[N, 3]``, clipped to what a screen can show."""
    linear = (lab @ np.linalg.inv(_TO_LAB).T) ** 3 @ np.linalg.inv(_TO_LMS).T
    linear = np.clip(linear, 0, 1)
    srgb = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return ["#{:02x}{:02x}{:02x}".format(*(int(v) for v in np.rint(row * 255))) for row in srgb]


@lru_cache(maxsize=8)
def ramp(stops: tuple[str, ...]) -> tuple[str, ...]:
    """Return 64 colours through ``stops``, evenly spaced in OKLab lightness."""
    lab = to_oklab(stops)
    position = np.interp(np.linspace(lab[0, 0], lab[-1, 0], _STEPS), lab[:, 0], np.arange(len(stops)))
    return tuple(
        from_oklab(np.stack([np.interp(position, np.arange(len(stops)), lab[:, k]) for k in range(3)], axis=1))
    )


def shade(side: str, share: float) -> str:
    """Colour of an intensity 0..1 on a side; its power leaves room for the many small levels."""
    colours = ramp(LONG_STOPS if side == "long" else SHORT_STOPS)
    return colours[min(int(max(share, 0.0) ** 0.75 * _STEPS), _STEPS - 1)]


def venue_colour(venue: str, venues: Sequence[str]) -> str:
    """Colour of a venue, by its place in the sorted ``venues``, so that it keeps its colour while they stay."""
    known = sorted(venues)
    return _VENUE_COLOURS[known.index(venue) % len(_VENUE_COLOURS)] if venue in known else DIM
