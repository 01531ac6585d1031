"""Where kernels run: memory, copies and launches. :class:`CupyDevice` is a GPU; tests put a CPU in its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from forcedmove_kernels.cuda.compiler import OPTIONS, unit
from forcedmove_kernels.errors import BackendUnavailableError

Shape = int | tuple[int, ...]

THREADS = 256
#: cohorts and cells of a block, as in grid.cuh
TILE, CHUNK = 4096, 4096
#: lower numbers go first: a tick does not wait behind a batch of chains
_TICK_PRIORITY, _BACKGROUND_PRIORITY = -1, 0


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A GPU and the software that reaches it."""

    index: int
    name: str
    total_bytes: int
    free_bytes: int
    compute_capability: str  # "9.0"
    driver_version: str  # of CUDA: what the driver supports
    runtime_version: str
    cupy_version: str


class Device(Protocol):
    """Memory, copies and launches. Work is done in the order it was asked for; what is downloaded is finished."""

    name: str
    tile: int  # cohorts of a block, and
    chunk: int  # cells of a block, as the kernels were built

    def empty(self, shape: Shape, dtype: DTypeLike) -> Any:
        """Return an array whose elements are anything."""
        ...

    def zeros(self, shape: Shape, dtype: DTypeLike) -> Any:
        """Return an array of zeros."""
        ...

    def upload(self, array: NDArray[Any]) -> Any:
        """Return a copy of a host array."""
        ...

    def write(self, target: Any, source: NDArray[Any]) -> None:
        """Copy a host array over ``target``, an array or a contiguous part of one."""
        ...

    def clear(self, target: Any) -> None:
        """Set an array, or a contiguous part of one, to zero."""
        ...

    def download(self, array: Any) -> NDArray[Any]:
        """Return a host copy of an array, or of a contiguous part of one."""
        ...

    def address(self, array: Any) -> int:
        """Return where an array lies."""
        ...

    def staging(self, size: int) -> NDArray[np.uint8]:
        """Return ``size`` host bytes that can be copied while other work goes on."""
        ...

    def send(self, target: Any, source: NDArray[np.uint8]) -> Any:
        """Start copying staged bytes to ``target`` (u8); returns what :meth:`wait` takes."""
        ...

    def receive(self, target: NDArray[np.uint8], source: Any) -> Any:
        """Start copying ``source`` (u8) into staged bytes; returns what :meth:`wait` takes."""
        ...

    def wait(self, ticket: Any) -> None:
        """Wait until a copy, and all that was asked for before it, is done."""
        ...

    def launch(
        self, kernel: str, grid: tuple[int, int, int], arguments: NDArray[np.void], shared_bytes: int = 0
    ) -> None:
        """Start a kernel of 256 threads a block; ``arguments`` from :func:`forcedmove_kernels.cuda.arguments.pack`."""
        ...

    def background(self) -> Device:
        """Return the same memory with a queue of lower priority."""
        ...

    def free_bytes(self) -> int:
        """Return how much memory can still be taken."""
        ...


def _cupy() -> Any:
    try:
        import cupy
    except ImportError as error:
        raise BackendUnavailableError(
            f"CuPy cannot be imported ({error}): pip install 'forcedmove[cuda13]' or 'forcedmove[cuda12]', "
            "as the driver supports"
        ) from error
    return cupy


def devices() -> list[DeviceInfo]:
    """Return the GPUs here. Raises BackendUnavailableError without CuPy, without a driver and without a GPU."""
    cupy = _cupy()
    runtime = cupy.cuda.runtime
    try:
        found = [_describe(cupy, index) for index in range(runtime.getDeviceCount())]
    except runtime.CUDARuntimeError as error:
        raise BackendUnavailableError(f"no GPU with a driver that CUDA works with ({error})") from error
    if not found:
        raise BackendUnavailableError("no GPU: the driver reports none")
    return found


def _describe(cupy: Any, index: int) -> DeviceInfo:
    runtime = cupy.cuda.runtime
    with cupy.cuda.Device(index):
        free, total = runtime.memGetInfo()
        properties = runtime.getDeviceProperties(index)
    return DeviceInfo(
        index=index,
        name=properties["name"].decode(),
        total_bytes=int(total),
        free_bytes=int(free),
        compute_capability=f"{properties['major']}.{properties['minor']}",
        driver_version=_version(runtime.driverGetVersion()),
        runtime_version=_version(runtime.runtimeGetVersion()),
        cupy_version=cupy.__version__,
    )


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


class CupyDevice:
    """A GPU through CuPy: NVRTC compiles the kernels once per architecture, CuPy keeps the code on disk."""

    tile, chunk = TILE, CHUNK

    def __init__(self, info: DeviceInfo, parent: CupyDevice | None = None) -> None:
        """``parent`` shares its compiled kernels with a queue of lower priority.

        Raises BackendUnavailableError where the kernels cannot be compiled or loaded.
        """
        self.info = info
        self.name = info.name
        self._cupy = _cupy()
        self._module: Any
        self._functions: dict[str, Any]
        runtime, compiler = self._cupy.cuda.runtime, self._cupy.cuda.compiler
        try:
            self._device = self._cupy.cuda.Device(info.index)
            with self._device:
                priority = _BACKGROUND_PRIORITY if parent else _TICK_PRIORITY
                self._stream = self._cupy.cuda.Stream(non_blocking=True, priority=priority)
                if parent:
                    self._module, self._functions = parent._module, parent._functions
                else:
                    self._module = self._cupy.RawModule(code=unit(), options=OPTIONS, backend="nvrtc")
                    self._functions = {}
                    self._module.compile()
        except (runtime.CUDARuntimeError, compiler.CompileException, ImportError, OSError, RuntimeError) as error:
            # The sources themselves are compiled for several architectures in the tests: what fails here is the
            # compiler's absence, an architecture it no longer knows, or the device.
            raise BackendUnavailableError(
                f"the kernels cannot be compiled or loaded for {info.name}, compute capability "
                f"{info.compute_capability}: {error} (NVRTC belongs to the extras [cuda12] and [cuda13])"
            ) from error

    def empty(self, shape: Shape, dtype: DTypeLike) -> Any:
        """Return an array whose elements are anything."""
        with self._device, self._stream:
            return self._cupy.empty(shape, dtype)

    def zeros(self, shape: Shape, dtype: DTypeLike) -> Any:
        """Return an array of zeros."""
        with self._device, self._stream:
            return self._cupy.zeros(shape, dtype)

    def upload(self, array: NDArray[Any]) -> Any:
        """Return a copy of a host array."""
        with self._device, self._stream:
            copy = self._cupy.empty(array.shape, array.dtype)
            if array.size:
                copy.set(np.ascontiguousarray(array))
            return copy

    def write(self, target: Any, source: NDArray[Any]) -> None:
        """Copy a host array over ``target``."""
        if source.size:
            with self._device, self._stream:
                target.set(np.ascontiguousarray(source, target.dtype))

    def clear(self, target: Any) -> None:
        """Set an array to zero."""
        with self._device, self._stream:
            target.data.memset_async(0, target.nbytes, self._stream)

    def download(self, array: Any) -> NDArray[Any]:
        """Return a host copy of an array."""
        with self._device, self._stream:
            copy: NDArray[Any] = array.get(stream=self._stream)
            return copy

    def address(self, array: Any) -> int:
        """Return where an array lies."""
        return int(array.data.ptr)

    def staging(self, size: int) -> NDArray[np.uint8]:
        """Return ``size`` bytes of pinned memory."""
        with self._device:
            return np.frombuffer(self._cupy.cuda.alloc_pinned_memory(size), np.uint8, size)

    def send(self, target: Any, source: NDArray[np.uint8]) -> Any:
        """Start copying staged bytes to ``target``."""
        with self._device, self._stream:
            target.data.copy_from_host_async(source.ctypes.data, source.nbytes, self._stream)
            return self._stream.record()

    def receive(self, target: NDArray[np.uint8], source: Any) -> Any:
        """Start copying ``source`` into staged bytes."""
        with self._device, self._stream:
            source.data.copy_to_host_async(target.ctypes.data, target.nbytes, self._stream)
            return self._stream.record()

    def wait(self, ticket: Any) -> None:
        """Wait until a copy is done."""
        ticket.synchronize()

    def launch(
        self, kernel: str, grid: tuple[int, int, int], arguments: NDArray[np.void], shared_bytes: int = 0
    ) -> None:
        """Start a kernel."""
        with self._device, self._stream:
            function = self._functions.get(kernel)
            if function is None:
                function = self._functions[kernel] = self._module.get_function(kernel)
            function(grid, (THREADS, 1, 1), (arguments,), shared_mem=shared_bytes)

    def background(self) -> CupyDevice:
        """Return the same GPU with a stream of lower priority."""
        return CupyDevice(self.info, self)

    def free_bytes(self) -> int:
        """Return what the driver has free and what CuPy's pool holds unused."""
        with self._device:
            free, _ = self._cupy.cuda.runtime.memGetInfo()
            return int(free) + int(self._cupy.get_default_memory_pool().free_bytes())
