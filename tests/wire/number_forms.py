"""A message with its numbers written the other way: text that is a number as one, and numbers as text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?")


class _Digits(str):
    """A number as the message writes it, so that nothing is rounded."""


def as_numbers(message: bytes) -> bytes:
    """Every text that is a number, keys apart, becomes one."""
    return _written(message, lambda value: value if _NUMBER.fullmatch(value) else json.dumps(value))


def as_texts(message: bytes) -> bytes:
    """Every number becomes a text."""
    return _written(message, json.dumps)


def _written(message: bytes, text: Callable[[str], str]) -> bytes:
    def write(value: Any) -> str:
        if isinstance(value, dict):
            return f"{{{','.join(f'{json.dumps(key)}:{write(one)}' for key, one in value.items())}}}"
        if isinstance(value, list):
            return f"[{','.join(map(write, value))}]"
        return text(value) if isinstance(value, str) else json.dumps(value)

    return write(json.loads(message, parse_int=_Digits, parse_float=_Digits)).encode()
