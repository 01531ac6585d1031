"""NVRTC and nvdisasm from their wheels: CUDA source to machine code on a machine without a GPU or a driver."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
from pathlib import Path
from typing import Any, NoReturn

import pytest

#: bytes of a section or program header, and where an ELF64 header says where they lie and how many there are
_PROGRAM_TABLE = (32, 54, 56)
_SECTION_TABLE = (40, 58, 60)


def missing(what: str) -> NoReturn:
    """Skip the test that needs ``what``; in CI, where everything is installed, fail it."""
    reason = f"{what}: pip install 'forcedmove[dev]'"
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI lacks {reason}")
    pytest.skip(reason)


def nvrtc() -> Any:
    """CuPy's binding of NVRTC, which needs the library but no driver."""
    try:
        from cupy.cuda import nvrtc as binding

        binding.getVersion()
    except (ImportError, RuntimeError) as error:
        missing(f"CuPy with NVRTC ({type(error).__name__}: {error})")
    return binding


def nvdisasm() -> Path:
    """Where the wheel put the disassembler."""
    try:
        files = importlib.metadata.files("nvidia-cuda-nvdisasm") or []
    except importlib.metadata.PackageNotFoundError:
        missing("nvidia-cuda-nvdisasm")
    for file in files:
        path = Path(str(file.locate()))
        if path.stem == "nvdisasm" and path.is_file():
            return path
    missing("nvdisasm in the files of nvidia-cuda-nvdisasm")


def compile_cubin(source: str, architecture: str, options: tuple[str, ...]) -> tuple[bytes, str]:
    """Machine code for ``architecture`` (``sm_90``) and what the compiler and ptxas said of it.

    Fails the test with the compiler's errors when the source does not compile.
    """
    binding = nvrtc()
    program = binding.createProgram(source, "unit.cu", (), ())
    try:
        binding.compileProgram(program, (f"-arch={architecture}", "--ptxas-options=-v", *options))
        return _whole(binding.getCUBIN(program)), binding.getProgramLog(program)
    except binding.NVRTCError:
        pytest.fail(f"{architecture}: {binding.getProgramLog(program)}")
    finally:
        binding.destroyProgram(program)


def disassemble(cubin: bytes, folder: Path) -> list[dict[str, Any]]:
    """Return nvdisasm's functions: ``function-name`` and ``sass-instructions`` with an ``opcode`` each."""
    path = folder / "unit.cubin"
    path.write_bytes(cubin)
    run = subprocess.run([nvdisasm(), "-json", path], capture_output=True, text=True, check=False)
    if run.returncode:
        pytest.fail(f"nvdisasm: {run.stderr}")
    _, functions = json.loads(run.stdout)
    return list(functions)


def _whole(cubin: bytes) -> bytes:
    """CuPy's ``getCUBIN`` cuts the last byte off, as it does for text; the disassembler insists on it."""
    end = len(cubin)
    for offset, size, count in (_PROGRAM_TABLE, _SECTION_TABLE):
        begin = int.from_bytes(cubin[offset : offset + 8], "little")
        entry = int.from_bytes(cubin[size : size + 2], "little")
        entries = int.from_bytes(cubin[count : count + 2], "little")
        end = max(end, begin + entry * entries)
    assert end - len(cubin) <= 1, "the cubin lacks more than its last byte"
    return cubin.ljust(end, b"\0")
