"""The generated wire code is what the .proto files give."""

from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path

import pytest

protoc = pytest.importorskip("grpc_tools.protoc", reason="grpcio-tools comes with the [dev] extra")

ROOT = Path(__file__).parents[2]
PROTO = ROOT / "proto"


def test_generated_code_is_current(tmp_path: Path) -> None:
    scripts = Path(sysconfig.get_path("scripts"))
    wire = Path(sys.modules["grpc_tools"].__file__ or "").parent / "_proto"
    status = protoc.main(
        [
            "protoc",
            f"-I{PROTO}",
            f"-I{wire}",
            f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
            *(f"--{kind}_out=quiet:{tmp_path}" for kind in ("mypy", "mypy_grpc")),
            *(f"--{kind}_out={tmp_path}" for kind in ("python", "grpc_python")),
            *(str(p) for p in sorted(PROTO.rglob("*.proto"))),
        ]
    )
    assert status == 0
    made = {p.relative_to(tmp_path): p.read_text() for p in tmp_path.rglob("*_pb2*.py*")}
    kept = {p.relative_to(PROTO): p.read_text() for p in PROTO.rglob("*_pb2*.py*") if "__pycache__" not in p.parts}
    assert made.keys() == kept.keys(), "run `make proto`"
    stale = [str(name) for name in made if _without_versions(made[name]) != _without_versions(kept[name])]
    assert not stale, f"run `make proto`: {stale} differ from their .proto files"


def _without_versions(text: str) -> str:
    """Drop what depends on the generator's version alone, so that a newer grpcio-tools does not fail the build."""
    return re.sub(r"\d+\.\d+\.\d+|\b\d+,\s+\d+,\s+\d+,", "VERSION", text)
