"""``forcedmove record --source live``: what was traded is on disk when it ends, however it is ended."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from forcedmove_client.cli import main
from forcedmove_server.commands import record
from forcedmove_server.errors import InputError
from forcedmove_server.market.events import EventBatch
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.sources.replay import ReplaySource
from tests.live.feeding import traded_market
from tests.live.waiting import eventually

FORCEDMOVE = [sys.executable, "-m", "forcedmove_client.cli"]


async def test_live_trades_are_recorded_until_it_is_told_to_end(tmp_path: Path) -> None:
    folder = tmp_path / "recorded"
    async with traded_market() as market:
        command = ["record", "--source", "live", "--config", str(market.config(tmp_path)), "--output", str(folder)]
        process = await asyncio.create_subprocess_exec(
            *FORCEDMOVE, *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        try:
            await eventually(lambda: len(market.seen) > 60, "a second of trades", 30.0)
            process.send_signal(signal.SIGTERM)
            out, err = await asyncio.wait_for(process.communicate(), 10.0)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, err
        assert b"Traceback" not in err
    told = out.decode()
    assert "defects: none" in told
    registry = InstrumentRegistry()
    batches = list(ReplaySource("recorded", folder).batches(registry))
    trades = np.concatenate([batch.trades for batch in batches])
    found = [float(quantity) for quantity in trades["quantity"]]
    assert len(found) == len(set(found)) >= 40
    assert set(found) <= {trade.quantity for trade in market.trades}
    assert {trade.quantity for trade in market.seen[:40]} <= set(found)
    assert (np.diff(trades["time_ns"]) >= 0).all()
    assert {one.key for one in registry} == {f"bybit:{key}" for key in market.emulator.listings}
    assert told.startswith(f"{sum(map(len, batches)):,} events of 4 markets")


def endless() -> Iterator[EventBatch]:
    number = 0
    while True:
        number += 1
        yield EventBatch(number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_after_the_batch_that_is_being_written(number: signal.Signals) -> None:
    """In the midst of it, the summary would be lost and the last part with it."""
    written = []
    before = signal.getsignal(number)
    for batch in record._until_told(endless(), None):
        if batch.until_ns == 3:
            signal.raise_signal(number)
        written.append(batch.until_ns)
    assert written == [1, 2, 3]
    assert signal.getsignal(number) is before


def test_a_second_interrupt_does_not_wait() -> None:
    def write() -> None:
        for batch in record._until_told(endless(), None):
            if batch.until_ns == 3:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        write()


def test_it_ends_after_so_many_hours() -> None:
    assert 0 < sum(1 for _ in record._until_told(endless(), 0.02 / 3600)) < 10**6
    with pytest.raises(InputError, match="hours"):
        next(record._until_told(endless(), 0.0))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--source", "live", "--input", "x"], "goes with --source replay"),
        (["--venues", "bybit"], "goes with --source live"),
        (["--source", "live", "--venues", "nowhere"], "unknown venue 'nowhere'"),
        (["--source", "live", "--symbols", "top:x"], "must be like top:100"),
    ],
)
def test_arguments_that_do_not_go_together(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "recorded"
    assert main(["record", "--output", str(folder), *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not folder.exists()
