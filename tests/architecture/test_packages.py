"""What is installed: the wheel's contents, and a client that needs nothing of the server."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"forcedmove", "forcedmove_client", "forcedmove_kernels", "forcedmove_server"}

#: imports every module of the client and runs its command line, where only what it depends on can be imported
_CLIENT_ONLY = """
import importlib, importlib.abc, importlib.metadata, io, pkgutil, sys
allowed = {"backports", "grpc", "numpy", "google", "rich", "forcedmove", "forcedmove_client"}
allowed |= {"markdown_it", "mdurl", "pygments", "typing_extensions"}  # of rich and grpcio
refused = []

class Only(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top in allowed:
            return None
        refused.append(name)
        raise ModuleNotFoundError(f"{name} is not a client's", name=name)

sys.meta_path.insert(0, Only())
import forcedmove_client
names = [found.name for found in pkgutil.walk_packages(forcedmove_client.__path__, "forcedmove_client.")]
pictures = []
for name in names:
    try:
        if not name.endswith("__main__"):
            importlib.import_module(name)
    except ModuleNotFoundError as error:
        assert error.name.startswith("matplotlib"), error
        pictures.append(name)
from forcedmove_client.cli import main
for words in (["--help"], ["watch", "--help"], ["symbols", "--server", "127.0.0.1:1"]):
    try:
        status = main(words)
    except SystemExit as ended:
        status = ended.code
    assert status in (0, None) or words[0] == "symbols", (words, status)
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"forcedmove_server", "forcedmove_kernels", "numba", "aiohttp", "pyarrow", "ccxt"}, loaded
print(len(names), *pictures)
"""


def test_the_client_runs_with_nothing_but_what_it_depends_on() -> None:
    found = subprocess.run(
        [sys.executable, "-c", _CLIENT_ONLY], capture_output=True, text=True, timeout=60, check=False
    )
    assert found.returncode == 0, found.stderr
    modules, *pictures = found.stdout.splitlines()[-1].split()
    assert int(modules) > 30
    assert set(pictures) <= {"forcedmove_client.market_picture", "forcedmove_client.picture"}  # the extra [plot]


def test_the_client_depends_on_five_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [line.split(">")[0] for line in project["dependencies"]]
    assert names == ["backports.zstd", "grpcio", "numpy", "protobuf", "rich"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    pytest.importorskip("hatchling", reason="comes with the [dev] extra")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_has_the_four_packages_and_no_tests(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES
    assert len(tops) == len(PACKAGES) + 1
    assert not [name for name in names if "tests/" in name or "/test_" in name or "__pycache__" in name]
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_wheel_has_types_wire_contract_kernels_and_ladders(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    for package in ("forcedmove_client", "forcedmove_kernels", "forcedmove_server"):
        assert f"{package}/py.typed" in names
    for folder, package, patterns in (
        ("proto", "forcedmove", ("*.proto", "*_pb2.pyi", "*_pb2_grpc.py")),
        ("kernels", "forcedmove_kernels", ("*.cu", "*.cuh", "*.py")),
        ("server", "forcedmove_server", ("*.json", "*.py")),
        ("clients", "forcedmove_client", ("*.py",)),
    ):
        for pattern in patterns:
            kept = {str(path.relative_to(ROOT / folder)) for path in (ROOT / folder / package).rglob(pattern)}
            assert kept, pattern
            assert kept <= names, f"{package} lacks {sorted(kept - names)[:3]}"


def test_the_wheel_names_the_command_and_modules_that_are_there(wheel: zipfile.ZipFile) -> None:
    (path,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    points = configparser.ConfigParser()
    points.read_string(wheel.read(path).decode())
    assert dict(points["console_scripts"]) == {"forcedmove": "forcedmove_client.cli:main"}
    names = set(wheel.namelist())
    for command, module in points["forcedmove.commands"].items():
        assert f"{module.replace('.', '/')}.py" in names, command


def test_what_a_client_brings_beside_grpcio_and_numpy_is_under_10_mb() -> None:
    """docs/OPERATIONS.md has the figure; bytecode, which Python makes later, comes on top."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted, found = list(project["dependencies"]), {}
    while wanted:
        line = wanted.pop()
        name = re.split(r"[^\w.-]", line, maxsplit=1)[0].lower()
        if "extra ==" in line or name in found:
            continue
        installed = distribution(name)
        found[name] = sum(file.size or 0 for file in installed.files or () if file.suffix != ".pyc")
        wanted += installed.requires or ()
    beside = {name: size for name, size in found.items() if name not in ("grpcio", "numpy")}
    assert {"protobuf", "rich", "pygments"} <= beside.keys()
    assert sum(beside.values()) < 10e6, beside
    (told,) = re.findall(r"brings ([\d.]+) MB beside grpcio", (ROOT / "docs" / "OPERATIONS.md").read_text())
    assert sum(beside.values()) == pytest.approx(float(told) * 1e6, rel=0.15)  # of the versions of that day
