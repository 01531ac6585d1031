"""What is built for the registry has the CUDA sources, and runs without CuPy."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "kernels" / "forcedmove_kernels" / "cuda"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked as an installer would."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        wheel.extractall(folder)
    return folder


def python(code: str, site: Path) -> str:
    """Output of ``code`` with the unpacked wheel before everything else."""
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=site,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_the_wheel_and_the_sdist_have_the_sources(built: Path, installed: Path) -> None:
    names = {path.name for path in SOURCES.iterdir() if path.suffix in (".cu", ".cuh")}
    assert "kernels.cu" in names
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        packed = {Path(member).name for member in archive.getnames()}
    unpacked = {path.name for path in (installed / "forcedmove_kernels" / "cuda").iterdir()}
    assert names <= packed
    assert names <= unpacked


def test_the_unit_is_whole_in_the_wheel(installed: Path) -> None:
    code = (
        "from forcedmove_kernels.cuda import compiler; "
        "print(compiler.__file__, len(compiler.unit()), len(compiler.KERNELS))"
    )
    file, length, kernels = python(code, installed).rsplit(" ", 2)
    assert Path(file).is_relative_to(installed)
    assert int(length) >= sum(path.stat().st_size for path in SOURCES.glob("*.cu*")) // 2
    assert int(kernels) > 10


def test_a_cpu_install_needs_no_cupy(installed: Path) -> None:
    code = (
        "import sys; sys.modules['cupy'] = None; "
        "from forcedmove_kernels.backend import select_backend; print(select_backend('cpu')[0].name)"
    )
    assert python(code, installed) == "cpu"
