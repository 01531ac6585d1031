"""What all tests share: tier tables that the user of this machine fetched must not change what they see, and how long
an example takes is nothing that a test asserts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("unhurried", settings.default, deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="session", autouse=True)
def no_user_tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give this run, and the processes it starts, a cache folder of their own."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before
