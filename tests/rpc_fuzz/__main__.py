"""``python -m tests.rpc_fuzz --inputs 1000000``: most at the handlers, the rest through the wire; 1 for a bug."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter

from tests.rpc_fuzz.driver import Report, complaints, fuzz, seen, world
from tests.rpc_fuzz.test_rpc_fuzz import well

_SHOWN = 20
#: MiB per million inputs; the allocator's own noise is below it
_MOST_GROWTH = 64.0


def tell(way: str, report: Report, seconds: float) -> None:
    """Print what came of one way."""
    rate = f"{report.inputs / seconds:.0f}/s"
    print(f"{way}: {report.inputs} inputs in {seconds:.0f} s, {rate}, {len(report.bugs)} bugs", flush=True)
    by_method: dict[str, Counter[str]] = {}
    for (name, code), count in sorted(report.codes.items()):
        by_method.setdefault(name, Counter())[code] += count
    for name, codes in by_method.items():
        print(f"  {name:20}", ", ".join(f"{code} {count}" for code, count in codes.most_common()))
    rss = [used for _, used in report.memory]
    print(
        f"  memory {rss[0] >> 20} -> {rss[-1] >> 20} MiB, most {max(rss) >> 20}; "
        f"slope {report.growth_per_million():+.1f} MiB per million inputs after the first third"
    )


async def run(inputs: int, wire_share: float, seed: int) -> int:
    """Fuzz both ways."""
    async with world() as served, complaints() as found:
        await fuzz(served, 2_000, seed, wire=False)
        await fuzz(served, 500, seed, wire=True)
        await well(served)
        before, bad = seen(), 0
        for wire in (False, True):
            count = round(inputs * (wire_share if wire else 1 - wire_share))
            begin = time.monotonic()
            report = await fuzz(served, count, seed + 1 + wire, wire=wire)
            tell("through the wire" if wire else "at the handlers", report, time.monotonic() - begin)
            await well(served)
            print(*report.bugs[:_SHOWN], sep="\n")
            bad += len(report.bugs) + (report.growth_per_million() * count / 1e6 > _MOST_GROWTH)
        after = seen()
        print(f"before {before}\nafter  {after}\nlog: {len(found)} complaints", *found[:_SHOWN], sep="\n")
        leaks = after.threads > before.threads + 1 or after.files > before.files + 2 or after.tasks > before.tasks
        return int(bool(bad or found or leaks))


def main() -> int:
    """Parse arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--wire-share", type=float, default=0.1, help="of the inputs, through a socket")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    return asyncio.run(run(args.inputs, args.wire_share, args.seed))


if __name__ == "__main__":
    sys.exit(main())
