"""Fixtures that several unit tests share."""

from __future__ import annotations

import pytest

from forcedmove_client.cli import running
from tests.unit.cli_server import FakeClient


@pytest.fixture
def fake_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the command line talk to a scripted server that knows one symbol."""
    monkeypatch.setattr(running, "AsyncClient", FakeClient)
