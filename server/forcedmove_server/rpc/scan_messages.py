"""Scans on the wire: requests to questions, answers to messages."""

from __future__ import annotations

from forcedmove.v1 import scan_pb2
from forcedmove_server.engine.scan.follow import SymbolScan
from forcedmove_server.engine.scan.question import DEFAULT_HORIZON_S, Measure, ScanEstimate, ScanQuestion
from forcedmove_server.errors import InputError
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.requests import MOST_CHOICES, few, finite, member, symbols_of, venue_of

_MEASURES = {
    scan_pb2.SCAN_MEASURE_UNSPECIFIED: Measure.FRAGILITY,
    scan_pb2.SCAN_MEASURE_TIPPING_DISTANCE: Measure.TIPPING_DISTANCE,
    scan_pb2.SCAN_MEASURE_AMPLIFICATION: Measure.AMPLIFICATION,
    scan_pb2.SCAN_MEASURE_FRAGILITY: Measure.FRAGILITY,
    scan_pb2.SCAN_MEASURE_EXPECTED_LOSS: Measure.EXPECTED_LOSS,
}
_LONGEST_HORIZON_S = 366 * 86_400.0


def question_of(request: scan_pb2.ScanRequest, registry: InstrumentRegistry, limits: Limits) -> ScanQuestion:
    """Check a request. Raises InputError naming the field, or UnknownNameError."""
    horizon_s = request.horizon_s if request.HasField("horizon_s") else DEFAULT_HORIZON_S
    finite("horizon_s", horizon_s, 0.0, _LONGEST_HORIZON_S, above=True)
    if len(request.shock_fractions) > limits.scan.max_shocks:
        reason = f"at most {limits.scan.max_shocks} (scan.max_shocks)"
        raise InputError("shock_fractions", len(request.shock_fractions), reason)
    few("venues", request.venues, MOST_CHOICES)
    known = registry.venues()
    return ScanQuestion(
        symbols=symbols_of(request.symbols, registry, limits),
        shocks=tuple(request.shock_fractions),
        paths=request.paths,
        seed=request.seed,
        min_notional_usd=finite("min_notional_usd", request.min_notional_usd, 0.0),
        venues=tuple(dict.fromkeys(venue_of(name, known) for name in request.venues)),
        max_distance=finite("max_distance_fraction", request.max_distance_fraction, 0.0),
        measure=member("sort", request.sort, _MEASURES),
        top=request.top,
        horizon_s=horizon_s,
    )


def estimate_message(found: ScanEstimate) -> scan_pb2.ScanResponse:
    """The first message of a scan."""
    return scan_pb2.ScanResponse(
        estimate=scan_pb2.ScanEstimate(
            symbols=found.symbols,
            chains=found.chains,
            paths=found.paths,
            working_bytes=found.working_bytes,
            seconds=found.seconds,
        )
    )


def symbol_message(found: SymbolScan, seq: int, event_time_ns: int) -> scan_pb2.ScanResponse:
    """One symbol, of the map with this number and time."""
    message = scan_pb2.SymbolScan(
        symbol=found.book.symbol,
        seq=seq,
        event_time_ns=event_time_ns,
        mark_price_usd=found.book.mark_usd,
        volatility_day=found.book.law.sigma_day,
        volatility_measured=found.book.sigma_measured,
        terminal_price_usd=found.terminal_usd.tolist(),
        fired_usd=found.fired_usd.tolist(),
        levels=found.levels.tolist(),
        amplification=found.amplification.tolist(),
        fragility=found.fragility.tolist(),
        touch_probability=found.touch.tolist(),
        beyond_window=found.beyond_window.tolist(),
        tipping_down_fraction=found.tipping_down,
        tipping_up_fraction=found.tipping_up,
        tipping_distance_fraction=found.tipping_distance,
        max_amplification=found.amplification.max(),
        max_fragility=found.fragility.max(),
        expected_loss_usd=found.expected_loss_usd,
        notional_usd=found.notional_usd,
    )
    if found.paths is not None:
        quantiles = {}
        for name, values in (("terminal_price_usd", found.paths.terminal_usd), ("fired_usd", found.paths.fired_usd)):
            for percent, row in zip(("05", "50", "95"), values, strict=True):
                quantiles[f"{name}_p{percent}"] = row.tolist()
        message.paths.MergeFrom(scan_pb2.PathQuantiles(**quantiles))
    return scan_pb2.ScanResponse(symbol=message)
