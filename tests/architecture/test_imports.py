"""Who may know whom: the import directions of the four packages, names, docstrings and sizes, read from the source.

``proto <- clients``; ``proto <- server.rpc``; ``kernels <- server.engine, server.inference``; inside the server
``market <- margin, collectors <- sources, inference <- engine <- rpc <- gateway <- app``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "forcedmove_kernels": ROOT / "kernels",
    "forcedmove_server": ROOT / "server",
    "forcedmove_client": ROOT / "clients",
    "forcedmove": ROOT / "proto",
}
MOST_LINES = 400
BANNED_NAMES = {"data", "utils", "util", "manager", "helper", "helpers"}

#: package of the server -> the other parts of the server it may import; what runs it all may import anything
_ANYTHING = frozenset({"*"})
_BASE = frozenset({"errors", "typed_toml", "config"})
SERVER = {
    "errors": frozenset[str](),
    "typed_toml": frozenset({"errors"}),
    "saved_arrays": frozenset[str](),
    "source_config": frozenset({"typed_toml"}),
    "server_config": frozenset({"errors", "typed_toml"}),
    "recovery_config": frozenset({"typed_toml"}),
    "config": frozenset({"errors", "typed_toml", "source_config", "server_config", "recovery_config"}),
    "access": frozenset({"errors", "typed_toml"}),
    "market": frozenset({"errors"}),
    "margin": frozenset({"errors", "market"}),
    "collectors": _BASE | {"market"},
    "sources": _BASE | {"market", "margin", "collectors"},
    "inference": _BASE | {"market", "margin", "saved_arrays"},
    "scorecard": frozenset({"errors", "market", "inference", "saved_arrays"}),
    "engine": _BASE | {"market", "margin", "inference", "scorecard", "sources"},
    "rpc": _BASE | {"access", "market", "margin", "scorecard", "engine"},
    "gateway": _BASE | {"access", "market", "scorecard", "engine", "rpc", "garbage"},
    "garbage": frozenset[str](),
    "metrics": frozenset({"errors", "market", "scorecard", "engine"}),
    "log_format": frozenset[str](),
    "tracing": frozenset({"errors", "config", "engine"}),
    "app": _ANYTHING,
    "process": _ANYTHING,
    "commands": _ANYTHING,
}
#: who may import the integer kernels and the wire
MAY_USE_KERNELS = {"engine", "inference", "scorecard", "app", "commands"}
MAY_USE_PROTO = {"rpc", "gateway", "app"}
#: what arrays-in, arrays-out code has no business with
NOT_IN_KERNELS = {"asyncio", "grpc", "aiohttp", "websockets", "httpx", "requests", "socket", "google", "msgspec"}


@dataclass(frozen=True)
class Import:
    """One import statement's module, and whether it runs when the importing module is loaded."""

    module: str
    line: int
    at_load: bool


def module_name(path: Path, folder: Path) -> str:
    parts = list(path.relative_to(folder).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules() -> Iterator[tuple[str, Path]]:
    """(dotted name, file) of every hand-written module."""
    for package, folder in PACKAGES.items():
        for path in sorted((folder / package).rglob("*.py")):
            if not path.stem.endswith(("_pb2", "_pb2_grpc")):
                yield module_name(path, folder), path


def imports(source: str, module: str, is_package: bool = False) -> Iterator[Import]:
    """Every import of a module, relative ones resolved; ``from a import b`` gives ``a`` and ``a.b``."""

    def visit(node: ast.AST, at_load: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(alias.name, child.lineno, at_load)
            elif isinstance(child, ast.ImportFrom):
                base = child.module or ""
                if child.level:
                    package = module.split(".") if is_package else module.split(".")[:-1]
                    package = package[: len(package) - child.level + 1]
                    base = ".".join([*package, *([base] if base else [])])
                yield Import(base, child.lineno, at_load)
                for alias in child.names:
                    yield Import(f"{base}.{alias.name}", child.lineno, at_load)
            else:
                inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
                yield from visit(child, at_load and not inside and not typing_only)

    yield from visit(ast.parse(source), True)


def violations(module: str, source: str, is_package: bool = False) -> list[str]:
    """What a module's source imports against the rules."""
    top, _, rest = module.partition(".")
    part = rest.split(".")[0]
    found = []
    for item in imports(source, module, is_package):
        target, _, target_rest = item.module.partition(".")
        target_part = target_rest.split(".")[0]
        reason = None
        if top == "forcedmove" and target.startswith("forcedmove") and target != "forcedmove":
            reason = "proto imports nothing of the other packages"
        elif top == "forcedmove_kernels":
            if target.startswith("forcedmove") and target != top:
                reason = "kernels know no other package"
            elif target in NOT_IN_KERNELS:
                reason = "kernels take arrays and give arrays"
        elif top == "forcedmove_client":
            if target == "forcedmove_kernels":
                reason = "clients import only proto"
            elif target == "forcedmove_server":
                if part != "cli":
                    reason = "clients import only proto"
                elif item.at_load:
                    reason = "the command line imports the server inside functions only"
        elif top == "forcedmove_server" and part:
            if target == "forcedmove_client":
                reason = "the server does not know its clients"
            elif target == "forcedmove_kernels" and part not in MAY_USE_KERNELS:
                reason = f"{part} does not use kernels"
            elif target == "forcedmove" and part not in MAY_USE_PROTO:
                reason = f"{part} does not use the wire"
            elif target == "opentelemetry" and (part != "tracing" or item.at_load):
                reason = "OpenTelemetry is optional: only tracing imports it, inside functions"
            elif target == top and target_part and target_part != part:
                allowed = SERVER.get(part)
                if allowed is None:
                    reason = f"{part} has no place in the layers: add it to SERVER here"
                elif allowed is not _ANYTHING and target_part not in allowed:
                    reason = f"{part} may import only {sorted(allowed)}"
        if reason:
            found.append(f"{module}:{item.line} imports {item.module}: {reason}")
    return found


ALL = list(modules())


@pytest.mark.parametrize(("module", "path"), ALL, ids=[module for module, _ in ALL])
def test_import_directions(module: str, path: Path) -> None:
    assert violations(module, path.read_text(encoding="utf-8"), path.stem == "__init__") == []


@pytest.mark.parametrize(("module", "path"), ALL, ids=[module for module, _ in ALL])
def test_names_docstrings_and_sizes(module: str, path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    banned = BANNED_NAMES & {word for part in module.split(".") for word in part.split("_")}
    assert not banned, f"{path} is named {banned}: name what it is about"
    assert len(source.splitlines()) < MOST_LINES, f"{path} is too long: split it"
    if not any(part.startswith("_") for part in module.split(".")) and not module.startswith("forcedmove."):
        assert ast.get_docstring(ast.parse(source)), f"{path} does not say what it is for"


def test_there_is_something_to_check() -> None:
    names = {module for module, _ in ALL}
    assert {"forcedmove_kernels.arrays", "forcedmove_server.margin.rules", "forcedmove_client"} <= names
    assert len(ALL) > 30


def test_no_package_in_the_top_folders() -> None:
    """``kernels``, ``server`` and ``proto`` are folders, not import names: those clash with published packages."""
    for folder in PACKAGES.values():
        assert not (folder / "__init__.py").exists()


@pytest.mark.parametrize(
    ("module", "source", "reason"),
    [
        ("forcedmove_kernels.new", "import asyncio", "arrays"),
        ("forcedmove_kernels.new", "from forcedmove_server.errors import InputError", "no other package"),
        ("forcedmove_kernels.cpu.new", "def f():\n    import grpc", "arrays"),
        ("forcedmove_client.aio", "import forcedmove_server", "only proto"),
        ("forcedmove_client.aio", "def f():\n    import forcedmove_server.app", "only proto"),
        ("forcedmove_client.cli.serve", "from forcedmove_server.app import run", "inside functions"),
        ("forcedmove_client.cli.serve", "try:\n    import forcedmove_server\nexcept ImportError:\n    pass", "inside"),
        ("forcedmove_server.market.new", "from forcedmove_server.margin import rules", "may import only"),
        ("forcedmove_server.market.new", "from ..margin import rules", "may import only"),
        ("forcedmove_server.margin.new", "from .. import engine", "may import only"),
        ("forcedmove_server.inference.new", "from forcedmove_server.sources import simulate", "may import only"),
        ("forcedmove_server.sources.new", "import forcedmove_server.inference.lifecycle", "may import only"),
        ("forcedmove_server.collectors.new", "from forcedmove_server.engine import store", "may import only"),
        ("forcedmove_server.engine.new", "from forcedmove_server.rpc import encoding", "may import only"),
        ("forcedmove_server.engine.new", "from forcedmove.v1 import heatmap_pb2", "wire"),
        ("forcedmove_server.sources.new", "import forcedmove_kernels.arrays", "kernels"),
        ("forcedmove_server.rpc.new", "import forcedmove_kernels.arrays", "kernels"),
        ("forcedmove_server.rpc.new", "from forcedmove_client import Client", "clients"),
        ("forcedmove_server.rpc.new", "def f():\n    from opentelemetry import trace", "only tracing"),
        ("forcedmove_server.tracing.traces", "from opentelemetry import trace", "inside functions"),
        ("forcedmove_server.novelty.new", "import forcedmove_server.market", "no place"),
        ("forcedmove.extra", "import forcedmove_server", "proto"),
    ],
)
def test_the_rules_catch_a_violation(module: str, source: str, reason: str) -> None:
    found = violations(module, source)
    assert found, f"{source!r} in {module} went unnoticed"
    assert reason in found[0]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("forcedmove_kernels.cpu.new", "import numpy\nfrom forcedmove_kernels.arrays import Rules"),
        ("forcedmove_client.aio", "import grpc\nfrom forcedmove.v1 import heatmap_pb2\nfrom . import errors"),
        ("forcedmove_client.cli.serve", "def main():\n    from forcedmove_server.app import run\n    run()"),
        ("forcedmove_server.sources.new", "from forcedmove_server.margin.rules import rule_for"),
        ("forcedmove_server.engine.new", "from forcedmove_kernels.arrays import Rules"),
        ("forcedmove_server.app", "from forcedmove_server.rpc import server"),
        ("forcedmove_server.tracing.traces", "def f():\n    from opentelemetry import trace"),
    ],
)
def test_the_rules_let_through_what_is_right(module: str, source: str) -> None:
    assert violations(module, source) == []
