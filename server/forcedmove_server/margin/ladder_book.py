"""All ladders known here: what is shipped, and above it what a user fetched or imported."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import msgspec
import platformdirs

from forcedmove_server.errors import FileFormatError
from forcedmove_server.margin.ladders import STAND_IN, Ladder, LadderFile, decode_ladders, read_ladders
from forcedmove_server.margin.margin_rule import Maintenance
from forcedmove_server.margin.provenance import Origin, Provenance
from forcedmove_server.margin.venues import venue_named
from forcedmove_server.market.instruments import ContractType, Instrument

_LOG = logging.getLogger(__name__)


class Found(NamedTuple):
    """A market's maintenance, and where it comes from."""

    maintenance: Maintenance
    provenance: Provenance


class LadderBook:
    """Ladders by venue and market; of two files of a venue the later one in the list wins, market by market."""

    def __init__(self, files: Iterable[LadderFile] = ()) -> None:
        self.files = tuple(files)
        self._entries: dict[tuple[str, str], tuple[int, Ladder]] = {}
        self._built: dict[int, Maintenance] = {}
        for number, file in enumerate(self.files):
            for ladder in file.ladders:
                for market in ladder.markets:
                    self._entries[file.venue, market] = (number, ladder)

    def find(self, venue: str, instrument: Instrument) -> Found | None:
        """Return a market's ladder by its unified symbol or its own id; None where there is none."""
        names = [instrument.unified, instrument.native_id]
        if instrument.contract_type is ContractType.LINEAR and instrument.quote in ("USD", "USDC"):
            names.append(f"{instrument.base}/USD:USDC")  # quoted in dollars, settled in USDC: Paradex
        known = [name for name in names if (venue, name) in self._entries]
        # The later file wins, whichever name it uses.
        return self._get(venue, max(known, key=lambda name: self._entries[venue, name][0])) if known else None

    def stand_in(self, venue: str, contract_type: ContractType) -> Found | None:
        """Return the ladder that stands in for a venue's unlisted markets; None where it has none."""
        name = STAND_IN[contract_type is ContractType.INVERSE]
        found = self._get(venue, name)
        if found is None:
            return None
        given = found.provenance
        source = f"a stand-in of {venue} ({given.source})"
        return Found(found.maintenance, Provenance(Origin.STAND_IN, given.as_of, given.confidence, source))

    def markets(self, venue: str) -> Iterator[tuple[str, Found]]:
        """All listed markets of a venue with their ladders."""
        for owner, market in self._entries:
            if owner == venue and market not in STAND_IN.values():
                found = self._get(venue, market)
                assert found is not None
                yield market, found

    def with_files(self, files: Iterable[LadderFile]) -> LadderBook:
        """Return a book with more files above these."""
        return LadderBook([*self.files, *files])

    def _get(self, venue: str, market: str) -> Found | None:
        entry = self._entries.get((venue, market))
        if entry is None:
            return None
        file, ladder = self.files[entry[0]], entry[1]
        maintenance = self._built.get(id(ladder))
        if maintenance is None:
            maintenance = self._built[id(ladder)] = ladder.maintenance.build()
        confidence, source = ladder.confidence or file.confidence, ladder.source or file.source
        about = file.about if ladder.about is None else ladder.about
        return Found(maintenance, Provenance(file.origin, ladder.as_of or file.as_of, confidence, source, about))


@functools.cache
def shipped_book() -> LadderBook:
    """Return the ladders that come with the package."""
    folder = resources.files("forcedmove_server.margin") / "shipped"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".json"))
    return LadderBook(decode_ladders((folder / name).read_bytes(), name) for name in names)


def user_folder() -> Path:
    """Return where fetched and imported ladders lie unless something else is configured."""
    return platformdirs.user_cache_path("forcedmove") / "tiers"


def book_with(folder: Path) -> LadderBook:
    """Return the shipped ladders with those of a folder above them; a folder that does not exist holds none.

    A file that cannot be used is logged and left out: an old ladder is visible in every answer, a dead server is not.
    """
    files = []
    for path in sorted(folder.glob("*.json")):
        try:
            file = read_ladders(path)
            if venue_named(file.venue) is None:
                raise FileFormatError("venue", file.venue, "is not described here", str(path))
        except FileFormatError as error:
            _LOG.warning("tiers: %s; left out", error)
        else:
            own = file.origin is Origin.SHIPPED  # what does not say where it comes from did not come with the package
            files.append(msgspec.structs.replace(file, origin=Origin.IMPORTED) if own else file)
    return shipped_book().with_files(files)
