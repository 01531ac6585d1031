"""``forcedmove health``: whether a server serves, as an exit status."""

from __future__ import annotations

import argparse

from forcedmove_client.cli.arguments import add_server, describe, duration
from forcedmove_client.cli.failures import DONE, FAILED
from forcedmove_client.cli.running import with_client
from forcedmove_client.server_status import Health

HELP = "say whether a server serves: exit status 0 or 1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    describe(
        parser,
        "Ask a server by the gRPC health protocol and print the answer, for health checks of containers and load\n"
        "balancers. Exit status 0 for SERVING, 1 for anything else.",
        "forcedmove health --server 127.0.0.1:7878",
        "forcedmove health --service forcedmove.v1.ScanService",
    )
    add_server(parser)
    parser.add_argument("--service", default="", metavar="NAME", help="full name of one service (default: the server)")
    parser.add_argument("--timeout", type=duration, default=3.0, metavar="TIME", help="longest wait (default: 3s)")


def run(args: argparse.Namespace) -> int:
    """Print one word."""
    found = with_client(args.server, lambda client: client.health(args.service, timeout_s=args.timeout))
    print(found.name)
    return DONE if found is Health.SERVING else FAILED
