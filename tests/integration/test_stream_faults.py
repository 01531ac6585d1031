"""A client, a server and a wire that fails, by a seeded schedule: the client's map is always the server's, and the
consumer misses nothing that it is not told of.

``FORCEDMOVE_FAULTS=N`` runs N schedules in place of a few.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import count
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from forcedmove.v1 import heatmap_pb2
from forcedmove_client import AsyncClient, HistoryGoneError, MapFrame
from forcedmove_client.checking import StreamChecker
from forcedmove_server.engine.frames import ViewSpec
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.server import RpcServer
from tests.integration.fake_engine import FakeEngine, eventually, serving
from tests.integration.faulty_wire import FaultyWire, faulty_wire

SYMBOLS = ("BTC", "ETH", "SOL")
#: what happens, and how often
ACTIONS = {"tick": 24, "burst": 4, "pause": 3, "go on": 5, "cut": 2, "stall": 2, "flow": 5, "change": 4, "changes": 1}
ACTIONS |= {"restart": 0.5}
STEPS = 100
Truth = dict[tuple[int, str, int], NDArray[np.float32]]


class UnrulyCall:
    """A call whose acknowledgements come late, behind other requests, twice, or for nothing, also before anything else.

    Subscriptions keep their order: what comes last is what is wanted.
    """

    def __init__(self, call: Any, random_: random.Random, unruly: asyncio.Event) -> None:
        self._call, self._random, self._unruly = call, random_, unruly
        self._sent: list[heatmap_pb2.SubscribeRequest] = []
        self._held: list[heatmap_pb2.SubscribeRequest] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def __aiter__(self) -> AsyncIterator[heatmap_pb2.SubscribeResponse]:
        return aiter(self._call)  # type: ignore[no-any-return]

    async def write(self, request: heatmap_pb2.SubscribeRequest) -> None:
        if not self._sent and self._random.random() < 0.3:
            early = heatmap_pb2.Ack(window=self._random.randint(0, 3))
            await self._call.write(heatmap_pb2.SubscribeRequest(ack=early))
        if request.HasField("ack") and self._unruly.is_set() and self._random.random() < 0.2:
            self._held.append(request)
            return
        self._sent.append(request)
        await self._call.write(request)
        late, self._held = self._held, []
        if self._unruly.is_set() and self._random.random() < 0.2:
            late += [sent for sent in self._random.choices(self._sent, k=2) if sent.HasField("ack")]
        for again in late:
            await self._call.write(again)


class Consumer:
    """One stream, what was read from it, and whether it may have been."""

    def __init__(self, client: AsyncClient, random_: random.Random, delivery: Any) -> None:
        self.random, self.delivery = random_, delivery
        self.checker = StreamChecker()
        self.quantum = random_.choice((0, 0, 1_000.0))
        self.symbols = self.some_symbols()
        self.stream = client.subscribe(
            self.symbols,
            price_range=0,
            delivery=delivery,
            quantum_usd=self.quantum,
            compress=random_.random() < 0.3,
            max_unacked=self.some_window(),
            checker=self.checker,
        )
        self.unruly = asyncio.Event()
        self.unruly.set()
        if random_.random() < 0.7:
            open_call = self.stream._open_call
            self.stream._open_call = lambda: UnrulyCall(open_call(), random_, self.unruly)  # type: ignore[return-value,assignment]
        self.read: list[MapFrame] = []
        #: epoch and seq of the newest frame of every symbol that stayed
        self.newest: dict[str, tuple[int, int]] = {}
        self.gone = self.gaps = 0
        #: seconds that it takes for a frame: some only let others run in between
        self.pace_s = random_.choice((None, 0, 0.002, 0.02))
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self._reading = asyncio.create_task(self._read())

    def some_symbols(self) -> list[str]:
        return self.random.sample(SYMBOLS, self.random.randint(1, len(SYMBOLS)))

    def some_window(self) -> int | None:
        return self.random.choice((None, None, 1, 2, 5, 0))

    async def change(self, symbols: list[str]) -> None:
        """Want others from now on, and perhaps with another window."""
        self.newest = {symbol: newest for symbol, newest in self.newest.items() if symbol in symbols}
        wants = {"max_unacked": self.some_window()} if self.random.random() < 0.5 else {}
        await self.stream.change(symbols=symbols, **wants)

    async def _read(self) -> None:
        while True:
            await self.goes_on.wait()
            try:
                frame = await anext(self.stream)
            except HistoryGoneError:
                assert self.delivery == "every"
                self.gone += 1
                self.newest.clear()
                continue
            self._follows(frame)
            self.read.append(frame)
            if self.pace_s is not None:
                await asyncio.sleep(self.pace_s)

    def _follows(self, frame: MapFrame) -> None:
        """Assert that a frame is the next one of its symbol, or tells how many lie between."""
        epoch, seq = self.newest.get(frame.symbol, (0, 0))
        self.newest[frame.symbol] = frame.epoch, frame.seq
        gap = frame.seq - seq - 1 if epoch == frame.epoch else 0
        told = f"{frame.symbol}: {frame.epoch}/{frame.seq} follows {epoch}/{seq} and tells of {frame.skipped}"
        assert frame.epoch >= epoch, told
        assert frame.skipped == gap >= 0, told
        assert not (gap and self.delivery == "every"), told
        self.gaps += gap

    def check(self) -> bool:
        """Raise what ended the reading; True where nothing did."""
        if self._reading.done():
            self._reading.result()
        return True

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
        await consumer.change(consumer.some_symbols())
    elif action == "changes":  # before any of them is answered
        for _ in range(4):
            await consumer.change(consumer.some_symbols())
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
            consumer.unruly.clear()
            await consumer.change(list(SYMBOLS))
            before = len(consumer.read)
            world.engine.run(0.01)
            await eventually(lambda: consumer.check() and len(consumer.read) > before + 12, 20)
            world.engine._interval_s = None
            consumer.pace_s, looks = None, count()

            def has_the_newest() -> bool:
                if next(looks) % 50 == 0:  # who has just begun waits for the next one
                    world.engine.step()
                maps = world.engine.latest().maps
                return consumer.check() and consumer.newest == {s: (world.epoch, maps[s].seq) for s in SYMBOLS}

            await eventually(has_the_newest, 20)
            await consumer.stop()
            check(consumer, world.truth)
    finally:
        await world.stop()
