"""Objects of the engine to bytes and back, with nothing in the bytes that could run.

The wiring of a core stays outside: components and what they are configured with are names in the bytes. What can be
read is classes of the modules below, made by their own constructors' ``__new__``, and NumPy's arrays. A snapshot's
checksum is compared before any of this, and its folder belongs to the server alone; the list of modules holds for
bytes that somebody else put there nevertheless.
"""

from __future__ import annotations

import copyreg
import io
import operator
import pickle
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

from forcedmove_server.engine.exact.rows import Held
from forcedmove_server.errors import FileFormatError
from forcedmove_server.market.positions import ExactPosition, PositionKey

#: classes of these modules, and of those below them, may be in a state
_MODULES = (
    "forcedmove_kernels.arrays",
    "forcedmove_server.engine",
    "forcedmove_server.inference",
    "forcedmove_server.margin",
    "forcedmove_server.market",
    "forcedmove_server.scorecard",
    "forcedmove_server.config",
)
_PLAIN: dict[tuple[str, str], Any] = {
    (kind.__module__, kind.__qualname__): kind
    for kind in (Counter, OrderedDict, defaultdict, deque, date, datetime, set, frozenset, bytearray, complex)
} | {("copyreg", name): getattr(copyreg, name) for name in ("__newobj__", "_reconstructor")}


def _numpy_names() -> dict[tuple[str, str], Any]:
    """What NumPy's own pickles name: found by pickling one of each, so that it follows NumPy's versions."""
    found: dict[tuple[str, str], Any] = {}

    class Finder(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            found[module, name] = super().find_class(module, name)
            return found[module, name]

    samples = np.zeros(2), np.zeros((2, 2))[:, ::2], np.float64(1), np.dtype([("x", "<f8")]), np.array([None])
    for protocol in (2, 5):
        buffers: list[pickle.PickleBuffer] = []
        callback = buffers.append if protocol == 5 else None
        raw = pickle.dumps((*samples, UTC), protocol, buffer_callback=callback)
        Finder(io.BytesIO(raw), buffers=buffers).load()
    return found


_PLAIN |= _numpy_names()


def _by_arguments(kind: type) -> Callable[[Any], Any]:
    """Reduce a dataclass with slots to its constructor's arguments: several times as fast as field by field."""
    values = operator.attrgetter(*(field.name for field in fields(kind)))
    return lambda what: (kind, values(what))


#: what a state has tens of thousands of
_MANY = {kind: _by_arguments(kind) for kind in (Held, ExactPosition, PositionKey)}


def component(name: str) -> object:
    """Stand in for a component in a pickle; the one who reads has its own."""
    raise FileFormatError("component", name, "is read by who knows the components")


def packed(
    what: object,
    parts: Mapping[str, object] | None = None,
    on_buffer: Callable[[pickle.PickleBuffer], Any] | None = None,
) -> bytes:
    """Pickle; components are left outside but for their names, and so are arrays where ``on_buffer`` takes them."""
    out = io.BytesIO()
    _Pickler(out, parts or {}, on_buffer).dump(what)
    return out.getvalue()


def unpacked(raw: bytes, parts: Mapping[str, object] | None = None, buffers: Iterable[bytes] = ()) -> Any:
    """Read what :func:`packed` wrote. Raises FileFormatError for anything that it does not write."""
    try:
        # arrays go on being written to
        return _Unpickler(io.BytesIO(raw), parts or {}, [bytearray(buffer) for buffer in buffers]).load()
    except FileFormatError:
        raise
    except Exception as error:  # a pickle that is not one may raise anything
        raise FileFormatError("state", len(raw), f"cannot be read: {error!r}") from error


class _Pickler(pickle.Pickler):
    def __init__(
        self,
        out: io.BytesIO,
        parts: Mapping[str, object],
        on_buffer: Callable[[pickle.PickleBuffer], Any] | None,
    ) -> None:
        super().__init__(out, protocol=5, buffer_callback=on_buffer)
        self._names = {id(part): name for name, part in parts.items()}
        self.dispatch_table = _MANY | dict.fromkeys(map(type, parts.values()), self._reduced)

    def _reduced(self, what: Any) -> Any:
        name = self._names.get(id(what))
        return what.__reduce_ex__(5) if name is None else (component, (name,))


class _Unpickler(pickle.Unpickler):
    def __init__(self, raw: io.BytesIO, parts: Mapping[str, object], buffers: list[bytearray]) -> None:
        super().__init__(raw, buffers=buffers)
        self._parts = parts

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == (component.__module__, component.__qualname__):
            return self._component
        if (module, name) in _PLAIN:
            return _PLAIN[module, name]
        if any(module == own or module.startswith(own + ".") for own in _MODULES):
            found = super().find_class(module, name)
            if isinstance(found, type) and found.__module__ == module:
                return found
        raise FileFormatError("state", f"{module}.{name}", "is not one of the classes that a state is made of")

    def _component(self, name: str) -> object:
        try:
            return self._parts[name]
        except KeyError:
            raise FileFormatError("component", name, "is none of this configuration's") from None
