"""What venues list, through ccxt against the emulator, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from typing import Any

import psutil
import pytest

from forcedmove_server.collectors.discovery import Found, discover, venue_markets
from forcedmove_server.collectors.network import Addresses
from forcedmove_server.errors import NotReadyError
from tests.emulator.faults import Fault
from tests.emulator.server import EmulatorServer
from tests.emulator.venue import Answer, RestRequest
from tests.emulator.venues.bybit import BybitEmulator
from tests.emulator.venues.gate import EMULATOR as GateEmulator
from tests.emulator.venues.okx import EMULATOR as OkxEmulator
from tests.live.waiting import eventually

SYMBOLS = ("BTC", "ETH", "1000PEPE")


def bybit() -> BybitEmulator:
    return BybitEmulator(BybitEmulator.native_ids(SYMBOLS))


class OddGate(GateEmulator):  # type: ignore[misc,valid-type]
    """Answers something that ccxt stumbles over with an error that is none of its own."""

    def answer(self, request: RestRequest) -> Answer | None:
        return Answer([None])


class EmptyOkx(OkxEmulator):  # type: ignore[misc,valid-type]
    """Answers that all is well, and nothing listed."""

    def answer(self, request: RestRequest) -> Answer | None:
        return Answer({"code": "0", "data": [], "msg": ""})


class GrownBybit(BybitEmulator):
    """Lists a contract quoted in a dollar that nobody knows."""

    def answer(self, request: RestRequest) -> Answer | None:
        answer = super().answer(request)
        if answer is None or request.query["category"] != "linear":
            return answer
        rows: list[dict[str, Any]] = answer.content["result"]["list"]
        strange = rows[0] | {"symbol": "BTCUSDX", "quoteCoin": "USDX", "settleCoin": "USDX"}
        result = answer.content["result"] | {"list": [*rows, strange]}
        return dataclasses.replace(answer, content=answer.content | {"result": result})


async def found_by(server: EmulatorServer, name: str) -> Found:
    return await asyncio.to_thread(venue_markets, name, Addresses(server.urls))


async def test_every_venue_answers_for_itself() -> None:
    """One that ccxt cannot digest must not keep the others from being found, now and at every later look."""
    listing = bybit()
    emulators = [listing, OddGate(OddGate.native_ids(SYMBOLS)), EmptyOkx(EmptyOkx.native_ids(SYMBOLS))]
    found: dict[str, Found] = {}
    async with EmulatorServer(emulators) as server:
        # kucoinfutures gets a 404 from a host that nobody emulates
        urls = server.urls | {"api-futures.kucoin.com": next(iter(server.urls.values())).replace("bybit", "nobody")}
        async with asyncio.timeout(60):
            async for answer in discover(("okx", "gate", "kucoinfutures", "bybit"), urls):
                found[answer.venue] = answer
    assert found.keys() == {"okx", "gate", "kucoinfutures", "bybit"}
    assert found["gate"].failure.startswith("AttributeError")
    assert found["okx"].failure == "lists no perpetual in US dollars", "to take it at its word would drop its markets"
    assert found["kucoinfutures"].failure.startswith("kucoinfutures: ")
    assert found["bybit"].failure == ""
    described = {one.native_id: one for one in listing.listings.values()}
    for one in found["bybit"].listings():
        expected = described[one.native_id]
        assert one.instrument.base == expected.instrument.base
        assert (one.units, one.contract, one.inverse) == (expected.units, expected.contract, expected.inverse)
    assert {one.native_id for one in found["bybit"].instruments} == described.keys()


async def test_a_process_that_fails_is_not_ready_and_says_why() -> None:
    with pytest.raises(NotReadyError, match=r"(?s)ended with status 1: .*urls\.api\.bybit\.com"):
        async for _ in discover(("bybit",), {"api.bybit.com": "nowhere"}):
            pass


async def test_a_venue_that_does_not_answer_holds_nobody_up_for_ever() -> None:
    ended = asyncio.Event()

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"H")
                await writer.drain()
                await asyncio.sleep(0.2)
        writer.close()
        ended.set()

    found: list[str] = []

    async def ask(urls: dict[str, str]) -> None:
        async for one in discover(("okx", "bybit"), urls, within_s=8.0):
            found.append(one.venue)  # noqa: PERF401  what came before the error counts

    async with EmulatorServer([bybit()]) as server, await asyncio.start_server(drip, "127.0.0.1", 0) as dripping:
        port = dripping.sockets[0].getsockname()[1]
        with pytest.raises(NotReadyError, match="no answer in time from okx"):
            await ask({**server.urls, "www.okx.com": f"http://127.0.0.1:{port}"})
        await asyncio.wait_for(ended.wait(), 5.0)
    assert found == ["bybit"]


async def test_a_cancelled_discovery_leaves_no_process_and_no_task() -> None:
    before, others = asyncio.all_tasks(), set(psutil.Process().children())  # earlier tests may have left workers

    def started() -> set[psutil.Process]:
        return set(psutil.Process().children()) - others

    async with await asyncio.start_server(lambda *_: asyncio.sleep(60), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]

        async def look() -> None:
            async for _ in discover(("bybit",), {"api.bybit.com": f"http://127.0.0.1:{port}"}):
                pass

        task = asyncio.create_task(look())
        await eventually(lambda: bool(started()), "the process")
        (child,) = started()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait_for(task, 2.0)
        # a busy machine needs a moment to end what was killed
        await eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the process ends")
        await eventually(lambda: not {one for one in asyncio.all_tasks() - before if not one.done()}, "no task is left")


async def test_a_market_that_cannot_be_described_is_left_out_and_named() -> None:
    async with EmulatorServer([GrownBybit(GrownBybit.native_ids(SYMBOLS))]) as server:
        found = await found_by(server, "bybit")
    assert {one.native_id for one in found.instruments} == set(GrownBybit.native_ids(SYMBOLS))
    assert list(found.left_out) == ["BTC/USDX:USDX"]
    assert "only US dollar quotes" in found.left_out["BTC/USDX:USDX"]


async def test_a_venue_in_trouble_says_what_it_is() -> None:
    async with EmulatorServer([bybit()]) as server:
        server.trouble("bybit", Fault.SERVER_ERROR, 30.0)
        found = await found_by(server, "bybit")
    assert found.instruments == ()
    assert found.failure.startswith("bybit: ExchangeNotAvailable: ")
