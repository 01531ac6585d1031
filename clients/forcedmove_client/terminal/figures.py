"""How figures are written: money, prices, moves, ages."""

from __future__ import annotations

import math

import numpy as np


def money(usd: float) -> str:
    """Three significant digits and a unit: ``$12.3M``."""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(usd) >= unit * 0.9995:
            value = usd / unit
            return f"${value:.{max(0, 2 - int(math.log10(abs(value) * 1.0005)))}f}{name}"
    return f"${usd:.0f}"


def decimals_for(step: float) -> int:
    """Decimals that tell prices a ``step`` apart from each other: 0 for $50, 3 for 0.005."""
    return max(0, math.ceil(-math.log10(step) - 1e-9)) if step > 0 else 2


def price(value: float, step: float) -> str:
    """Return a price with thousands separators and the decimals its step needs."""
    return f"{value:,.{decimals_for(step)}f}"


def move(fraction: float, decimals: int = 2) -> str:
    """Return a signed percentage with a true minus sign."""
    return f"{fraction * 100:+.{decimals}f}%".replace("-", "−")


def age(seconds: float) -> str:
    """Return an age with one unit: ``0.3 s``, ``5 min``."""
    if seconds < 0:
        return "–"
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5940 else f"{seconds / 3600:.0f} h"


def utc(time: np.datetime64) -> str:
    """Return a time to the second, without its zone: all times are UTC."""
    return str(np.datetime_as_string(time, "s")).replace("T", " ")
