"""Numbers, times and verdicts in words. Plain text: whoever puts it on a page escapes it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from forcedmove_server.scorecard.report.result import Period
from forcedmove_server.scorecard.resampling import Estimate
from forcedmove_server.scorecard.rules import ScoringRules
from forcedmove_server.scorecard.summary import Summary, Where

SIDES = ("long", "short")
#: what stands for a value that nobody has
NONE = "–"
_MINUS = "−"
_MAP_NAMES = {
    "ours": "forcedmove",
    "naive_maintenance": "naive with maintenance",
    "distance": "distance only",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def map_name(name: str) -> str:
    """Return what a map is called in running text."""
    return _MAP_NAMES.get(name, name)


def number(value: float | None, digits: int = 3, signed: bool = False) -> str:
    """Return a number with a fixed count of decimals, a true minus and no sign on zero."""
    if value is None or math.isnan(value):
        return NONE
    if math.isinf(value):
        return "∞" if value > 0 else _MINUS + "∞"
    text = f"{value:{'+' if signed else ''},.{digits}f}"
    if not any(digit in "123456789" for digit in text):
        return text.lstrip("+-")
    return text.replace("-", _MINUS)


def count(value: int | float) -> str:
    """Return a count with thin spaces between thousands, so that it is no decimal anywhere."""
    return f"{round(value):,}".replace(",", "\u202f")


def percent(value: float | None, digits: int = 1) -> str:
    """Return a share in percent; if smaller than the last digit, in three significant ones."""
    if value is None:
        return NONE
    if not math.isfinite(value):
        return number(value)
    if value and abs(value) < 0.5 * 10 ** -(digits + 2):
        return f"{value * 100:.2e}\u00a0%".replace("-", _MINUS)
    return f"{number(value * 100, digits)}\u00a0%"


def money(usd: float | None) -> str:
    """Return USD with two decimals of its unit: ``$1.23M``."""
    if usd is None or not math.isfinite(usd):
        return NONE if usd is None else number(usd)
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        # what rounds up to the next unit is of that unit
        if abs(usd) >= 0.999995 * size:
            return f"${number(usd / size, 2)}{unit}"
    return f"${number(usd, 2 if abs(usd) < 100 else 0)}"


def price(usd: float, step: float) -> str:
    """Return a price with as many decimals as tell it from one ``step`` away."""
    decimals = max(-math.floor(math.log10(step) + 1e-9), 0)
    return f"{usd:,.{min(decimals, 15)}f}"


def duration(ns: int) -> str:
    """Return a length of time in the largest unit that divides it: ``5 min``, ``4 h``, ``90 d``."""
    for size, unit in ((86_400 * 10**9, "d"), (3600 * 10**9, "h"), (60 * 10**9, "min"), (10**9, "s")):
        if ns % size == 0 and ns >= (2 * size if unit == "d" else size):
            return f"{ns // size} {unit}"
    return f"{ns} ns"


def moment(ns: int) -> str:
    """Return a time of UTC to the minute."""
    return (_EPOCH + timedelta(microseconds=ns // 1000)).strftime("%Y-%m-%d %H:%M")


def period(span: Period) -> str:
    """Return a period with its length in days."""
    days = (span[1] - span[0]) / (86_400 * 10**9)
    return f"{moment(span[0])} to {moment(span[1])} UTC, {number(days, 0 if days % 1 == 0 else 1)} days"


def part(where: Where) -> str:
    """Return what part of the markets a summary is of."""
    named = [text for text in (where.venue, where.symbol) if text is not None]
    if where.side is not None:
        named.append(f"{SIDES[where.side]}s")
    return " ".join(named) or "all markets"


def estimate(found: Estimate, least: int | None = None, digits: int = 3, signed: bool = True) -> str:
    """Return value and interval, or why there is none; ``least`` is how many observations a value needs."""
    if found.value is None:
        return missing(found, least)
    text = number(found.value, digits, signed)
    if found.reason is not None and found.reason.startswith("0 by construction"):
        return f"{text} by construction"
    if found.low is None or found.high is None:
        return f"{text} ({found.reason or 'no interval'})"
    return f"{text} [{number(found.low, digits, signed)}, {number(found.high, digits, signed)}]"


def missing(found: Estimate, least: int | None = None) -> str:
    """Return why an estimate has no value: ``not enough data (12 of 50)``."""
    if least is not None and found.n < least:
        return f"not enough data ({count(found.n)} of {count(least)})"
    if found.n == 0:
        return f"not enough data ({found.reason or 'nothing observed'})"
    return f"no value: {found.reason or 'not computed'}"


def observations(found: Estimate, kind: str, block: str) -> str:
    """Return what an estimate rests on: ``3 754 moves in 41 days``."""
    return f"{plural(found.n, kind)} in {plural(found.blocks, block)}"


def plural(n: int, kind: str) -> str:
    """Return a count with its noun."""
    return f"{count(n)} {kind}{'' if n == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One question that a headline figure answers.

    ``answer`` is ``"yes"`` or ``"no"`` where the interval excludes zero, ``"open"`` where it does not, ``"unknown"``
    where there is no interval.
    """

    question: str
    answer: str
    figure: str
    basis: str
    sentence: str


_HEADS = {"yes": "Yes.", "no": "No, the contrary.", "open": "Cannot be told.", "unknown": "No answer yet."}


def verdicts(summary: Summary) -> tuple[Verdict, ...]:
    """Answer the questions of the headline: released on crossing, its gain over the baseline, bits per position."""
    head, rules = summary.headline, summary.rules
    ours, horizon = map_name(head.map), duration(head.horizon_ns)
    least = rules.least_moves
    found = [
        _verdict(
            f"Does open interest vanish where {ours} says that positions are crossed?",
            head.released,
            least,
            "",
            observations(head.released, "move", "day"),
            {
                "yes": "More open interest was released within "
                f"{horizon} where the map said that more was crossed, beyond what the size of the move, distance "
                "from the mark, volatility, the market and the change before explain",
                "no": "Less open interest was released where the map said that more was crossed: it is worse than "
                "distance alone",
                "open": "On these moves the map cannot be told from one that knows distance and nothing else",
            },
            rules,
        )
    ]
    if head.gain is not None and head.baseline is not None:
        base = map_name(head.baseline)
        found.append(
            _verdict(
                f"Does it see that better than the {base} map?",
                head.gain,
                least,
                "",
                f"paired on the same {plural(head.gain.n, 'move')} in {plural(head.gain.blocks, 'day')}",
                {
                    "yes": f"The correlation is higher than that of the {base} map on the same moves",
                    "no": f"The {base} map explains released open interest better",
                    "open": f"The two correlations differ by no more than chance makes them: {ours} is not shown to be "
                    f"better than the {base} map",
                },
                rules,
            )
        )
    kind, block = ("position", "account") if head.bits_from == "positions" else ("liquidation", "day")
    found.append(
        _verdict(
            "Are its peaks where positions are, more than distance alone would put them?",
            head.bits,
            None,
            " bits",
            observations(head.bits, kind, block),
            {
                "yes": f"A {kind} is found at prices that the map holds for likelier than the same map made flat does",
                "no": f"The map's peaks stand in the wrong places: the same map made flat places a {kind} better, so "
                "its clusters mislead",
                "open": "The map's peaks are neither better nor worse than the same map made flat: its structure is "
                "not shown to be real",
            },
            rules,
        )
    )
    return tuple(found)


def overall(answers: tuple[Verdict, ...]) -> str:
    """Sum the verdicts up in one sentence; what speaks against the map comes first."""
    tally = {answer: sum(v.answer == answer for v in answers) for answer in _HEADS}
    parts = [
        f"{tally[answer]} {text}"
        for answer, text in (
            ("no", "against the map"),
            ("yes", "for the map"),
            ("open", "not distinguishable from the null"),
            ("unknown", "without enough data for an interval"),
        )
        if tally[answer]
    ]
    return f"Of {len(answers)} questions: {', '.join(parts)}."


def _verdict(
    question: str,
    found: Estimate,
    least: int | None,
    unit: str,
    basis: str,
    meanings: dict[str, str],
    rules: ScoringRules,
) -> Verdict:
    level = f"{percent(rules.level, 0)} interval"
    if found.value is None:
        text = missing(found, least)
        return Verdict(question, "unknown", text, basis, _HEADS["unknown"])
    figure = number(found.value, 3, signed=True) + unit.replace(" ", "\u00a0")
    if found.low is None or found.high is None:
        why = found.reason or "no interval"
        told = f"{_HEADS['unknown']} There is a value but no interval, so it may be chance: {why}."
        return Verdict(question, "unknown", figure, basis, told)
    answer = "yes" if found.low > 0 else "no" if found.high < 0 else "open"
    side = {"yes": "lies above zero", "no": "lies below zero", "open": "includes zero"}[answer]
    bounds = f"[{number(found.low, 3, signed=True)},\u00a0{number(found.high, 3, signed=True)}]"
    told = f"{_HEADS[answer]} {meanings[answer]} (the {level} {side})."
    return Verdict(question, answer, f"{figure} {bounds}", basis, told)
