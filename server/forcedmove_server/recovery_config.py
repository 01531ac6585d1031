"""What outlasts a crash, and for how long: the table ``[recovery]``. Part of :mod:`forcedmove_server.config`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from forcedmove_server.typed_toml import Key


@dataclass(frozen=True, slots=True)
class RecoveryConfig:
    """Where the server keeps what a crash must not lose: snapshots of its state, and a log of its inputs since."""

    path: Annotated[
        str | None,
        Key("", "folder of snapshots and log, of this server alone; without it nothing outlasts the process"),
    ] = None
    snapshot_interval_s: Annotated[float, Key("s", "a snapshot is taken at least this often ...", 0.1, 86_400)] = 60.0
    max_replay_s: Annotated[
        float,
        Key("s", "... and before inputs since the last one have taken longer than this to compute", 0.05, 3_600),
    ] = 1.5
    retain_snapshots: Annotated[
        int, Key("snapshots", "snapshots that are kept, and the log since the oldest of them", 1, 1_000)
    ] = 2
    max_waiting_mb: Annotated[
        int, Key("MB", "inputs that wait for the disk at most; beyond it a tick waits up to two seconds", 1, 65_536)
    ] = 256
