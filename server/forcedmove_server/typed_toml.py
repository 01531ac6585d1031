"""TOML tables into frozen dataclasses, strictly: what is not understood is an error, and all errors are collected.

A field is ``name: Annotated[type, Key(unit, text, low, high)] = default``: type, unit, range, meaning and default of a
key stand in one place, and documentation can be compared with them.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from forcedmove_server.errors import ConfigError

#: integers of TOML have no bound here, those of the program do
_LARGEST = 2**63


@dataclass(frozen=True, slots=True)
class Key:
    """Unit, meaning and range of one key.

    ``above`` excludes ``low`` itself; ``name`` is the key in the file where the field has another name.
    """

    unit: str
    text: str
    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    name: str = ""

    @property
    def range(self) -> str:
        """The range in words; empty where there is none."""
        if self.low == -math.inf and self.high == math.inf:
            return ""
        if self.high == math.inf:
            return f"{'above' if self.above else 'from'} {_figure(self.low)}"
        if self.above:
            return f"above {_figure(self.low)}, at most {_figure(self.high)}"
        start = "up" if self.low == -math.inf else f"from {_figure(self.low)}"
        return f"{start} to {_figure(self.high)}"


def _figure(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


class KeyInfo(NamedTuple):
    """A key of a table as its dataclass declares it."""

    name: str
    field: str
    type: Any
    key: Key
    default: Any


def keys_of(table: type) -> dict[str, KeyInfo]:
    """Return the declared keys of a table, in order. Fields without a Key are tables themselves and left out."""
    hints = get_type_hints(table, include_extras=True)
    found = {}
    for field in fields(table):
        if get_origin(hints[field.name]) is Annotated:
            kind, key = get_args(hints[field.name])
            name = key.name or field.name
            default = field.default if field.default_factory is MISSING else field.default_factory()
            found[name] = KeyInfo(name, field.name, kind, key, default)
    return found


def parse_file(path: Path) -> dict[str, Any]:
    """Read a TOML file. Raises ConfigError naming the file, and for a syntax error line and column."""
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise ConfigError("file", str(path), error.strerror or "cannot be read", str(path)) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            "file", str(path), f"is not UTF-8 text: {error.reason}", f"{path}, byte {error.start}"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError("file", str(path), f"is not TOML: {error}", str(path)) from None


def fill(
    table: type, raw: object, where: str, place: str, errors: list[ConfigError], beside: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return the checked values of ``raw`` by field name, ready for ``table(**values)``; ``errors`` gets what is wrong.

    ``where`` is the table's name in the file and becomes part of each error's field. Keys that are absent keep the
    dataclass's default; a key without one is an error. Keys named in ``beside`` are the caller's to read.
    """
    if not isinstance(raw, Mapping):
        errors.append(ConfigError(where, raw, "must be a table", place))
        return {}
    keys = keys_of(table)
    prefix = f"{where}." if where else ""
    values: dict[str, Any] = {}
    for name, value in raw.items():
        if name in beside:
            continue
        if name not in keys:
            errors.append(ConfigError(prefix + name, value, unknown_key(name, (*keys, *beside)), place))
            continue
        try:
            values[keys[name].field] = convert(keys[name].type, keys[name].key, value)
        except ValueError as error:
            errors.append(ConfigError(prefix + name, value, str(error), place))
    for name, info in keys.items():
        if info.default is MISSING and name not in raw:
            errors.append(ConfigError(prefix + name, None, f"is missing: {info.key.text}", place))
    return values


def unknown_key(name: str, known: tuple[str, ...]) -> str:
    """Say that a key is unknown, and which one was probably meant."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"unknown key; did you mean {close[0]!r}?" if close else f"unknown key; known: {', '.join(known)}"


def convert(kind: Any, key: Key, value: object) -> Any:
    """Return ``value`` as ``kind``. Raises ValueError saying what it must be; nothing is coerced but int to float."""
    unit = f" ({key.unit})" if key.unit else ""
    if get_origin(kind) is Literal:
        if type(value) is not str or value not in get_args(kind):
            raise ValueError(f"must be one of {', '.join(map(repr, get_args(kind)))}")
        return value
    if kind in (str, str | None):
        if not isinstance(value, str) or not value.strip():
            raise ValueError("must be a text that is not empty")
        return value
    if kind == tuple[str, ...]:
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) and item.strip() for item in value):
            raise ValueError("must be a list of texts")
        return tuple(value)
    if kind == dict[str, str]:
        if not isinstance(value, Mapping) or not all(isinstance(item, str) and item.strip() for item in value.values()):
            raise ValueError("must be a table of texts")
        return dict(value)
    if kind is bool:
        if type(value) is not bool:
            raise ValueError("must be true or false")
        return value
    if kind == (datetime | None):
        return _utc(value)
    if kind is int and type(value) is not int:
        raise ValueError(f"must be a whole number{unit}")
    if kind is float and type(value) not in (int, float):
        raise ValueError(f"must be a number{unit}")
    number = kind(value) if -_LARGEST < value < _LARGEST else math.nan  # type: ignore[operator]
    if not math.isfinite(number) or number < key.low or number > key.high or (key.above and number <= key.low):
        raise ValueError(f"must be a {'whole ' if kind is int else ''}number{unit} {key.range}".rstrip())
    return number


def _utc(value: object) -> datetime:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("must be a time such as 2026-06-11T20:30:00Z") from None
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        raise ValueError("must be a time such as 2026-06-11T20:30:00Z")
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
