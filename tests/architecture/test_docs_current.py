"""docs/venues.md is what the declarations of the venues say."""

from __future__ import annotations

from pathlib import Path

from forcedmove_server.margin.document import document

PAGE = Path(__file__).parents[2] / "docs" / "venues.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == document(), "run 'make docs' and commit the result"
