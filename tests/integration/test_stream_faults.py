"""A client, a server and a wire that fails, by a seeded schedule: the client's map is always the server's.

``FORCEDMOVE_FAULTS=N`` runs N schedules in place of a few.
"""

from __future__ import annotations

import asyncio
import os
import random
from contextlib import AsyncExitStack
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from forcedmove_client import AsyncClient, HistoryGoneError, MapFrame
from forcedmove_client.checking import StreamChecker
from forcedmove_server.engine.frames import ViewSpec
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.server import RpcServer
from tests.integration.fake_engine import FakeEngine, eventually, serving
from tests.integration.faulty_wire import FaultyWire, faulty_wire

SYMBOLS = ("BTC", "ETH", "SOL")
#: what happens, and how often
ACTIONS = {"tick": 24, "burst": 4, "pause": 3, "go on": 5, "cut": 2, "stall": 2, "flow": 5, "change": 2, "restart": 0.5}
STEPS = 100
Truth = dict[tuple[int, str, int], NDArray[np.float32]]


class Consumer:
    """One stream, and what was read from it."""

    def __init__(self, client: AsyncClient, random_: random.Random, delivery: Any) -> None:
        self.random, self.delivery = random_, delivery
        self.checker = StreamChecker()
        self.quantum = random_.choice((0, 0, 1_000.0))
        self.stream = client.subscribe(
            self.some_symbols(),
            price_range=0,
            delivery=delivery,
            quantum_usd=self.quantum,
            compress=random_.random() < 0.3,
            max_unacked=random_.choice((1, 2, 5, 0)),
            checker=self.checker,
        )
        self.read: list[MapFrame] = []
        self.gone = 0
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self._reading = asyncio.create_task(self._read())

    def some_symbols(self) -> list[str]:
        return self.random.sample(SYMBOLS, self.random.randint(1, len(SYMBOLS)))

    async def _read(self) -> None:
        while True:
            await self.goes_on.wait()
            try:
                self.read.append(await anext(self.stream))
            except HistoryGoneError:
                assert self.delivery == "every"
                self.gone += 1

    def check(self) -> None:
        """Raise what ended the reading."""
        if self._reading.done():
            self._reading.result()

    async def stop(self) -> None:
        """Read no more."""
        self.check()
        self._reading.cancel()
        await asyncio.wait((self._reading,))
        await self.stream.aclose()


class World:
    """A server that comes and goes, and everything that it ever published."""

    def __init__(self, random_: random.Random) -> None:
        self.random = random_
        self.epoch = 0
        self.truth: Truth = {}
        self.server: RpcServer
        self.engine: FakeEngine
        self._stack = AsyncExitStack()

    async def start(self, port: int = 0) -> None:
        self.epoch += 1
        self.engine = FakeEngine(SYMBOLS, seed=self.random.randrange(2**32), epoch=self.epoch)
        self.engine.on_tick(self._note)
        self.engine.step()
        limits = Limits(stalled_after_s=0.3, heartbeat_s=0.05, every_frames=12, resume_window_s=0.5)
        self.server = await self._stack.enter_async_context(serving(self.engine, limits, port=port))

    async def stop(self) -> None:
        await self._stack.aclose()

    def _note(self, tick: Any) -> None:
        for symbol in tick.changed:
            self.truth[tick.epoch, symbol, tick.maps[symbol].seq] = self.engine.view(symbol, ViewSpec()).values


async def act(action: str, world: World, wire: FaultyWire, consumer: Consumer) -> None:
    """Do one thing of a schedule."""
    random_ = world.random
    if action == "tick":
        world.engine.step(changed_share=random_.choice((0.001, 0.05, 0.9)))
        await asyncio.sleep(random_.choice((0, 0.002, 0.01)))
    elif action == "burst":
        world.engine.step(random_.randint(2, 30))
        world.engine.quiet = set(consumer.some_symbols()) if random_.random() < 0.3 else set()
    elif action == "pause":
        consumer.goes_on.clear()
    elif action == "go on":
        consumer.goes_on.set()
    elif action == "cut":
        wire.cut()
    elif action == "stall":
        wire.stall()
    elif action == "flow":
        wire.flow()
        await asyncio.sleep(0.02)
    elif action == "change":
        await consumer.stream.change(symbols=consumer.some_symbols())
    else:
        assert action == "restart"
        wire.flow()
        await world.stop()
        await world.start()
        wire.to = world.server.port
        wire.cut()
        await asyncio.sleep(0.1)
    consumer.check()


def check(consumer: Consumer, truth: Truth) -> None:
    """Hold everything that was read against what was published."""
    for frame in consumer.read:
        exact = truth[frame.epoch, frame.symbol, frame.seq]
        if consumer.quantum:
            exact = np.rint(exact.astype(np.float64) / consumer.quantum) * consumer.quantum
        np.testing.assert_allclose(frame.grid, exact, rtol=1e-7, err_msg=f"{frame.symbol} {frame.epoch}/{frame.seq}")
    assert consumer.checker.problems == []
    assert consumer.stream.stats.resyncs == 0  # no frame came that did not fit
    if consumer.delivery == "every":
        assert consumer.checker.gaps == consumer.checker.skipped == 0


@pytest.mark.parametrize("seed", range(int(os.environ.get("FORCEDMOVE_FAULTS", "12"))))
async def test_a_client_s_map_is_the_server_s(seed: int) -> None:
    random_ = random.Random(seed)
    world = World(random_)
    await world.start()
    try:
        async with (
            faulty_wire(world.server.port) as wire,
            AsyncClient(f"127.0.0.1:{wire.port}", reconnect_timeout_s=None, silence_timeout_s=0.5) as client,
        ):
            consumer = Consumer(client, random_, "every" if seed % 2 else "latest")
            for action in random_.choices(list(ACTIONS), list(ACTIONS.values()), k=STEPS):
                await act(action, world, wire, consumer)
            # whatever has happened, it ends with the newest map
            wire.flow()
            consumer.goes_on.set()
            world.engine.quiet = set()
            await consumer.stream.change(symbols=SYMBOLS)
            before = len(consumer.read)
            world.engine.run(0.01)
            await eventually(lambda: len(consumer.read) > before + 12, 20)
            world.engine._interval_s = None
            world.engine.step()
            newest = {(world.epoch, symbol, world.engine.latest().maps[symbol].seq) for symbol in SYMBOLS}
            await eventually(lambda: newest <= {(f.epoch, f.symbol, f.seq) for f in consumer.read[-12:]}, 20)
            await consumer.stop()
            check(consumer, world.truth)
    finally:
        await world.stop()
