"""What a supervisor needs before it starts anything: a port for itself, and a folder for nobody else."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from pathlib import Path

import pytest

from forcedmove_server.errors import InputError
from forcedmove_server.gateway import supervisor
from forcedmove_server.gateway.supervisor import private_folder, reserved_port


def listener(port: int) -> socket.socket:
    """A socket as gRPC makes them for a shared port."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(("127.0.0.1", port))
    made.listen()
    return made


def test_a_reserved_port_is_for_sharing_and_for_no_other_supervisor() -> None:
    with reserved_port("127.0.0.1", 0) as port, listener(port), listener(port):
        with pytest.raises(InputError, match=rf"server\.port = '127\.0\.0\.1:{port}': cannot listen there"):
            reserved_port("127.0.0.1", port).__enter__()
        # connections go to those that listen, never to the one that only holds the port
        for _ in range(8):
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
    with reserved_port("127.0.0.1", port) as again:
        assert again == port


def test_a_port_that_somebody_shares_already_is_not_taken() -> None:
    with listener(0) as stranger, pytest.raises(InputError, match="cannot listen there"):
        reserved_port("127.0.0.1", stranger.getsockname()[1]).__enter__()


def test_an_address_of_nobody_is_named() -> None:
    with pytest.raises(InputError, match=r"server\.port = 'no\.such\.host\.invalid:1'"):
        reserved_port("no.such.host.invalid", 1).__enter__()


def test_systems_that_do_not_share_connections_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor.sys, "platform", "darwin")
    with pytest.raises(InputError, match=r"server\.gateways = 'darwin': only Linux"):
        reserved_port("127.0.0.1", 0).__enter__()


def test_the_folder_is_private_and_goes_away() -> None:
    with private_folder() as folder:
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
        Path(folder, "engine.sock").touch()
    assert not Path(folder).exists()


def test_a_folder_that_cannot_be_or_has_too_long_a_name_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with pytest.raises(InputError, match="at most 90 characters"):
        private_folder().__enter__()
    assert list(long.iterdir()) == []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"TMPDIR = .*no folder for the engine's socket"):
        private_folder().__enter__()
