"""Which price sets off a liquidation."""

from __future__ import annotations

from enum import StrEnum


class Trigger(StrEnum):
    """The price that has to reach the liquidation price."""

    MARK = "mark"
    ORACLE = "oracle"
    INDEX = "index"
    MARK_AND_LAST = "mark and last"
    """Both the mark and the last traded price."""
    MARK_OR_LAST = "mark or last"
    """Not established which of the two."""
