"""The map as plain text: for pipes, logs and terminals that draw nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from forcedmove_client.events import Event
from forcedmove_client.frames import Chain, MapFrame
from forcedmove_client.terminal import figures
from forcedmove_client.terminal.armed import armed_text
from forcedmove_client.terminal.ladder import Ladder, build_ladder, largest_clusters

_BAR = 24


def plain_text(
    frame: MapFrame, rows: int = 15, reach: float = 0.05, clusters: int = 6, armed: Sequence[Event] = ()
) -> str:
    """Return one frame: headline, ladder, largest clusters, armed chains, the next cascades."""
    return "\n".join(_lines(frame, rows, reach, clusters, armed)) + "\n"


def _lines(frame: MapFrame, rows: int, reach: float, clusters: int, armed: Sequence[Event]) -> Iterator[str]:
    interest = sum(market.open_interest_usd for market in frame.markets)
    yield (
        f"{frame.symbol}  mark {figures.price(frame.mark_price, frame.bin_width / 100)}  "
        f"open interest {figures.money(interest)} on {len({m.venue for m in frame.markets})} venues  "
        f"coverage {frame.coverage:.0%}  {frame.weighting} map of {figures.utc(frame.event_time)} UTC  seq {frame.seq}"
    )
    yield ""
    yield from ladder_lines(frame, build_ladder(frame, rows, reach))
    yield ""
    yield "largest clusters"
    largest = largest_clusters(frame, clusters)
    for cluster in largest:
        venues = sorted(cluster.venues.items(), key=lambda item: -item[1])
        split = ", ".join(f"{venue} {usd / cluster.notional_usd:.0%}" for venue, usd in venues[:4])
        yield (
            f"  {cluster.side:<5}  {figures.price(cluster.price_low, frame.bin_width):>10} to "
            f"{figures.price(cluster.price_high, frame.bin_width):>10}  {figures.money(cluster.notional_usd):>7}  "
            f"{figures.move(cluster.distance):>8}  {split}"
        )
    if not largest:
        yield "  none stands out"
    for event in armed:
        yield armed_text(frame, event)
    for way, chain in (("down", frame.next_down), ("up", frame.next_up)):
        yield f"next cascade {way}: {chain_text(chain, frame.bin_width)}"


def chain_text(chain: Chain | None, step: float) -> str:
    """Return a chain in one line."""
    if chain is None or not chain.levels:
        return "nothing would fire"
    venues = dict.fromkeys(venue for level in chain.levels for venue in level.venues)
    shock = f"{figures.price(chain.shock_price, step)} ({figures.move(chain.shock_price / chain.start_price - 1)})"
    return (
        f"a shock to {shock} "
        f"fires {chain.depth} level{'' if chain.depth == 1 else 's'}, {figures.money(chain.total_usd)} on "
        f"{', '.join(venues)}, and ends {'beyond' if chain.beyond_window else 'at'} "
        f"{figures.price(chain.terminal_price, step)}: {chain.amplification:.2f} times the shock"
    )


def ladder_lines(frame: MapFrame, ladder: Ladder) -> Iterator[str]:
    """Yield the ladder's rows, longs to the left of the price, shorts to the right; bars are linear in notional."""
    peak = ladder.peak or 1.0
    width = max(len(figures.price(float(price), ladder.step)) for price in ladder.low)
    yield f"{'longs liquidated':>{_BAR + 9}}  {'price':^{width}}  shorts liquidated"
    for row, low in enumerate(ladder.low):
        long, short = float(ladder.long[row]), float(ladder.short[row])
        left = "#" * _cells(long / peak)
        right = "#" * _cells(short / peak)
        mark = "<" if row == ladder.mark_row else " "
        money = [figures.money(usd) if usd >= peak * 1e-4 else "" for usd in (long, short)]
        price = f"{figures.price(float(low), ladder.step):>{width}}{mark}"
        yield f"{money[0]:>8} {left:>{_BAR}}  {price} {right:<{_BAR}} {money[1]}".rstrip()


def _cells(share: float) -> int:
    return max(1, round(share * _BAR)) if share >= 1e-4 else 0
