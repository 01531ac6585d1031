"""What a store takes in memory, and the refusal before anything is allocated."""

from __future__ import annotations

import os
from pathlib import Path

from forcedmove_kernels.errors import MemoryBudgetError
from forcedmove_kernels.fixed_point import PHASES

_MEMORY_INFO = Path("/proc/meminfo")
_OWN_GROUP = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")


def store_bytes(markets: int, capacity: int, tiers: int, bins: int) -> int:
    """Return the bytes of all arrays of a store: cohorts, rules, windows and standing totals.

    ``capacity`` are cohorts per market. Axes and dtypes are those of :mod:`forcedmove_kernels.arrays`.
    """
    slot = 4 + 4 + 2 * 4 + 2 * 1 + 2 * 4  # entry, opened_at; by side: lots, live_tiers, trigger
    row = 1 + 8 + 4 + 2 * 8 * (bins + 2)  # stale, live, frontier; by cell: totals, fresh
    rules = 1 + 2 * 4 * PHASES * tiers + 2 * 4 * (tiers + 1) ** 2  # tiers, multiplier, weight
    market = 8 + 4 + 4 + rules + 2 * row + capacity * slot  # start, used, first_bin
    return 8 + markets * market  # start has one more


def frame_bytes(cells: int) -> int:
    """Return what a watched view of so many cells takes on a GPU: its last rendering, and comparing the next with it.

    That is the frame, a count and per 256 cells one more, and a list of a third of the cells, the last three with room
    to grow.
    """
    return 4 * cells + 8 * (1 + -(-cells // 256) + cells // 3) * 3 // 2


def watched_bytes(markets: int, bins: int) -> int:
    """Return the most that watched views take on a GPU: of each market four views by side and price."""
    return markets * 4 * frame_bytes(2 * (bins + 2))


def working_bytes(markets: int, bins: int) -> int:
    """Return the bytes that a tick works in on a GPU beside the store, with room to grow.

    That is every market's levels and what spreading them takes, its profile, and as if each were a symbol of its own
    the sums, their prefix sums and the most clusters that there can be; and watched views.
    """
    cells = bins + 2
    levels, profiles, prefix, runs = 2 * 2 * cells, 2 * 2 * cells, 2 * (cells + 1), 2 * 4 * (cells // 2 + 1)
    return markets * 8 * (levels + profiles + prefix + runs + 2) * 3 // 2 + watched_bytes(markets, bins)


def check_budget(where: str, needed: int, free: int) -> None:
    """Raise MemoryBudgetError when ``needed`` bytes are more than the ``free`` ones of ``where`` ("this machine")."""
    if needed > free:
        raise MemoryBudgetError(
            f"needs {size_text(needed)}, {where} has {size_text(free)} free: "
            "lower `max_cohorts_per_market`, `max_markets` or `bins`"
        )


def size_text(size: int) -> str:
    """Return bytes as people read them: ``9.1 GiB``, below one GiB ``61.3 MiB``."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"


def host_free_bytes() -> int:
    """Return how much memory this process can still take: what the machine has, within the limit of its control group.

    Where the system does not tell what is free (anything but Linux) it is what the machine has in all.
    """
    try:
        fields = dict(line.split(":", 1) for line in _MEMORY_INFO.read_text().splitlines())
        free = int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([free, *_group_room()])


def _group_room() -> list[int]:
    """Return what the process's control group and each group around it have left (version 2; none without limits)."""
    try:
        own = next(line[3:] for line in _OWN_GROUP.read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return []
    room = []
    group = _GROUPS / own.strip("/")
    for folder in (group, *group.parents[: len(group.parts) - len(_GROUPS.parts)]):
        try:
            limit = (folder / "memory.max").read_text().strip()
            usage = int((folder / "memory.current").read_text())
            counters = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except OSError:
            continue
        if limit != "max":  # the page cache that nobody uses is given back under pressure
            room.append(max(int(limit) - usage + int(counters.get("inactive_file", 0)), 0))
    return room
