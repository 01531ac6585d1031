"""The last renderings of watched views, on the device: what comes back is what changed since, of all views at once."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np

from forcedmove_kernels.arrays import F32, U32, U64
from forcedmove_kernels.budget import frame_bytes
from forcedmove_kernels.cuda import launches
from forcedmove_kernels.cuda.device import Device
from forcedmove_kernels.cuda.transfer import Receiver, Scratch, carved
from forcedmove_kernels.renderings import LISTED_PART


class WatchedFrames:
    """Frames by the name of their view, up to ``room`` bytes with what comparing them works in."""

    def __init__(self, device: Device, receiver: Receiver, room: int) -> None:
        self._device, self._receiver, self._room = device, receiver, room
        self._frames: dict[Hashable, Any] = {}
        self._work = Scratch(device)

    def earlier(self, name: Hashable, shape: tuple[int, ...]) -> Any | None:
        """Return the frame of a view, if there is one of this shape."""
        frame = self._frames.get(name)
        return None if frame is None or frame.shape != shape else frame

    def place(self, name: Hashable, shape: tuple[int, ...]) -> Any | None:
        """Return memory for the first frame of a view, or the first of a new shape; None where there is no room."""
        self.forget((name,))
        cost = frame_bytes(math.prod(shape))
        if cost > self._room:
            return None
        self._room -= cost
        self._frames[name] = self._device.empty(shape, np.float32)
        return self._frames[name]

    def forget(self, names: Iterable[Hashable]) -> None:
        """Give back the memory of views; those that are not known are passed over."""
        for name in names:
            frame = self._frames.pop(name, None)
            if frame is not None:
                self._room += frame_bytes(math.prod(frame.shape))

    def comparisons(self, sizes: Sequence[int]) -> Comparisons:
        """Return room for comparisons of frames of so many cells, in this order. It holds until the next call."""
        return Comparisons(self._device, self._receiver, self._work, sizes)


class Comparisons:
    """Frames compared one after the other; the changes of all lie one behind the other."""

    def __init__(self, device: Device, receiver: Receiver, work: Scratch, sizes: Sequence[int]) -> None:
        self._device, self._receiver, self._sizes = device, receiver, sizes
        blocks = launches.blocks_for(max(sizes, default=0))
        shapes = (1,), (len(sizes),), (blocks,), (sum(map(_most, sizes)),)
        block = work.take((sum(map(math.prod, shapes)),), np.uint64)
        self._listed, self._changed, self._found, self._cells = carved(block, shapes)
        self._counts = block[: 1 + len(sizes)]
        self._compared = 0
        device.clear(self._counts)

    def compare(self, frame: Any, usd: Any) -> None:
        """List what changed, and bring ``frame`` up to date with ``usd``, which has as many cells."""
        k, size = self._compared, self._sizes[self._compared]
        scratch = self._found, self._changed[k : k + 1], self._listed, self._cells
        launches.changed_cells(self._device, frame, usd, *scratch, size, _most(size))
        self._compared += 1

    def changes(self) -> list[U64 | None]:
        """Return the changes of each comparison, in two copies; None where they are too many.

        A change is the flat index of a cell and, 32 bits higher, its new bits. They ascend.
        """
        if not self._sizes:
            return []
        listed, *counts = self._receiver.fetch(self._counts).tolist()
        cells = self._receiver.fetch(self._cells[:listed])
        found: list[U64 | None] = []
        end = 0
        for changed, size in zip(counts, self._sizes, strict=True):
            if changed > _most(size):
                found.append(None)
                continue
            found.append(cells[end : end + changed])
            end += changed
        return found


def patched(before: F32 | None, changes: U64) -> tuple[F32, U32]:
    """Return a frame with its changes, leaving ``before`` as it was, and the cells that changed."""
    assert before is not None, "a frame is kept that the host has no copy of"
    index, bits = changes.view(np.uint32).reshape(-1, 2).T.copy()
    if not len(index):
        return before, index
    values = before.copy()
    values.reshape(-1).view(np.uint32)[index] = bits
    return values, index


def _most(size: int) -> int:
    """Changed cells of a frame of ``size`` that are listed at most."""
    return size // LISTED_PART
