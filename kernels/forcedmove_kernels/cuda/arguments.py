"""Kernel arguments: the structs of ``records.cuh`` as NumPy dtypes, and packing them.

The header is the one place that says what a kernel takes. Every field there is eight bytes wide, so that a struct has
the same layout for NVRTC, nvcc, g++ and NumPy; a test compares the sizes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).parent
_NUMBERS = {"i64": "<i8", "u64": "<u8", "double": "<f8"}
_STRUCT = re.compile(r"^struct (\w+) \{(.*?)^\};", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^\s+(?:const )?(\w+)(\*?) (\w+);", re.MULTILINE)


@cache
def structs() -> dict[str, np.dtype[np.void]]:
    """Return every struct of ``records.cuh`` by name, as a dtype."""
    found: dict[str, np.dtype[np.void]] = {}
    for name, body in _STRUCT.findall((FOLDER / "records.cuh").read_text()):
        fields = []
        for kind, star, field in _FIELD.findall(body):
            fields.append((field, "<u8" if star else _NUMBERS.get(kind) or found[kind]))
        found[name] = np.dtype(fields)
    return found


def pack(struct: str, fields: Mapping[str, Any], address: Callable[[Any], int]) -> NDArray[np.void]:
    """Return one ``struct`` as an array of one element, which CuPy passes by value.

    ``fields`` has a number, an array (``address`` tells where it lies), None for no array, or a mapping for a struct
    inside. Raises KeyError unless it has exactly the struct's fields.
    """
    packed = np.zeros(1, structs()[struct])
    packed[0] = _values(packed.dtype, fields, address)
    return packed


def _values(dtype: np.dtype[Any], fields: Mapping[str, Any], address: Callable[[Any], int]) -> tuple[Any, ...]:
    names = dtype.names or ()
    if set(names) != set(fields):
        raise KeyError(f"fields {sorted(set(names) ^ set(fields))} are missing or unknown")
    values = []
    for name in names:
        value = fields[name]
        if isinstance(value, Mapping):
            value = _values(dtype[name], value, address)
        elif value is None:
            value = 0
        elif not isinstance(value, int | float | np.number):
            value = address(value)
        values.append(value)
    return tuple(values)
