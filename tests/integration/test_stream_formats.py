"""How frames are written is the reader's choice: fragments, compression, quanta, without deltas."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from forcedmove_client import AsyncClient
from forcedmove_client.checking import CopiesChecker, StreamChecker
from forcedmove_server.engine.frames import ViewSpec
from tests.integration.fake_engine import FakeEngine, eventually, serving
from tests.integration.test_stream_contract import ALL_AXES, WHOLE, first_of


async def test_the_whole_grid_comes_in_fragments(engine: FakeEngine) -> None:
    engine.close()
    engine = FakeEngine(("BTC",), bins=100_000)  # 12 MB
    checker, copies = StreamChecker(), CopiesChecker()
    async with serving(engine) as server, AsyncClient(f"127.0.0.1:{server.port}") as client:
        engine.step()
        stream = client.subscribe("BTC", keep=ALL_AXES, checker=checker, **WHOLE)
        frame = await first_of(engine, stream)
        assert frame.grid.shape == (3, 2, 5, 100_002)
        np.testing.assert_array_equal(frame.grid, engine.view("BTC", ViewSpec(keep=frame.axes)).values)
        copies.note(frame, "plain")
        small = client.subscribe("BTC", keep=ALL_AXES, compress=True, **WHOLE)
        copies.note(await first_of(engine, small), "zstd")
        newest = await anext(stream)  # of the tick that the second stream began with
        np.testing.assert_array_equal(newest.grid, engine.view("BTC", ViewSpec(keep=frame.axes)).values)
        copies.note(newest, "plain")
        assert copies.compared == 3
        assert (checker.problems, copies.problems) == ([], [])
        assert server.hub.traffic.messages > 12


async def test_formats_are_the_readers_choice_and_made_once(engine: FakeEngine) -> None:
    wanted: tuple[dict[str, Any], ...] = ({}, {"compress": True}, {"quantum_usd": 1e4}, {"snapshots_only": True})
    async with serving(engine) as server, AsyncClient(f"127.0.0.1:{server.port}") as client:
        engine.step()
        streams = [client.subscribe("BTC", **WHOLE, **each) for each in (*wanted, *wanted)]
        pending = [asyncio.create_task(anext(stream)) for stream in streams]
        await eventually(lambda: sum(r.subscription is not None for r in server.hub._readers) == len(streams))
        engine.step()
        await asyncio.gather(*pending)
        assert engine.watched[("BTC", ViewSpec())] == len(wanted)
        before = server.hub.counts.deltas, server.hub.counts.snapshots
        engine.step()
        frames = [await anext(stream) for stream in streams]
        counts = server.hub.counts
        assert (counts.deltas - before[0], counts.snapshots - before[1]) == (3, 1)
        values = engine.view("BTC", ViewSpec()).values
        for frame, (arguments, number) in zip(frames, [(w, k) for k in range(2) for w in wanted], strict=True):
            exact = values if "quantum_usd" not in arguments else np.rint(values / 1e4).astype(np.float32) * 1e4
            np.testing.assert_allclose(frame.grid, exact, rtol=1e-7, err_msg=f"{arguments} {number}")
        assert max(abs(frames[2].grid - values).reshape(-1)) <= 5e3


async def test_cells_beyond_the_quantum_s_range_come_as_floats(engine: FakeEngine) -> None:
    async with serving(engine) as server, AsyncClient(f"127.0.0.1:{server.port}") as client:
        engine.step()
        engine._grids["BTC"][..., 3] = 1e9
        stream = client.subscribe("BTC", quantum_usd=0.5, **WHOLE)
        engine.run(0.01)
        frame = await anext(stream)
        assert frame.grid.max() > 2**32 * 0.5
        engine._grids["BTC"][..., 3] = 1.0
        async for frame in stream:
            if frame.grid.max() < 2**32 * 0.5:
                break
        assert stream.stats.resyncs == 0
