"""What is state and what is wiring: nothing is named that is not there, and no array is kept twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from forcedmove_server.engine.core import EngineCore
from forcedmove_server.engine.recovery.pickling import packed, unpacked
from forcedmove_server.engine.recovery.record import CHANGES
from forcedmove_server.engine.recovery.state import WIRING, attributes, components
from forcedmove_server.errors import FileFormatError
from tests.recovery.script import new_core, script, uninterrupted


@pytest.fixture(scope="module")
def core() -> EngineCore:
    """A core in which everything has happened: positions, crossings, scores, cascades."""
    return uninterrupted(script(3, 20))


def test_every_change_can_be_written_down() -> None:
    assert CHANGES.keys() == new_core().changes.keys()


def test_what_is_named_as_wiring_is_there(core: EngineCore) -> None:
    parts = components(core)
    assert WIRING.keys() == parts.keys()
    for name, part in parts.items():
        assert WIRING[name] <= attributes(part, frozenset()).keys(), name


def test_wiring_is_what_a_new_core_has_too(core: EngineCore) -> None:
    """What is configured is the same in a core that has seen nothing: it need not be kept."""
    fresh = components(new_core())
    for name, part in components(core).items():
        for attribute in WIRING[name] - {"_taking", "_unfinished", "_began_s", "maps", "states"}:
            value, made = getattr(part, attribute), getattr(fresh[name], attribute)
            if isinstance(value, bool | int | float | str | tuple | type(None)):
                assert value == made, f"{name}.{attribute}"
            assert type(value) is type(made), f"{name}.{attribute}"


def test_no_two_arrays_of_a_state_share_memory(core: EngineCore) -> None:
    """They would be two in a core that was brought back, and a write to one would not be seen in the other."""
    parts = components(core)
    inside = {id(part) for part in parts.values()}
    found: dict[int, NDArray[Any]] = {}
    for name, part in parts.items():
        for value in attributes(part, WIRING[name]).values():
            found |= {id(array): array for array in _arrays(value, inside)}
    spans = sorted((array.__array_interface__["data"][0], array) for array in found.values() if array.nbytes)
    assert len(spans) > 100
    for (_, one), (_, other) in pairwise(spans):
        assert not np.shares_memory(one, other)


def _arrays(value: Any, inside: set[int]) -> Iterator[NDArray[Any]]:
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from _arrays(key, inside)
            yield from _arrays(one, inside)
    elif isinstance(value, list | tuple | set | frozenset) or hasattr(value, "popleft"):
        for one in value:
            yield from _arrays(one, inside)
    elif type(value).__module__.startswith("forcedmove") and id(value) not in inside and not isinstance(value, Enum):
        inside.add(id(value))
        for one in attributes(value, frozenset()).values():
            yield from _arrays(one, inside)


def test_a_component_of_another_configuration_is_refused(core: EngineCore) -> None:
    parts = components(core)
    raw = packed([parts["scorecard"]], parts)
    assert unpacked(raw, parts) == [parts["scorecard"]]
    with pytest.raises(FileFormatError, match="none of this configuration's"):
        unpacked(raw, {})
