"""One number for a core's state: equal states have equal digests, whatever process made them and by which way."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Set
from enum import Enum
from typing import Any

import numpy as np

from forcedmove_server.engine.core import EngineCore
from forcedmove_server.engine.recovery.state import WIRING, attributes, components, resident_rows

#: of what an epoch is part, it is left out; remembered headlines are made again from what was scored
_LEFT_OUT = frozenset({"epoch", "_short"})


def digest(core: EngineCore) -> str:
    """Return SHA-256, in hexadecimal digits, of everything that the next tick depends on, and of what was published."""
    return hashlib.sha256("".join(digests(core).values()).encode()).hexdigest()


def digests(core: EngineCore) -> dict[str, str]:
    """Return the digest of every component, of the cohorts, of the events and of the maps."""
    parts = components(core)
    names = {id(part): name for name, part in parts.items()}
    whole: dict[str, Any] = {name: attributes(part, WIRING[name]) for name, part in parts.items()}
    whole["registry"] = list(core.registry)
    whole["cohorts"] = list(resident_rows(core.pipeline.store))
    whole["events"] = core.clusters.log.kept()
    whole["maps"] = core.maps
    whole["states"] = core.states
    return {name: _digest(value, names, (id(parts.get(name)),)).hex() for name, value in whole.items()}


def _digest(value: Any, names: Mapping[int, str], above: tuple[int, ...]) -> bytes:
    """Digest of a value by what it is equal to: the order of a set or the identity of an object does not count."""
    if id(value) in names:
        return _sum("component", names[id(value)].encode())
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            return _sum("objects", *(_digest(one, names, above) for one in value.ravel().tolist()))
        return _sum("array", value.dtype.str.encode(), str(value.shape).encode(), np.ascontiguousarray(value).tobytes())
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | Enum | np.generic | np.dtype):
        return _sum(type(value).__name__, repr(value).encode())
    if id(value) in above:
        return _sum("cycle", str(above.index(id(value))).encode())
    above = (*above, id(value))
    if isinstance(value, Mapping):
        pairs = [_digest(key, names, above) + _digest(one, names, above) for key, one in value.items()]
        return _sum(type(value).__name__, *pairs)
    if isinstance(value, Set):
        return _sum("set", *sorted(_digest(one, names, above) for one in value))
    if isinstance(value, list | tuple) or hasattr(value, "popleft"):
        return _sum(type(value).__name__, *(_digest(one, names, above) for one in value))
    found = attributes(value, _LEFT_OUT)
    if not found and not type(value).__module__.startswith("forcedmove"):
        return _sum(type(value).__name__, repr(value).encode())
    return _sum(
        type(value).__qualname__, *(name.encode() + _digest(found[name], names, above) for name in sorted(found))
    )


def _sum(kind: str, *pieces: bytes) -> bytes:
    state = hashlib.sha256(kind.encode())
    for piece in pieces:
        state.update(len(piece).to_bytes(8, "little"))
        state.update(piece)
    return state.digest()
