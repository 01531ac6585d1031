"""The event columns: layouts that every source, file and consumer share."""

from __future__ import annotations

import numpy as np
import pytest

from forcedmove_server.market.events import EVENT_DTYPES, TRADE, Channel, EventBatch


@pytest.mark.parametrize("kind", EVENT_DTYPES)
def test_layouts(kind: str) -> None:
    """Times lead as UTC nanoseconds, records are packed and 8-byte aligned, markets are 32-bit indices."""
    dtype = EVENT_DTYPES[kind]
    assert dtype.fields is not None
    assert dtype.fields["time_ns"] == (np.dtype("<i8"), 0)
    assert dtype.fields["market"][0] == np.dtype("<i4")
    assert dtype.itemsize % 8 == 0
    assert dtype.itemsize == sum(field[0].itemsize for field in dtype.fields.values())


def test_an_empty_batch_has_every_kind() -> None:
    batch = EventBatch(until_ns=5)
    assert len(batch) == 0
    assert list(batch.by_kind()) == list(EVENT_DTYPES)
    for kind, rows in batch.by_kind().items():
        assert rows.dtype == EVENT_DTYPES[kind]


def test_length_counts_rows_of_all_kinds() -> None:
    batch = EventBatch(until_ns=5, trades=np.zeros(3, TRADE), gaps=np.zeros(2, EVENT_DTYPES["gaps"]))
    assert len(batch) == 5


def test_batches_do_not_share_arrays() -> None:
    assert EventBatch(1).trades is not EventBatch(2).trades


def test_channels_are_a_wire_and_file_format() -> None:
    assert [(c.name, int(c)) for c in Channel] == [
        ("TRADES", 0),
        ("MARK_PRICES", 1),
        ("OPEN_INTEREST", 2),
        ("LIQUIDATIONS", 3),
        ("DEPTH", 4),
    ]
