"""The pages that are made from declarations of the venues say what these do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from forcedmove_server.collectors import document as feeds
from forcedmove_server.margin import document as rules

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(("page", "made"), [("venues.md", rules.document), ("feeds.md", feeds.document)])
def test_the_page_is_current(page: str, made: Callable[[], str]) -> None:
    assert (DOCS / page).read_text(encoding="utf-8") == made(), "run 'make docs' and commit the result"
