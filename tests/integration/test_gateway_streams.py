"""The tests of streams once more, with a gateway between the server and its engine: readers see no difference."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from forcedmove_server.gateway import feed
from forcedmove_server.rpc.server import RpcServer
from tests.integration import (
    test_access,
    test_stream,
    test_stream_client,
    test_stream_contract,
    test_stream_errors,
    test_stream_formats,
)
from tests.integration.fake_engine import FakeEngine
from tests.integration.gateway_front import serving_through_gateway
from tests.integration.test_access import *  # noqa: F403
from tests.integration.test_stream import *  # noqa: F403
from tests.integration.test_stream_client import *  # noqa: F403
from tests.integration.test_stream_contract import *  # noqa: F403
from tests.integration.test_stream_errors import *  # noqa: F403
from tests.integration.test_stream_formats import *  # noqa: F403

# gateways share their port, which the supervisor has reserved
del test_a_port_in_use_is_named  # noqa: F821
# a gateway hears of an instrument with the next tick
del test_a_view_of_a_symbol_without_a_map_is_checked_all_the_same  # noqa: F821
# these look into the engine right after a reader left, or count how often one process asks it
del test_views_are_kept_for_readers_that_come_back_and_not_for_longer  # noqa: F821
del test_formats_are_the_readers_choice_and_made_once  # noqa: F821
# this one reaches for the engine behind the hub
del test_every_frame_after_a_restart_is_out_of_range_once  # noqa: F821


@pytest.fixture(autouse=True)
def through_a_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    # tests make ticks in one go, on the loop that would send them on: all of them wait
    monkeypatch.setattr(feed, "BACKLOG", 1_000)
    for module in (
        test_access,
        test_stream,
        test_stream_client,
        test_stream_contract,
        test_stream_errors,
        test_stream_formats,
    ):
        monkeypatch.setattr(module, "serving", serving_through_gateway)


@pytest.fixture
async def server(engine: FakeEngine) -> AsyncIterator[RpcServer]:
    engine.step()
    async with serving_through_gateway(engine) as server:
        await server.first_map.wait()
        yield server
