"""``forcedmove snapshot``: the newest map, as a table, a file or a picture."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from rich.console import Console

from forcedmove_client.aio import AsyncClient
from forcedmove_client.cli.arguments import add_server, add_view, describe, share
from forcedmove_client.cli.export import write_csv, write_json, write_parquet
from forcedmove_client.cli.failures import BAD_INPUT, DONE, CommandError
from forcedmove_client.cli.running import with_client, with_spinner
from forcedmove_client.frames import AxisName, MapFrame
from forcedmove_client.terminal.plain import plain_text
from forcedmove_client.terminal.screen import ViewState, draw

HELP = "print or save the newest map"

_AXES: dict[str, AxisName] = {"venue": "venue", "leverage": "leverage"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    describe(
        parser,
        "Get the newest maps once: a table to read, every cell as JSON, CSV or Parquet, or a picture.",
        "forcedmove snapshot BTC",
        "forcedmove snapshot BTC ETH --format json | jq '.[].clusters[0]'",
        "forcedmove snapshot BTC --by venue leverage --format parquet --output btc.parquet",
        "forcedmove snapshot BTC --by venue --png btc.png",
        "forcedmove snapshot BTC --band 0.9 --png btc.png",
    )
    parser.add_argument("symbols", nargs="+", metavar="SYMBOL", help="BTC, binance:BTCUSDT or BTC/USDT:USDT")
    add_server(parser)
    parser.add_argument("--format", choices=("table", "json", "csv", "parquet"), default="table", help="default: table")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write there instead of printing")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw a picture; several symbols: FILE-SYMBOL.png")
    parser.add_argument("--by", nargs="+", choices=tuple(_AXES), default=[], metavar="AXIS", help="venue, leverage")
    parser.add_argument("--venues", nargs="+", default=[], metavar="NAME", help="only these venues")
    parser.add_argument(
        "--range", type=share(0, 1), default=0.2, metavar="SHARE", help="around the mark (default: 20%%)"
    )
    parser.add_argument(
        "--band",
        type=share(0, 1),
        default=0.0,
        metavar="LEVEL",
        help="with the credible band of this level: 0.9 or 90%%",
    )
    add_view(parser)


def run(args: argparse.Namespace) -> int:
    """Fetch, then print or write."""
    if args.format == "parquet" and args.output is None:
        raise CommandError("--output is missing: Parquet is written to a file", BAD_INPUT)
    if args.band and args.png is None and args.format == "table":
        raise CommandError("--band is for --png and for --format json, csv or parquet", BAD_INPUT)
    if args.band and args.png is not None and args.by:
        raise CommandError("--band with --png draws sides as a whole: leave out --by", BAD_INPUT)
    keep: list[AxisName] = [*(axis for name, axis in _AXES.items() if name in args.by), "side", "price"]
    if args.format == "table" and args.png is None and not args.by:
        keep.insert(0, "venue")  # the drawn table has room for it

    async def fetch(client: AsyncClient) -> dict[str, MapFrame]:
        asked = client.snapshot(
            args.symbols,
            venues=args.venues,
            keep=keep,
            weighting=args.weighting,
            price_range=args.range,
            band_level=args.band,
        )
        return await with_spinner(asked, "fetching")

    frames = list(with_client(args.server, fetch).values())
    if args.png is not None:
        _draw(frames, args.png, args.range)
        if args.format == "table" and args.output is None:
            return DONE
    _write(frames, args)
    return DONE


def _write(frames: list[MapFrame], args: argparse.Namespace) -> None:
    if args.format == "parquet":
        write_parquet(frames, args.output)
        return
    with _opened(args.output) as output:
        if args.format == "json":
            write_json(frames, output)
        elif args.format == "csv":
            write_csv(frames, output)
        else:
            _print(frames, output, min(args.range, 0.1))


def _print(frames: list[MapFrame], output: TextIO, reach: float) -> None:
    console = Console(file=output)
    for frame in frames:
        if not console.is_terminal:
            output.write(plain_text(frame, rows=31, reach=reach) + "\n")
            continue
        state = ViewState([frame.symbol], "", reach)
        state.take(frame, 0.0)
        console.print(draw(state, console, 0.0, keys=False), height=console.height - 1)


def _draw(frames: list[MapFrame], path: Path, reach: float) -> None:
    try:
        from forcedmove_client.picture import render_png
    except ModuleNotFoundError as error:
        raise CommandError(f"--png needs {error.name}: pip install 'forcedmove[plot]'", BAD_INPUT) from None
    for frame in frames:
        target = path if len(frames) == 1 else path.with_name(f"{path.stem}-{frame.symbol}{path.suffix or '.png'}")
        render_png(frame, target, min(reach, 0.1))


@contextmanager
def _opened(path: Path | None) -> Iterator[TextIO]:
    if path is None:
        yield sys.stdout
        return
    with path.open("w", encoding="utf-8", newline="") as output:
        yield output
