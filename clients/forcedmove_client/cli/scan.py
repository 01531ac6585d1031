"""``forcedmove scan``: which symbols are fragile, by following many shocks through all maps."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from forcedmove_client.aio import AsyncClient
from forcedmove_client.cli.arguments import add_server, describe, duration, move, positive, share, whole
from forcedmove_client.cli.failures import BAD_INPUT, DONE, CommandError
from forcedmove_client.cli.running import with_client, with_spinner
from forcedmove_client.cli.tables import output, table
from forcedmove_client.scan import MEASURES, ScanEstimate, ScanResult, SymbolScan, finite_or_none
from forcedmove_client.terminal import figures

HELP = "rank symbols by what shocks would set off"

_DEFAULT_SHOCKS = (-0.05, -0.02, -0.01, 0.01, 0.02, 0.05)
#: of a picture: distances that grow evenly, on both sides
_PICTURE_SHOCKS = tuple(
    sign * round(float(move), 5)
    for sign, moves in ((-1, np.geomspace(0.1, 0.005, 16)), (1, np.geomspace(0.005, 0.1, 16)))
    for move in moves
)
_TABLE_ROWS = 20
#: more shocks than this are not columns of a table
_MOST_COLUMNS = 8
_NOTHING = "–"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    describe(
        parser,
        "Follow many shocks through the newest maps and books of all symbols, and rank them.\n"
        "fragility: what a shock crosses over the depth from there on as far again; tipping: nearest shock whose\n"
        "chain runs beyond it; loss: expected within the horizon, what fires times how far it moves the mark.",
        "forcedmove scan --shocks -1%,-2%,-5% --sort fragility --top 20",
        "forcedmove scan BTC ETH --shocks -2%,2% --paths 500 --format json",
        "forcedmove scan --format parquet --output scan.parquet",
        "forcedmove scan --plot market.png",
    )
    parser.add_argument("symbols", nargs="*", metavar="SYMBOL", help="default: all that have a map")
    parser.add_argument(
        "--shocks", type=shock_list, metavar="MOVES", help="moves of the mark (default: -5%%,-2%%,-1%%,1%%,2%%,5%%)"
    )
    parser.add_argument("--paths", type=whole(0, 1_000_000), default=0, metavar="N", help="random paths of each shock")
    parser.add_argument("--seed", type=whole(0, 2**63 - 1), default=0, metavar="N", help="of the paths (default: 0)")
    parser.add_argument("--sort", choices=tuple(MEASURES.values()), default="fragility", help="default: fragility")
    parser.add_argument(
        "--top", type=whole(1, 100_000), metavar="N", help="symbols kept (default: 20 in a table, else all)"
    )
    parser.add_argument("--venues", nargs="+", default=[], metavar="NAME", help="only positions on these venues fire")
    parser.add_argument("--min-notional", type=positive, default=0.0, metavar="USD", help="leave out smaller symbols")
    parser.add_argument(
        "--max-distance", type=share(0, 1), default=0.0, metavar="MOVE", help="leave out what tips further away"
    )
    parser.add_argument("--horizon", type=duration, metavar="TIME", help="of touch probabilities (default: 24h)")
    parser.add_argument("--format", choices=("table", "json", "parquet"), default="table", help="default: table")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write JSON or Parquet there")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the market as a picture (PNG)")
    parser.add_argument(
        "--colour", choices=("amplification", "move"), default="amplification", help="of the picture's cells"
    )
    parser.add_argument("--estimate", action="store_true", help="only tell what the scan would come to")
    parser.add_argument("--timeout", type=duration, default=60.0, metavar="TIME", help="deadline (default: 60s)")
    add_server(parser)


def run(args: argparse.Namespace) -> int:
    """Scan, then print, write or draw."""
    if args.format == "parquet" and args.output is None:
        raise CommandError("--output is missing: Parquet is written to a file", BAD_INPUT)
    if args.output is not None and args.format == "table":
        raise CommandError("--output is for --format json or parquet", BAD_INPUT)
    shocks = args.shocks or (_DEFAULT_SHOCKS if args.plot is None else _PICTURE_SHOCKS)
    if args.estimate:
        wanted = with_client(
            args.server,
            lambda c: c.estimate_scan(shocks, args.symbols, paths=args.paths, timeout_s=args.timeout),
        )
        show_estimate(wanted, args.format == "json")
        return DONE

    async def scan(client: AsyncClient) -> ScanResult:
        asked = client.scan(
            shocks,
            args.symbols,
            paths=args.paths,
            seed=args.seed,
            venues=args.venues,
            min_notional_usd=args.min_notional,
            max_distance=args.max_distance,
            sort=args.sort,
            top=args.top or (_TABLE_ROWS if args.format == "table" and args.plot is None else 0),
            horizon_s=args.horizon,
            timeout_s=args.timeout,
        )
        return await with_spinner(asked, "scanning")

    found = with_client(args.server, scan)
    if args.plot is not None:
        _draw(found, args.plot, args.colour)
        if args.format == "table":
            return DONE
    if args.format == "parquet":
        _write_parquet(found, args.output)
    elif args.format == "json":
        text = json.dumps(as_json(found, args.sort), indent=1, allow_nan=False) + "\n"
        args.output.write_text(text, encoding="utf-8") if args.output is not None else print(text, end="")
    else:
        show(found, args.sort)
    return DONE


def shock_list(text: str) -> tuple[float, ...]:
    """Read moves of the mark, separated by commas: ``-1%,-2%,0.05``."""
    found = tuple(move(part.strip()) for part in text.split(",") if part.strip())
    if not found or 0 in found:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of moves other than 0, such as -1%,-2%,5%")
    return found


def as_json(found: ScanResult, sort: str) -> dict[str, Any]:
    """Return a scan as plain values; an infinite fragility, where nothing rests, is null."""
    summary = found.summary
    return {
        "sort": sort,
        "ranking": [{"symbol": name, "value": None if v is None else finite_or_none(v)} for name, v in summary.ranking],
        "scanned": summary.scanned,
        "filtered": summary.filtered,
        "missing": summary.missing,
        "seconds": summary.seconds,
        "estimate": dataclasses.asdict(found.estimate),
        "assumptions": [dataclasses.asdict(assumption) for assumption in summary.assumptions],
        "symbols": [_symbol_json(one) for one in found.ranked],
    }


def _symbol_json(one: SymbolScan) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for field in dataclasses.fields(one):
        value = getattr(one, field.name)
        if isinstance(value, np.datetime64):
            value = f"{np.datetime_as_string(value, 'ms')}Z"
        elif isinstance(value, np.ndarray):
            value = value.tolist()
            if field.name == "fragility":
                value = list(map(finite_or_none, value))
        elif isinstance(value, float):
            value = finite_or_none(value)
        plain[field.name] = value
    return plain


def show_estimate(wanted: ScanEstimate, as_plain: bool) -> None:
    """Print what a scan would come to."""
    if as_plain:
        print(json.dumps(dataclasses.asdict(wanted), indent=2))
        return
    print(
        f"{wanted.symbols} symbols, {wanted.chains:,} chains, {wanted.paths:,} paths: about {wanted.seconds:.2g} s "
        f"and {wanted.working_bytes / 2**20:.0f} MiB"
    )


def show(found: ScanResult, sort: str) -> None:
    """Print the ranking as a table, with where each shock ends while there is room."""
    console, summary = output(), found.summary
    shocks = found.ranked[0].shocks.tolist() if found.ranked else []
    columns = shocks if len(shocks) <= _MOST_COLUMNS else []
    rows = table(
        "", "symbol", "mark", "tips down", "tips up", "amplification", "fragility", "loss", "at risk",
        *(figures.move(shock, 1) for shock in columns), left=("symbol",),
    )  # fmt: skip
    for rank, one in enumerate(found.ranked, 1):
        rows.add_row(
            str(rank),
            f"[bold]{one.symbol}[/]",
            figures.quote(one.mark_price),
            *(_NOTHING if tip is None else figures.move(tip) for tip in (one.tipping_down, one.tipping_up)),
            f"{one.max_amplification:.2f}x",
            f"{one.max_fragility:.3g}" if math.isfinite(one.max_fragility) else "no depth",
            figures.money(one.expected_loss_usd),
            figures.money(one.notional_usd),
            *(_end(one, k) for k in range(len(columns))),
        )
    console.print(rows)
    left_out = [
        f"{count} {why}" for count, why in ((summary.filtered, "filtered"), (summary.missing, "missing")) if count
    ]
    more = f" ({', '.join(left_out)})" if left_out else ""
    console.print(
        f"\n{summary.scanned} symbols{more} by {sort}: {found.estimate.chains:,} chains, "
        f"{found.estimate.paths:,} paths in {summary.seconds:.2g} s"
    )
    if columns:
        paths = ", median and p95 of paths behind it" if found.ranked[0].path_terminal is not None else ""
        console.print(f"[dim]under each shock: where its chain ends{paths}[/]")


def _end(one: SymbolScan, shock: int) -> str:
    bound = ">" if one.beyond_window[shock] else ""
    text = bound + figures.move(float(one.terminal_move[shock]), 1)
    if one.path_terminal is None:
        return text
    median, worst = (float(one.path_terminal[k, shock]) / one.mark_price - 1 for k in (1, 2))
    return f"{text} ({figures.move(median, 1)}, {figures.move(worst, 1)})"


def _write_parquet(found: ScanResult, path: Path) -> None:
    try:
        import pyarrow.parquet as pq
    except ModuleNotFoundError:
        raise CommandError("--format parquet needs pyarrow: pip install pyarrow", BAD_INPUT) from None
    pq.write_table(found.to_arrow(), path)


def _draw(found: ScanResult, path: Path, colour: str) -> None:
    try:
        from forcedmove_client.market_picture import render_market
    except ModuleNotFoundError as error:
        raise CommandError(f"--plot needs {error.name}: pip install 'forcedmove[plot]'", BAD_INPUT) from None
    if not found.ranked:
        raise CommandError("--plot: no symbol is left to draw")
    render_market(found, path, "amplification" if colour == "amplification" else "move")
