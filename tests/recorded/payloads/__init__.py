"""Recorded payloads beside a development checkout, and what each should say.

One module per venue with ``expected(message)``: rows written in plain Python from the venue's documentation, without
our parser's help; None for a message that is none of the venue's public channels, about which nothing is claimed.
``AT_LEAST`` says how many rows of each kind the samples have, so that an oracle cannot fall silent.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

FIXTURES = Path(__file__).parents[4] / "shared" / "exchanges" / "fixtures"


class Row(NamedTuple):
    """One event in model units; ``ts_ms`` None where the message has no time of its own.

    ``side``: buy, sell or "" for trades; long or short for liquidations; bid or ask for levels of a book; else "".
    """

    kind: str  # trade, mark, open_interest, liquidation, book
    native_id: str
    side: str
    price: float | None
    quantity: float | None
    ts_ms: int | None


def files(venue: str) -> list[Path]:
    """Return the venue's fixture files."""
    with (FIXTURES / "INDEX.csv").open(encoding="utf-8") as index:
        return [FIXTURES / row["path"] for row in csv.DictReader(index) if row["exchange"] == venue]


def messages(path: Path) -> Iterator[Any]:
    """Every message of a file, decoded and out of its wrapping (frame, label, ...)."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        documents = [json.loads(line) for line in text.splitlines() if line.strip()]
    else:
        whole = json.loads(text)
        if isinstance(whole, dict) and whole and all(key.startswith("/") for key in whole):  # REST answers by path
            documents = [call["data"] for calls in whole.values() for call in calls]
        else:
            documents = whole if isinstance(whole, list) else [whole]
    for document in documents:
        if isinstance(document, dict):
            if document.get("dir") == "out":
                continue
            for wrapping in ("message", "msg", "payload"):
                if wrapping in document and {"kind", "case", "frame", "method", "recv"} & set(document):
                    document = document[wrapping]
                    break
        if isinstance(document, str):
            try:
                document = json.loads(document)
            except ValueError:
                continue
        yield document
