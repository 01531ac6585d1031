"""From what is kept to an engine that goes on: the newest snapshot, the log behind it, and a journal for what comes."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from forcedmove_server.config import Config, LiveSourceConfig
from forcedmove_server.engine.core import EngineCore
from forcedmove_server.engine.recovery.files import Lock, remove_unfinished
from forcedmove_server.engine.recovery.fingerprint import fingerprint, misfits
from forcedmove_server.engine.recovery.journal import Journal
from forcedmove_server.engine.recovery.log import GENESIS, WITNESS, Segment, Witness, read_witness, segments
from forcedmove_server.engine.recovery.replay import Tail, replay
from forcedmove_server.engine.recovery.snapshot import Position, Snapshot, read_snapshot, snapshots, write_snapshot
from forcedmove_server.engine.recovery.state import capture, restore
from forcedmove_server.errors import ConfigError, FileFormatError
from forcedmove_server.market.events import FEED_STATE, EventBatch

_LOG = logging.getLogger(__name__)

_SET_ASIDE = "set-aside"
_HINT = "; `forcedmove recovery verify` tells more, `forcedmove recovery repair` goes back to what is sound"


@dataclass(frozen=True, slots=True)
class Resumed:
    """What was brought back: the record of the snapshot (None: nothing was kept), records repeated, and seconds."""

    snapshot: int | None
    records: int
    seconds: float


def resume(config: Config, core: EngineCore, on_failure: Callable[[BaseException], None]) -> tuple[Journal, Resumed]:
    """Bring back into a new core what the folder of the configuration keeps, and go on writing there.

    Raises FileFormatError where what was kept is damaged, and ConfigError where the folder cannot be used.
    """
    began_s = time.monotonic()
    folder = Path(config.recovery.path or "").expanduser()
    lock = Lock(folder)
    try:
        need = fingerprint(config)
        remove_unfinished(folder)
        found = newest_sound(folder)
        if found is not None and (other := misfits(found.fingerprint, need)):
            _LOG.warning("what %s keeps does not fit and is set aside, other than here: %s", folder, "; ".join(other))
            set_aside(folder, [path for _, path in [*segments(folder), *snapshots(folder)]])
            found = None
        if found is None:
            segment, size = _begun(folder, core, need)
            tail = Tail(Position(0, GENESIS))
        else:
            restore(core, found.captured())
            tail = replay(core, folder, found.position)
            segment, size = _continued(folder, tail), found.path.stat().st_size
    except OSError as error:
        lock.close()
        raise ConfigError("recovery.path", str(folder), f"cannot be used: {error.strerror or error}") from error
    except FileFormatError as error:
        lock.close()
        raise FileFormatError(error.field, error.value, error.reason + _HINT, error.place or str(folder)) from error
    number = found.position.number if found is not None else None
    resumed = Resumed(number, tail.records, time.monotonic() - began_s)
    _tell(resumed, tail)
    journal = Journal(folder, lock, config.recovery, need, segment, (number or 0, size), on_failure)
    return journal, resumed


def newest_sound(folder: Path) -> Snapshot | None:
    """Return the newest snapshot whose bytes are as they were written; None where nothing was kept yet.

    Those that are damaged are told of. Raises FileFormatError where there should be one.
    """
    problems = []
    for _, path in snapshots(folder):
        try:
            return read_snapshot(path)
        except FileFormatError as error:
            _LOG.error("damaged, and not used: %s", error)
            problems.append(str(error))
    if problems or segments(folder) or read_witness(folder).number:
        raise FileFormatError("snapshot", str(folder), "; ".join(problems) or "there is none, but a log")
    return None


def lost_feeds(config: Config, core: EngineCore) -> EventBatch | None:
    """Return what tells that all live feeds were lost when the process before ended; None where there were none.

    A collector tells of the feeds that it had; those of the process before nobody else would tell of.
    """
    market, channel = core.pipeline.feed_states.fed()
    if not len(market) or not any(isinstance(source, LiveSourceConfig) for source in config.sources):
        return None
    rows = np.zeros(len(market), FEED_STATE)
    rows["time_ns"], rows["market"], rows["channel"] = core.pipeline.now_ns, market, channel
    return EventBatch(core.pipeline.now_ns, feed_states=rows)


def _begun(folder: Path, core: EngineCore, need: dict[str, str]) -> tuple[Segment, int]:
    """Begin with a snapshot of the core as it is: files that were configured may be in it."""
    witness = Witness(folder)
    witness.reset(0, GENESIS)
    witness.close()
    size = write_snapshot(folder, Position(0, GENESIS), capture(core), need)
    return Segment.begun(folder, 1, GENESIS), size


def _continued(folder: Path, tail: Tail) -> Segment:
    """Go on where the log ended; what a crash cut short is cut off."""
    number, chain = tail.position
    for first, path in segments(folder):
        if first > number and path != tail.path:
            path.replace(path.with_name(path.name + ".cut"))
    witness = Witness(folder)
    witness.reset(number, chain)
    witness.close()
    if tail.path is None:
        return Segment.begun(folder, number + 1, chain)
    return Segment(tail.path, number + 1, chain, tail.end)


def set_aside(folder: Path, paths: Iterable[Path]) -> None:
    """Move files into a folder of their own, instead of what was set aside before, with a copy of the witness."""
    aside = folder / _SET_ASIDE
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(mode=0o700)
    if (folder / WITNESS).exists():
        shutil.copy2(folder / WITNESS, aside)
    for path in paths:
        path.replace(aside / path.name)
    if not snapshots(folder) and not segments(folder):
        (folder / WITNESS).unlink(missing_ok=True)


def _tell(resumed: Resumed, tail: Tail) -> None:
    if resumed.snapshot is None:
        _LOG.info("nothing was kept: beginning anew")
    else:
        _LOG.info(
            "back from snapshot %d and %d records behind it, in %.2f s",
            resumed.snapshot,
            resumed.records,
            resumed.seconds,
        )
    if tail.broken is not None:
        _LOG.warning("cut short by a crash before anybody was told of it, and cut off: %s", tail.broken)
    for error in tail.refused:
        _LOG.warning("a change that was kept cannot be made under this configuration: %s", error)
