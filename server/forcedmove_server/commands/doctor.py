"""``forcedmove doctor``: what would compute here and why, what it has to compute with, and whether the map fits."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from forcedmove_kernels import cuda
from forcedmove_kernels.backend import BACKENDS, BackendChoice, select_backend
from forcedmove_kernels.budget import check_budget, host_free_bytes, size_text, store_bytes, working_bytes
from forcedmove_kernels.errors import BackendUnavailableError, MemoryBudgetError
from forcedmove_server.commands import reports_errors
from forcedmove_server.commands.arguments import add_backend_argument, add_config_argument, backend_override
from forcedmove_server.config import EngineConfig, load_config
from forcedmove_server.engine.rules import LEVERAGES

HELP = "say what would compute here, and why"

#: packages that decide what runs, and the names they are installed by
_PACKAGES = {
    "forcedmove": ("forcedmove",),
    "numpy": ("numpy",),
    "numba": ("numba",),
    "cupy": ("cupy-cuda13x", "cupy-cuda12x", "cupy"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.description = (
        "Say which backend would compute here and why, whether the configured store fits into its memory, and what "
        "every backend needs. Exit status 1 when the configured one cannot run or has not the memory."
    )
    add_config_argument(parser)
    add_backend_argument(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


@reports_errors
def run(args: argparse.Namespace) -> int:
    """Print the report."""
    config = load_config(args.config, backend_override(args))
    engine = config.engine
    found = report(engine, config.exact.max_markets)
    sys.stdout.write(json.dumps(found, indent=2) + "\n" if args.json else as_text(found, engine))
    return 1 if found["problem"] else 0


def report(engine: EngineConfig, exact_markets: int = 0) -> dict[str, Any]:
    """Return all there is to say: ``problem`` is why the configured backend would not start, or None.

    ``exact_markets`` markets may have exact positions.
    """
    devices, no_devices = _devices()
    backends, threads = _backends(engine)
    chosen: BackendChoice | None = None
    memory: dict[str, Any] | None = None
    problem: str | None = None
    try:
        chosen = select_backend(engine.backend, engine.threads or None, engine.device)[1]
        memory = _memory(engine, exact_markets, chosen, devices)
        check_budget(memory["where"], memory["needed_bytes"], memory["free_bytes"])
    except (BackendUnavailableError, MemoryBudgetError) as error:
        problem = str(error)
    versions = {name: _version(*packages) for name, packages in _PACKAGES.items()} | {
        "python": platform.python_version(),
        "cuda_driver": devices[0].driver_version if devices else None,
        "cuda_runtime": devices[0].runtime_version if devices else None,
    }
    return {
        "problem": problem,
        "configured": {"backend": engine.backend, "device": engine.device, "threads": engine.threads},
        "chosen": chosen and {name: getattr(chosen, name) for name in ("name", "reason", "device", "device_name")},
        "memory": memory,
        "threads": threads,
        "backends": backends,
        "devices": [
            {
                "index": device.index,
                "name": device.name,
                "total_bytes": device.total_bytes,
                "free_bytes": device.free_bytes,
                "compute_capability": device.compute_capability,
            }
            for device in devices
        ],
        "no_devices": no_devices,
        "versions": versions,
        "kernel_caches": _kernel_caches(backends),
    }


def as_text(found: dict[str, Any], engine: EngineConfig) -> str:
    """Return the report for people."""
    chosen, memory = found["chosen"], found["memory"]
    lines = []
    if found["problem"]:
        lines.append(f"problem    {found['problem']}")
    if chosen:
        lines.append(f"backend    {BackendChoice(engine.backend, **chosen).describe()}")
    if memory:
        rows = f"{engine.max_markets:,} markets and {memory['exact_markets']:,} with exact positions"
        size = f"{rows} x {engine.max_cohorts_per_market:,} cohorts, {engine.bins:,} bins"
        needed, free = size_text(memory["needed_bytes"]), size_text(memory["free_bytes"])
        lines.append(f"memory     {needed} for {size}; {memory['where']} has {free} free")
    if found["threads"]:
        lines.append(f"threads    {found['threads']}")
    lines += ["", "backends"]
    lines += [f"  {about['reason'] or name + ' runs here'}" for name, about in found["backends"].items()]
    lines += ["", "devices"]
    lines += [
        f"  {device['index']}: {device['name']}, compute capability {device['compute_capability']}, "
        f"{size_text(device['total_bytes'])}, {size_text(device['free_bytes'])} free"
        for device in found["devices"]
    ] or [f"  {found['no_devices']}"]
    lines += ["", "versions"]
    lines += [f"  {name:<14}{told or 'none'}" for name, told in found["versions"].items()]
    if found["kernel_caches"]:
        lines += ["", "compiled kernels"]
        lines += [f"  {name}: {folder}" for name, folder in found["kernel_caches"].items()]
    return "\n".join(lines) + "\n"


def _devices() -> tuple[list[cuda.DeviceInfo], str | None]:
    """Return the GPUs, or why there are none."""
    try:
        return cuda.devices(), None
    except BackendUnavailableError as error:
        return [], str(error)


def _backends(engine: EngineConfig) -> tuple[dict[str, dict[str, Any]], int | None]:
    """Return of each backend whether it can run here, and why not; and the threads of the CPU's."""
    found: dict[str, dict[str, Any]] = {}
    threads = None
    for name in BACKENDS[1:]:
        try:
            backend, _ = select_backend(name, engine.threads or None, engine.device)
        except BackendUnavailableError as error:
            found[name] = {"available": False, "reason": str(error)}
        else:
            found[name] = {"available": True, "reason": None}
            threads = getattr(backend, "threads", threads)
    return found, threads


def _memory(
    engine: EngineConfig, exact_markets: int, chosen: BackendChoice, devices: list[cuda.DeviceInfo]
) -> dict[str, Any]:
    rows = engine.max_markets + 2 * exact_markets
    needed = store_bytes(rows, engine.max_cohorts_per_market, len(LEVERAGES), engine.bins)
    free = host_free_bytes()
    if chosen.device is not None:
        needed += working_bytes(rows, engine.bins)
        free = devices[chosen.device].free_bytes
    return {
        "where": chosen.device_name or "this machine",
        "needed_bytes": needed,
        "free_bytes": free,
        "exact_markets": exact_markets,
    }


def _kernel_caches(backends: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return where compiled kernels are kept, by backend."""
    caches = {}
    if backends["cuda"]["available"]:
        caches["cuda"] = os.environ.get("CUPY_CACHE_DIR") or str(Path.home() / ".cupy" / "kernel_cache")
    if backends["cpu"]["available"]:
        from forcedmove_kernels.cpu.schedule import balance

        caches["cpu"] = str(balance.stats.cache_path)
    return caches


def _version(*packages: str) -> str | None:
    for package in packages:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return None
