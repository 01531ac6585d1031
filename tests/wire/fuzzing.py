"""Hostile messages: seeded mutations of good ones, of their bytes and of their JSON."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

_HOSTILE = (
    None, True, False, 0, -1, 1, 1.5, -0.0, 1e308, -1e308, 2**63, -(2**63), 2**70, 1e-320, "", "nan", "inf", "-inf",
    "1e400", "0x10", "1_0", " 1 ", "Buy", "\u0000", "\ud7ff", "9" * 400,
    [], {}, [[]], [{}], {"": None}, [None], [1, 2, 3],
)  # fmt: skip


def hostile_messages(samples: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """``count`` messages, the same for the same seed."""
    source = random.Random(seed)
    plain = [_json(sample) for sample in samples]
    for _ in range(count):
        number = source.randrange(len(samples))
        if source.random() < 0.5 and plain[number] is not None:
            document = plain[number]
            for _ in range(source.choice((1, 1, 1, 2, 4))):
                document = _mutated(document, source)
            yield json.dumps(document).encode()
        else:
            yield _bytes_changed(samples[number], source)


def _json(sample: bytes) -> Any:
    content = gzip.decompress(sample) if sample[:2] == b"\x1f\x8b" else sample
    try:
        return json.loads(content)
    except ValueError:
        return None


def _mutated(document: Any, source: random.Random) -> Any:
    """Change one place somewhere in the document."""
    if isinstance(document, dict) and document and source.random() < 0.8:
        key = source.choice(list(document))
        changed = dict(document)
        roll = source.random()
        if roll < 0.15:
            del changed[key]
        elif roll < 0.2:
            changed[source.choice(list(document))] = changed[key]
        else:
            changed[key] = _mutated(document[key], source)
        return changed
    if isinstance(document, list) and document and source.random() < 0.8:
        place = source.randrange(len(document))
        roll = source.random()
        if roll < 0.15:
            return document[:place] + document[place + 1 :]
        if roll < 0.3:
            return [*document, document[place]]
        return [*document[:place], _mutated(document[place], source), *document[place + 1 :]]
    return source.choice(_HOSTILE)


def _bytes_changed(sample: bytes, source: random.Random) -> bytes:
    content = bytearray(sample)
    for _ in range(source.choice((1, 1, 2, 8))):
        roll = source.random()
        place = source.randrange(len(content) + 1)
        if roll < 0.4 and content:
            content[min(place, len(content) - 1)] = source.randrange(256)
        elif roll < 0.6:
            del content[place : place + source.choice((1, 4, 64))]
        elif roll < 0.8:
            content[place:place] = bytes(source.randrange(256) for _ in range(source.choice((1, 3))))
        else:
            content[place:place] = content[: source.randrange(40)]
    return bytes(content)
