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
    """Decimals that multiples of ``step`` need: 0 for $50, 1 for 1.5, 3 for 0.005."""
    return next((d for d in range(9) if abs(step * 10**d - round(step * 10**d)) < 1e-6 * step * 10**d), 9)


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


def quote(value: float) -> str:
    """Return a price whose step is not known: six significant digits, without trailing zeros."""
    decimals = max(0, 5 - math.floor(math.log10(value))) if value > 0 else 0
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
