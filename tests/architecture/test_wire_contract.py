"""The guard of the wire contract itself: it fails on what breaks clients of the last release, and on nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUARD = ROOT / ".ci" / "breaking"


@pytest.fixture
def buf() -> str:
    found = shutil.which("buf", path=sysconfig.get_path("scripts")) or shutil.which("buf")
    if found is None:
        assert not os.environ.get("CI"), "buf is not installed"
        pytest.skip("buf is not installed")
    return found


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of its own with the contract as it is now, and no tag."""
    here = tmp_path / "clone"
    shutil.copytree(ROOT / "proto", here / "proto", ignore=shutil.ignore_patterns("*.py*", "__pycache__"))
    shutil.copy(ROOT / "buf.yaml", here)
    git(here, "init", "-q")
    commit(here)
    return here


def git(here: Path, *words: str) -> None:
    config = ("user.name=t", "user.email=t@example.invalid", "commit.gpgsign=false", "tag.gpgsign=false")
    options = [word for value in config for word in ("-c", value)]
    subprocess.run(["git", *options, *words], cwd=here, check=True, timeout=30)


def commit(here: Path) -> None:
    git(here, "add", "-A")
    git(here, "commit", "-q", "--allow-empty", "-m", "x")


def guard(here: Path, buf: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "BUF": buf}
    command = [str(GUARD), str(here)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)


def change(here: Path, old: str, new: str) -> None:
    path = here / "proto" / "forcedmove" / "v1" / "server_status.proto"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_clone_without_a_release_has_nothing_to_compare_with(repository: Path, buf: str) -> None:
    git(repository, "tag", "nightly-1")
    change(repository, "double uptime_s = 3;", "")
    found = guard(repository, buf)
    assert (found.returncode, found.stdout) == (0, "wire contract: no release tag yet\n")


def test_what_is_no_repository_has_none_either(tmp_path: Path, buf: str) -> None:
    assert "no release tag yet" in guard(tmp_path, buf).stdout


def test_additions_pass_and_a_field_that_is_gone_or_another_does_not(repository: Path, buf: str) -> None:
    git(repository, "tag", "v0.1.0")
    change(repository, "double uptime_s = 3;", "double uptime_s = 3; double load = 99;")
    found = guard(repository, buf)
    assert (found.returncode, found.stdout) == (0, "wire contract: clients of v0.1.0 can read it\n"), found.stderr
    change(repository, "double uptime_s = 3;", "uint64 uptime_s = 3;")
    found = guard(repository, buf)
    assert found.returncode != 0
    assert "uptime_s" in found.stdout + found.stderr
    change(repository, "uint64 uptime_s = 3;", "")
    assert guard(repository, buf).returncode != 0


def test_the_last_release_counts_and_a_candidate_is_before_it(repository: Path, buf: str) -> None:
    git(repository, "tag", "v0.9.0")
    change(repository, "double uptime_s = 3;", "double uptime_s = 3; double load = 99;")
    commit(repository)
    for tag in ("v0.10.0-rc1", "v0.10.0"):
        git(repository, "tag", tag)
    assert "v0.10.0 can" in guard(repository, buf).stdout
    change(repository, "double load = 99;", "")
    assert guard(repository, buf).returncode != 0
