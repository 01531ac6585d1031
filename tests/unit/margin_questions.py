"""Questions about one position, with what most tests do not care about filled in."""

from __future__ import annotations

from datetime import date
from typing import Any

from forcedmove_server.margin.ladder_book import shipped_book
from forcedmove_server.margin.question import Answer, Question, answer

TODAY = date(2026, 11, 25)


def ask(**fields: Any) -> Answer:
    position = {"side": "long", "entry": 98_000.0, "quantity": 0.1, "leverage": 20.0}
    if fields.keys() & {"margin", "balance"}:
        del position["leverage"]
    return answer(Question(**(position | fields)), shipped_book(), TODAY)


def price_of(**fields: Any) -> float | None:
    return ask(**fields).liquidation.liquidation_price
