"""ScanService: many shocks through many maps, computed beside the engine and streamed symbol by symbol."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc

from forcedmove.v1 import scan_pb2
from forcedmove_server.engine.frames import AssumptionInfo
from forcedmove_server.engine.scan.books import ScanBook, TakenBooks, beside, size_of, take_books
from forcedmove_server.engine.scan.follow import SPREADS, SymbolScan, scan_symbol
from forcedmove_server.engine.scan.question import ScanEstimate, ScanQuestion, check, estimate
from forcedmove_server.engine.scan.ranking import is_kept, ranked, value_of
from forcedmove_server.engine.service import EngineService
from forcedmove_server.errors import InputError, NotReadyError, QuotaError
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.messages import assumption_messages
from forcedmove_server.rpc.scan_messages import estimate_message, question_of, symbol_message
from forcedmove_server.rpc.status import guarded

if TYPE_CHECKING:  # the stubs are generic, the classes are not
    from grpc.aio import ServicerContext

    ScanContext = ServicerContext[scan_pb2.ScanRequest, scan_pb2.ScanResponse]

SERVICE = scan_pb2.DESCRIPTOR.services_by_name["ScanService"].full_name

#: how much the last scan counts in what is known of this machine's pace
_NEWEST = 0.3
#: a scan of fewer seconds says nothing of the pace
_TELLING_S = 0.05
#: the pace stays within these bounds
_PACES = (0.1, 100.0)


class ScanHandlers:
    """Handlers of one server. All scans together have ``scan.threads`` threads; ``close`` lets go of them."""

    def __init__(self, engine: EngineService, limits: Limits) -> None:
        self._engine, self._limits = engine, limits
        self._workers = ThreadPoolExecutor(limits.scan.threads, thread_name_prefix="forcedmove-scans")
        #: scans that run, and those that were turned away since others ran
        self.running, self.refused = 0, 0
        #: seconds that scans took over what was estimated
        self._pace = 1.0

    def handler(self) -> grpc.GenericRpcHandler:
        """What a gRPC server registers."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Scan": grpc.unary_stream_rpc_method_handler(
                    self.scan, scan_pb2.ScanRequest.FromString, scan_pb2.ScanResponse.SerializeToString
                )
            },
        )

    @property
    def waiting(self) -> int:
        """None: a scan that finds no room is refused."""
        return 0

    def close(self) -> None:
        """Let go of the threads once what they do is done."""
        self._workers.shutdown(wait=False, cancel_futures=True)

    @guarded
    async def scan(self, request: scan_pb2.ScanRequest, context: ScanContext) -> None:
        """Estimate, then stream what comes of every symbol, then the ranking."""
        question = question_of(request, self._engine.registry, self._limits)
        left_s = context.time_remaining()
        if left_s is None:
            raise InputError("deadline", None, "a scan needs one: set the call's deadline")
        mapped, cells = await asyncio.wrap_future(self._engine.at_tick(size_of))
        symbols = mapped if question.symbols is None else len(question.symbols)
        found = estimate(question, symbols, cells, self._limits.scan.threads, self._pace)
        check(question, found, self._limits.scan, left_s)
        await context.write(estimate_message(found))
        if request.estimate_only:
            return
        if self.running >= self._limits.scan.max_running:
            self.refused += 1
            raise QuotaError(f"{self.running} scans are running, which is this server's limit (scan.max_running)")
        self.running += 1
        try:
            await self._run(question, found, context)
        finally:
            self.running -= 1

    async def _run(self, question: ScanQuestion, found: ScanEstimate, context: ScanContext) -> None:
        begin, worked_s = time.monotonic(), 0.0
        taken = await asyncio.wrap_future(self._engine.at_tick(take_books(question.symbols, question.venues)))
        if not taken.books:
            raise NotReadyError("none of the symbols has a map with a market on the venues yet")
        values, filtered = [], 0
        async with aclosing(self._answers(taken, question)) as answers:
            async for symbol, seconds in answers:
                worked_s += seconds
                if not is_kept(symbol, question):
                    filtered += 1
                    continue
                values.append((symbol.book.symbol, value_of(symbol, question.measure)))
                await context.write(symbol_message(symbol, *taken.stamps[symbol.book.symbol]))
        self._learn(worked_s / self._limits.scan.threads, found)
        summary = scan_pb2.ScanSummary(
            ranking=[scan_pb2.RankedSymbol(symbol=name, value=value) for name, value in ranked(values, question)],
            scanned=len(taken.books),
            filtered=filtered,
            missing=taken.missing,
            seconds=time.monotonic() - begin,
            assumptions=assumption_messages(_assumptions(question, taken)),
        )
        await context.write(scan_pb2.ScanResponse(summary=summary))

    def _learn(self, seconds: float, found: ScanEstimate) -> None:
        """Let the seconds that threads spent on a scan, and not those that its reader took, tell of the pace."""
        if seconds > _TELLING_S:
            self._pace = min(max(self._pace * (seconds / found.seconds) ** _NEWEST, _PACES[0]), _PACES[1])

    async def _answers(
        self, taken: TakenBooks, question: ScanQuestion
    ) -> AsyncGenerator[tuple[SymbolScan, float], None]:
        """Yield the symbols as they finish, with the seconds that each took.

        One more than there are threads waits for one to be free.
        """
        loop, cancelled, backend = asyncio.get_running_loop(), threading.Event(), beside(taken.backend)
        running: set[asyncio.Future[tuple[SymbolScan, float]]] = set()
        left = iter(taken.books)
        try:
            while True:
                while len(running) <= self._limits.scan.threads and (book := next(left, None)) is not None:
                    running.add(loop.run_in_executor(self._workers, _timed, backend, book, question, cancelled.is_set))
                if not running:
                    return
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for answer in done:
                    yield answer.result()
        finally:
            cancelled.set()
            for waiting in running:
                waiting.cancel()


def _timed(
    backend: Any, book: ScanBook, question: ScanQuestion, is_cancelled: Callable[[], bool]
) -> tuple[SymbolScan, float]:
    begin = time.monotonic()
    found = scan_symbol(backend, book, question, is_cancelled)
    return found, time.monotonic() - begin


def _assumptions(question: ScanQuestion, taken: TakenBooks) -> tuple[AssumptionInfo, ...]:
    listed = [
        AssumptionInfo("latent_book", "depth by the square-root law counts from where each shock leads"),
        AssumptionInfo("touch", "the price is a driftless diffusion of each symbol's daily volatility"),
    ]
    guessed = sorted(book.symbol for book in taken.books if not book.sigma_measured)
    if guessed:
        shown = ", ".join(guessed[:12]) + (", ..." if len(guessed) > 12 else "")
        listed.append(AssumptionInfo("volatility", f"not measured yet, a default: {shown}", float(len(guessed))))
    if question.venues:
        listed.append(AssumptionInfo("venues", "positions elsewhere do not fire; depth is that of all venues"))
    if question.paths:
        listed += [
            AssumptionInfo("path_notional", "relative standard deviation of what fires on a path", SPREADS.notional),
            AssumptionInfo("path_depth", "the same of the depth of all cells", SPREADS.depth),
            AssumptionInfo("path_cell_depth", "the same of the depth of each cell by itself", SPREADS.cell_depth),
        ]
    return tuple(listed)
