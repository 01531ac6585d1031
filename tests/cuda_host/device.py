"""A CPU in the place of a GPU: the CUDA sources, built by g++, run block after block on host threads."""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from forcedmove_kernels.cuda.compiler import FOLDER
from forcedmove_kernels.cuda.device import CHUNK, TILE, Shape

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build" / "cuda-host"
FLAGS = (
    "-std=c++17",
    "-O2",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-ffp-contract=off",
    "-shared",
    "-fPIC",
    "-pthread",
    "-fvisibility=hidden",
)
POISON = 0xA5


class CompilerMissing(RuntimeError):
    """There is no g++."""


@cache
def library(small_blocks: bool = False) -> ctypes.CDLL:
    """Build the host library, unless its sources were built before, and load it."""
    compiler = shutil.which("g++")
    if compiler is None:
        raise CompilerMissing("g++ is not installed: the CUDA sources cannot be built for the host")
    flags = (*FLAGS, "-DSMALL_BLOCKS") if small_blocks else FLAGS
    sources = sorted([*FOLDER.glob("*.cu*"), HERE / "host.h", HERE / "launch.cpp"])
    content = hashlib.sha256(b"".join(source.read_bytes() for source in sources) + " ".join(flags).encode())
    path = BUILD / f"kernels-{content.hexdigest()[:16]}.so"
    if not path.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=BUILD) as folder:
            made = Path(folder) / "kernels.so"
            command = [compiler, *flags, f"-I{HERE}", f"-I{FOLDER}", str(HERE / "launch.cpp"), "-o", str(made)]
            subprocess.run(command, check=True)
            made.replace(path)  # another process may have been faster; the content is the same
    built = ctypes.CDLL(str(path))
    built.argument_bytes.restype = ctypes.c_uint64
    built.argument_bytes.argtypes = [ctypes.c_char_p]
    built.kernel_names.restype = ctypes.c_char_p
    built.launch.argtypes = [
        ctypes.c_char_p,
        *[ctypes.c_uint32] * 3,
        ctypes.c_uint64,
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
    ]
    return built


class HostDevice:
    """Implements :class:`forcedmove_kernels.cuda.device.Device` on the CPU.

    ``threads`` host threads share out the blocks; ``order`` is the order of a block's threads within a phase.
    ``small_blocks`` splits even small rows into many tiles and chunks.
    """

    name = "the host build of the CUDA sources"

    def __init__(
        self, threads: int = 1, order: Literal["forward", "reverse"] = "forward", small_blocks: bool = False
    ) -> None:
        self.tile, self.chunk = (16, 8) if small_blocks else (TILE, CHUNK)
        self._library = library(small_blocks)
        self._threads, self._reversed = threads, order == "reverse"
        #: launches by kernel, for tests
        self.launched: dict[str, int] = {}

    def empty(self, shape: Shape, dtype: DTypeLike) -> NDArray[Any]:
        array = np.empty(shape, dtype)
        array.reshape(-1).view(np.uint8)[:] = POISON
        return array

    def zeros(self, shape: Shape, dtype: DTypeLike) -> NDArray[Any]:
        return np.zeros(shape, dtype)

    def upload(self, array: NDArray[Any]) -> NDArray[Any]:
        return np.array(array, order="C", copy=True)

    def write(self, target: NDArray[Any], source: NDArray[Any]) -> None:
        assert target.flags.c_contiguous
        assert target.shape == source.shape, (target.shape, source.shape)
        target[...] = source

    def clear(self, target: NDArray[Any]) -> None:
        assert target.flags.c_contiguous
        target[...] = 0

    def download(self, array: NDArray[Any]) -> NDArray[Any]:
        assert array.flags.c_contiguous
        return array.copy()

    def address(self, array: NDArray[Any]) -> int:
        assert array.flags.c_contiguous
        return array.ctypes.data

    def staging(self, size: int) -> NDArray[np.uint8]:
        return np.full(size, POISON, np.uint8)

    def send(self, target: NDArray[Any], source: NDArray[np.uint8]) -> None:
        target[...] = source

    def receive(self, target: NDArray[np.uint8], source: NDArray[Any]) -> None:
        target[...] = source

    def wait(self, ticket: Any) -> None:
        pass

    def launch(
        self, kernel: str, grid: tuple[int, int, int], arguments: NDArray[np.void], shared_bytes: int = 0
    ) -> None:
        assert self._library.argument_bytes(kernel.encode()) == arguments.nbytes, kernel
        assert all(0 < size < limit for size, limit in zip(grid, (1 << 31, 1 << 16, 1 << 16), strict=True)), grid
        assert shared_bytes <= 48 << 10, shared_bytes
        pointer = arguments.ctypes.data_as(ctypes.c_void_p)
        missing = self._library.launch(
            kernel.encode(), *grid, shared_bytes, pointer, self._threads, int(self._reversed)
        )
        assert not missing, kernel
        self.launched[kernel] = self.launched.get(kernel, 0) + 1

    def background(self) -> HostDevice:
        return self

    def free_bytes(self) -> int:
        return 1 << 40
