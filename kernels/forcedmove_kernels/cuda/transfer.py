"""Small host arrays on their way to the device and back: packed into one block, one copy each way."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from forcedmove_kernels.cuda.device import Device

_ALIGNMENT = 16


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def carved(block: Any, shapes: Iterable[tuple[int, ...]]) -> Iterator[Any]:
    """Return arrays of these shapes, one behind the other in a flat ``block``, here or on the device."""
    begin = 0
    for shape in shapes:
        end = begin + math.prod(shape)
        yield block[begin:end].reshape(shape)
        begin = end


class Scratch:
    """Device memory that is used again by every call; it grows to the largest one seen."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._block: Any = device.empty(0, np.uint8)

    def take(self, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        """Return an array over the block; what was taken before is gone."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if size > self._block.shape[0]:
            self._block = None  # what is let go can be part of what is taken
            self._block = self._device.empty(size + size // 2, np.uint8)
        return self._block[:size].view(dtype).reshape(shape)


class _Packet:
    """A staged host block and its twin on the device."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._staged = device.staging(1)
        self._twin = Scratch(device)
        self._ticket: Any = None

    def send(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, int]:
        if self._ticket is not None:
            self._device.wait(self._ticket)
        size = sum(_aligned(array.nbytes) for array in arrays.values())
        if size > len(self._staged):
            self._staged = self._device.staging(size + size // 2)
        twin = self._twin.take((size,), np.uint8)
        where, at = {}, 0
        for name, array in arrays.items():
            self._staged[at : at + array.nbytes].view(array.dtype)[:] = array.reshape(-1)
            where[name] = self._device.address(twin) + at
            at += _aligned(array.nbytes)
        self._ticket = self._device.send(twin, self._staged[:size]) if size else None
        return where


class Packets:
    """Two packets in turn: one is filled while the other may still be on its way."""

    def __init__(self, device: Device) -> None:
        self._turn = cycle([_Packet(device), _Packet(device)])

    def send(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, int]:
        """Send arrays; return the device address of each, which holds until the call after the next."""
        return next(self._turn).send(arrays)


class Receiver:
    """Results on the way back, through one pinned block: many small ones in one copy, or one array."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._twin = Scratch(device)
        self._staged = device.staging(1)
        self._block: Any = None
        self._parts: dict[str, slice] = {}

    def block(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """Make room for results of so many bytes; return the device address of each."""
        at, where = 0, {}
        self._parts = {}
        self._block = self._twin.take((sum(map(_aligned, sizes.values())),), np.uint8)
        base = self._device.address(self._block)
        for name, size in sizes.items():
            self._parts[name] = slice(at, at + size)
            where[name] = base + at
            at += _aligned(size)
        return where

    def receive(self) -> dict[str, NDArray[np.uint8]]:
        """Return the bytes of each result once all work asked for before is done; they hold until the next block."""
        staged = self._stage(self._block)
        return {name: staged[part] for name, part in self._parts.items()}

    def fetch(self, array: Any) -> NDArray[Any]:
        """Return a host copy of a contiguous array on the device."""
        if not array.size:
            return np.empty(array.shape, array.dtype)
        staged = self._stage(array.reshape(-1).view(np.uint8))
        copy: NDArray[Any] = staged.view(array.dtype).reshape(array.shape).copy()
        return copy

    def _stage(self, source: Any) -> NDArray[np.uint8]:
        size = source.shape[0]
        if size > len(self._staged):
            self._staged = self._device.staging(size + size // 2)
        staged = self._staged[:size]
        if size:
            self._device.wait(self._device.receive(staged, source))
        return staged
