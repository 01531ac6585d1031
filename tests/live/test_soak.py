"""All venues at once under random faults: nothing is lost outside announced gaps, nothing comes twice, nothing leaks.

A short run of what ``make soak`` does for ten minutes.
"""

from __future__ import annotations

from forcedmove_server.collectors.venues import venue_names
from tests.emulator.faults import FaultPlan
from tests.emulator.soak import soak

SECONDS = 12.0


async def test_all_venues_survive_random_faults() -> None:
    plan = FaultPlan(seed=5, connection_rate=1 / 30, message_rate=0.004, venue_rate=1 / 40)
    report = await soak(venue_names(), SECONDS, seed=5, plan=plan, warm_s=1.0, end_s=9.0)
    assert report.venues == 22
    assert report.lost == []
    assert report.repeated == []
    assert report.strange == []
    assert report.received > 2_000
    assert report.gaps > 20
    assert len(report.faults) > 8
    assert report.not_live_at_end == []
    assert report.slowest_announcement_s < 1.0
    assert report.slowest_resync_s < 10.0
    assert report.tasks_left == 0
    assert report.shutdown_s < 2.0
