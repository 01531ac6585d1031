"""HTML by construction: whatever is not :class:`Markup` is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

#: of what a venue or file may put into a name: what HTML cannot hold, and what would turn the text around it
_CONTROL = dict.fromkeys(
    (
        *(*range(9), 11, 12, *range(14, 32), *range(127, 160)),
        *(*range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000)),
    ),
    "\ufffd",
)


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def text(content: object) -> Markup:
    """Escape a value, unless it is markup; characters that HTML cannot hold become replacement characters."""
    if isinstance(content, Markup):
        return content
    return Markup(html.escape(str(content).translate(_CONTROL)))


def join(parts: Iterable[object], between: str = "") -> Markup:
    """Put parts one after another."""
    return Markup(between.join(text(part) for part in parts))


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """Return an element; ``_`` after an attribute's name is dropped, one inside is a hyphen."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{given}>{join(children)}</{name}>")


def table(
    caption: object, head: Sequence[object], rows: Iterable[Sequence[object]], words: int = 1, note: object = None
) -> Markup:
    """Return a table that scrolls sideways where the page is narrow.

    ``words`` columns at the left hold words, the others figures; the first is the row's header. Rows
    whose first cell is empty belong to the one above, and paper does not part them.
    """
    kinds = ["w" if k < words else None for k in range(len(head))]
    top = tag("tr", *(tag("th", cell, scope="col", class_=kind) for cell, kind in zip(head, kinds, strict=True)))
    groups: list[list[Markup]] = []
    for row in rows:
        cells = (tag("td", cell, class_=kind) for cell, kind in zip(row[1:], kinds[1:], strict=True))
        line = tag("tr", tag("th", row[0], scope="row", class_="w"), *cells)
        if row[0] == "" and groups:
            groups[-1].append(line)
        else:
            groups.append([line])
    if not groups:
        groups = [[tag("tr", tag("td", "nothing", colspan=len(head), class_="w"))]]
    bodies = (tag("tbody", join(group, "\n"), class_="together" if len(group) > 1 else None) for group in groups)
    built = tag("table", tag("caption", caption), tag("thead", top), join(bodies, "\n"))
    scrolled = tag("div", built, class_="scroll", tabindex=0)
    return scrolled if note is None else join((scrolled, tag("p", note, class_="note")))
