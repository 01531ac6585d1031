"""``forcedmove liqprice --batch``: a CSV file of positions, one JSON line each; nothing is left out."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from forcedmove_server.errors import FileFormatError, ForcedMoveError, InputError
from forcedmove_server.margin.equations import FORMULAS
from forcedmove_server.margin.position import OtherPosition
from forcedmove_server.margin.question import Answer, Question
from forcedmove_server.market.instruments import ContractType

#: without these a row is no position
_NEEDED = ("side", "entry")
_DIGITS = r"[-+]?(?:\d{1,3}(?:,\d{3})+(?:\.\d*)?|\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
#: a number, perhaps in per cent, perhaps with words behind it that say what it counts
_NUMBER = re.compile(rf"^({_DIGITS})\s*(%?)(?:\s+[A-Za-z][^\d]*)?$")
#: a number of contracts times what each is worth
_CONTRACTS = re.compile(rf"^({_DIGITS})\s+contracts?\s+[x*]\s+({_DIGITS})(?:\s+[A-Za-z][^\d]*)?$")
_LEG = re.compile(r"\b(qty|entry|mark|mmr|cum)(?:\s*[:=]\s*|\s+)([-+\w.,]+(?:\s*%)?)", re.IGNORECASE)
#: a part of a text that is meant as a leg, and a number in it that no word claims
_QUANTITY = re.compile(r"\b(?:qty|entry|mark)\b\s*[:=]?\s*[-+.\d]|\bqty\b", re.IGNORECASE)
_STRAY = re.compile(r"(?<![\w.,])[-+]?[.,]?\d[\d.,]*%?(?![\w-])")
#: marks the other positions of a cross account in the column ``notes``
_OTHER_LEG = re.compile(r"(?<!\bno )\b(?:other|second|2nd)\s+(?:leg|position)s?\b", re.IGNORECASE)
#: the word for a side that a leg may say instead
_SIDES = {"buy": "long", "sell": "short"}
_FORMULA = re.compile(r"\b[LI]\d+(?:\+fee)?", re.IGNORECASE)
#: what a fee is called where the formula counts none, and where the row does not say
_NO_FEE = ("cancels", "none", "no")
_UNSTATED = ("", "n/a", "na", "-", "unknown", "not stated", "taker")
_ISOLATED = ("", "isolated", "margin account", "n/a", "-")


def answer_rows(path: Path, ask: Callable[[Question], Answer], out: TextIO, err: TextIO) -> int:
    """Answer every row of ``path`` by ``ask`` on ``out``; return 2 when a row that should have an answer has none.

    A row that cannot be answered gets ``{"error": {field, value, reason}}``; one that its column ``reproduced`` marks
    "n/a" is not held against the file. Raises FileFormatError for a file that cannot be read or lacks a column.
    """
    failed = total = 0
    for number, row in enumerate(_rows(path), 2):
        total += 1
        line: dict[str, Any] = {name: row[name] for name in ("row_id", "id") if row.get(name)}
        try:
            line |= as_json(ask(question_of(row)))
        except ForcedMoveError as error:
            field, value = getattr(error, "field", ""), getattr(error, "value", None)
            if isinstance(value, float) and not math.isfinite(value):
                value = str(value)  # JSON has no such numbers
            line |= {
                "liquidation_price": None,
                "error": {"line": number, "field": field, "value": value, "reason": str(error)},
            }
            failed += row.get("reproduced", "").strip().lower() != "n/a"
        out.write(json.dumps(line) + "\n")
    if failed:
        err.write(f"forcedmove: {path}: {failed} of {total} rows have no answer; their lines say why\n")
    return 2 if failed else 0


def question_of(row: Mapping[str, str]) -> Question:
    """Read one row; the columns are described in docs/FORMATS.md. Raises InputError naming column and value."""
    for name in _NEEDED:
        if not row.get(name, "").strip():
            raise InputError(name, row.get(name), "is empty: the row has no position to price")
    contract = _contract(row)
    formula = _formula(row)
    cross = _cross(row)
    margin, leverage = _number(row, "margin"), _number(row, "leverage")
    balance = _number(row, "balance")
    return Question(
        venue=row.get("exchange", "").strip() or None,
        symbol=row.get("symbol", "").strip() or "BTC",
        contract=contract,
        side=row["side"].strip().lower(),
        entry=_number(row, "entry") or 0.0,
        quantity=_number(row, "qty_base"),
        leverage=leverage,
        margin=None if cross else margin,
        balance=(margin if balance is None else balance) if cross else None,
        others=_others(row) if cross else (),
        mmr=_number(row, "mmr"),
        maint_amount=_number(row, "maint_amount"),
        fee=_fee(row),
        formula=formula,
        max_leverage=_number(row, "max_leverage"),
    )


def as_json(found: Answer) -> dict[str, Any]:
    """The answer with the agreed keys; prices that do not exist are null."""
    liquidation = found.liquidation
    return {
        "liquidation_price": liquidation.liquidation_price,
        "bankruptcy_price": liquidation.bankruptcy_price,
        "status": str(liquidation.status),
        "mmr": liquidation.maintenance_rate,
        "maint_amount": liquidation.maintenance_amount,
        "tier": liquidation.tier,
        "fee": liquidation.fee_rate,
        "rule": found.formula,
        "formula": found.formula_text,
        "source": found.source,
        "confidence": str(found.confidence),
        "trigger": found.trigger,
        "tiers": found.tiers,
        "tiers_stale": found.tiers_stale,
        "first_step_share": liquidation.first_step_share,
        "process": found.process,
        "cooldown_s": found.cooldown_s,
        "notes": list(found.notes),
    }


def legs_of(text: str, place: str) -> tuple[OtherPosition, ...]:
    """Read legs such as ``BTC: qty 109.488 entry 32481.98 mark 31967.27 mmr 2.5% cum 16300``, separated by semicolons.

    A negative quantity or the word ``short`` makes a short; ``linear`` or ``inverse`` says what kind of contract it is.
    Parts without quantity, entry and mark are remarks. Raises InputError naming the word that is missing, twice there,
    or no number, and a number that no word claims.
    """
    parts = (part for piece in re.split(r";|\n", text) for part in _OTHER_LEG.split(piece))
    legs = [_leg(part, place) for part in parts if _QUANTITY.search(part)]
    if not legs:
        raise InputError(f"{place} qty", text or None, "is missing: write 'qty .. entry .. mark .. mmr .. cum ..'")
    return tuple(legs)


def _leg(text: str, place: str) -> OtherPosition:
    found = [(name.lower(), value.rstrip(",.")) for name, value in _LEG.findall(text)]
    words = dict(found)
    if len(words) < len(found):
        raise InputError(place, text.strip(), "says something twice; separate legs by semicolons")
    stray = _STRAY.search(_LEG.sub(" ", text))
    if stray:
        raise InputError(place, text.strip(), f"has {stray.group()} without a word: qty, entry, mark, mmr or cum")
    numbers = {}
    for name in ("qty", "entry", "mark", "mmr", "cum"):
        value = words.get(name, "0" if name in ("mmr", "cum") else "")
        number = _parse(value)
        if number is None:
            raise InputError(f"{place} {name}", value or None, f"must be a number in {text.strip()!r}")
        numbers[name] = number
    words_said = re.findall(r"\b(?:long|short|buy|sell|linear|inverse)\b", text.lower())
    said = {_SIDES.get(word, word) for word in words_said}
    if said >= {"long", "short"} or said >= {"linear", "inverse"}:
        raise InputError(place, text.strip(), "says both of two sides, or of two kinds of contract")
    return OtherPosition(
        quantity=-abs(numbers["qty"]) if "short" in said else numbers["qty"],
        entry=numbers["entry"],
        mark=numbers["mark"],
        maintenance_rate=numbers["mmr"],
        maintenance_amount=numbers["cum"],
        inverse="inverse" in said if said & {"linear", "inverse"} else None,
    )


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            columns = [name.strip().lower() for name in reader.fieldnames or []]
            reader.fieldnames = columns
            rows = [{k: v or "" for k, v in row.items() if isinstance(k, str)} for row in reader]
    except OSError as error:
        raise FileFormatError("batch", str(path), error.strerror or "cannot be read") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise FileFormatError("batch", str(path), f"is not a CSV file: {error}") from None
    for name in _NEEDED:
        if name not in columns:
            raise FileFormatError("columns", list(columns), f"need {name!r}", str(path))
    if not rows:
        raise FileFormatError("batch", str(path), "has no rows")
    return rows


def _parse(text: str) -> float | None:
    """Read a number: ``60000 USD contracts`` is 60000, ``2.5%`` 0.025, ``1,234.5`` 1234.5; None for anything else."""
    found = _NUMBER.match(text.strip())
    if found:
        value = float(found[1].replace(",", "").replace("_", ""))
        return value / 100 if found[2] else value
    contracts = _CONTRACTS.match(text.strip())
    return None if contracts is None else math.prod(float(part.replace(",", "")) for part in contracts.groups())


def _number(row: Mapping[str, str], name: str) -> float | None:
    text = row.get(name, "").strip()
    if not text:
        return None
    value = _parse(text)
    if value is None:
        raise InputError(name, text, "is not a number")
    return value


def _fee(row: Mapping[str, str]) -> float | None:
    """The fee of the row: 0 where a word says that the formula counts none, None where it is not stated."""
    text = row.get("fee_rate_in_formula", "").strip()
    if text.lower() in _NO_FEE:
        return 0.0
    if text.lower() in _UNSTATED:
        return None
    return _number({"fee_rate_in_formula": re.sub(r"^[a-z ]+(?=[\d.])", "", text.lower())}, "fee_rate_in_formula")


def _cross(row: Mapping[str, str]) -> bool:
    text = row.get("margin_mode", "").strip().lower()
    if "cross" in text:
        return True
    if text not in _ISOLATED and "isolated" not in text:
        raise InputError("margin_mode", row["margin_mode"], "must be isolated or cross")
    return False


def _contract(row: Mapping[str, str]) -> ContractType | None:
    word = re.match(r"[a-z]*", row.get("contract_type", "").strip().lower())
    text = word.group() if word else ""
    if not text:
        return None
    try:
        return ContractType(text)
    except ValueError:
        raise InputError("contract_type", row["contract_type"], "must begin with linear or inverse") from None


def _formula(row: Mapping[str, str]) -> str | None:
    """The first formula that a row names: ``L4 (legacy, MM on entry value)``, ``legacy L4``, ``L1-cross``; or None."""
    word = _FORMULA.search(row.get("formula_id", ""))
    if word is None:
        return None
    name = word.group()[:2].upper() + word.group()[2:].lower()
    if name not in FORMULAS:
        raise InputError("formula_id", row["formula_id"], f"names no formula; known: {', '.join(FORMULAS)}")
    return name


def _others(row: Mapping[str, str]) -> tuple[OtherPosition, ...]:
    """Other positions of a cross row: everything behind ``other leg`` in its notes.

    Raises InputError for notes that give a position, of quantity, entry and mark two, but do not say whose.
    """
    notes = row.get("notes", "")
    marker = _OTHER_LEG.search(notes)
    if marker is not None and ("leg" in marker.group().lower() or _QUANTITY.search(notes, marker.end())):
        return legs_of(notes[marker.end() :], "notes: other leg")
    given = {name.lower() for name, value in _LEG.findall(notes) if _parse(value.rstrip(",.")) is not None}
    if len(given & {"qty", "entry", "mark"}) > 1:
        raise InputError("notes", notes, "has a position: write 'other leg' before the other positions of the account")
    return ()
