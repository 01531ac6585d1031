"""The kernels in CUDA C++, launched through CuPy: the oracle's bits on a GPU."""

from __future__ import annotations

from forcedmove_kernels.cuda.backend import CudaBackend
from forcedmove_kernels.cuda.device import CupyDevice, DeviceInfo, devices
from forcedmove_kernels.errors import BackendUnavailableError

__all__ = ["CudaBackend", "DeviceInfo", "devices", "open_backend"]


def open_backend(device_index: int = 0) -> CudaBackend:
    """Return the backend of one GPU.

    Raises BackendUnavailableError without CuPy, without a driver, and without a GPU of that number.
    """
    found = devices()
    if not 0 <= device_index < len(found):
        raise BackendUnavailableError(f"device = {device_index}: there are {len(found)}, numbered from 0")
    return CudaBackend(CupyDevice(found[device_index]))
