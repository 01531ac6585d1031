"""Files to deploy with, held against what reads them: linters, schemas, systemd, the server itself."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml

from forcedmove_server.config import load_config
from forcedmove_server.server_config import is_loopback

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILES = sorted(DEPLOY.glob("Dockerfile*"))
CONFIGS = sorted((DEPLOY / "config").glob("*.toml"))


def _tool(name: str) -> str:
    """Where a linter of the [dev] extra is; skips without it, except in CI."""
    found = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if found is None:
        assert not os.environ.get("CI"), f"{name} is not installed"
        pytest.skip(f"{name} is not installed")
    return found


def _passes(*command: str) -> None:
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_there_are_two_images_and_three_configurations() -> None:
    assert [path.name for path in DOCKERFILES] == ["Dockerfile", "Dockerfile.cuda"]
    assert [path.stem for path in CONFIGS] == ["image", "live", "simulated"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_images_lint(path: Path) -> None:
    _passes(_tool("hadolint"), "--failure-threshold", "info", str(path))


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_images_run_as_nobody_in_particular_and_copy_what_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    last_stage = text[text.rindex("\nFROM ") :]
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", last_stage, re.MULTILINE)
    assert re.search(r'^ *CMD \["forcedmove", "health"', last_stage, re.MULTILINE)
    assert "\nVOLUME /var/lib/forcedmove\n" in last_stage
    copied = [word for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE) for word in line.split()[:-1]]
    allowed = set((ROOT / ".dockerignore").read_text(encoding="utf-8").split())
    for source in copied:
        assert (ROOT / source).exists(), source
        assert f"!{source.split('/')[0]}" in allowed, f"{source} is left out by .dockerignore"


def test_compose_file_fits_its_schema_and_names_what_exists() -> None:
    path = DEPLOY / "compose.yaml"
    _passes(_tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(path))
    told: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    server = told["services"]["server"]
    assert (DEPLOY / server["build"]["context"] / server["build"]["dockerfile"]).is_file()
    for service in told["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in told["volumes"], volume


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_as_it_comes_is_reached_by_nobody(path: Path) -> None:
    (source,) = re.findall(
        r"^COPY (\S+) /etc/forcedmove/forcedmove\.toml$", path.read_text(encoding="utf-8"), re.MULTILINE
    )
    server = load_config(ROOT / source).server
    assert not server.insecure
    assert is_loopback(server.host)
    assert is_loopback(server.metrics_host)


def test_only_what_compose_publishes_on_loopback_is_insecure() -> None:
    insecure = [path for path in CONFIGS if load_config(path).server.insecure]
    told = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]["server"]
    mounted = [volume.split(":")[0] for volume in told["volumes"] if volume.startswith("./")]
    assert [path.relative_to(DEPLOY) for path in insecure] == [Path(name) for name in mounted]
    assert all(port.startswith("127.0.0.1:") for port in told["ports"])
    assert told.get("network_mode") is None


def test_prometheus_scrapes_the_server_of_the_compose_file() -> None:
    told = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    (job,) = told["scrape_configs"]
    port = load_config(DEPLOY / "config" / "simulated.toml").server.metrics_port
    assert job["static_configs"] == [{"targets": [f"server:{port}"]}]
    assert [(DEPLOY / "prometheus" / name).is_file() for name in told["rule_files"]] == [True]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_configurations_load(path: Path) -> None:
    config = load_config(path)
    assert config.server.metrics_port
    assert config.server.log_format == "json"
    for state in (config.scorecard.state, config.calibration.state):
        assert state
        assert state.startswith("/var/lib/forcedmove/")


def test_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    text = (DEPLOY / "systemd" / "forcedmove.service").read_text(encoding="utf-8")
    unit = tmp_path / "forcedmove.service"
    unit.write_text(text.replace("/opt/forcedmove/bin/forcedmove", "/bin/true"), encoding="utf-8")
    found = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
