"""What the supervisor starts: ``python -m forcedmove_server.process``, the engine process or a gateway, as ordered."""

from __future__ import annotations

import asyncio
import logging
import shutil
import sys
from collections.abc import Callable

from forcedmove_server.app import exit_status, limits_of, protection_of, run_server
from forcedmove_server.errors import ForcedMoveError
from forcedmove_server.gateway.child import Inside, Orders, begin
from forcedmove_server.gateway.server import run_gateway
from forcedmove_server.log_format import configure_logging
from forcedmove_server.tracing.traces import tracing

logger = logging.getLogger(__name__)


def main() -> int:
    """Do as ordered; return the exit status of a server."""
    orders, tell = begin()
    configure_logging(orders.config.server.log_format, orders.log_level)
    try:
        return asyncio.run(_run(orders, tell))
    except ForcedMoveError as error:
        sys.stderr.write(f"forcedmove: {error}\n")
        return exit_status(error)
    except Exception as error:
        logger.exception("the process failed")
        return exit_status(error)


async def _run(orders: Orders, tell: Callable[[str], None]) -> int:
    config = orders.config
    if not orders.number:
        try:
            await run_server(config, inside=Inside(orders.socket_address, tell))
        finally:
            # also where the supervisor is gone, who would have done it
            shutil.rmtree(orders.folder, ignore_errors=True)
        return 0
    tokens, certificates = protection_of(config)
    async with tracing(config.server, f"gateway-{orders.number}") as traces:
        return await run_gateway(
            orders.socket_address,
            orders.number,
            config.server.host,
            orders.port,
            limits_of(config),
            tokens,
            certificates,
            reflects=config.server.reflection,
            stalled_after_s=config.server.gateway_stalled_after_s,
            tell=tell,
            spans=traces,
        )


if __name__ == "__main__":
    sys.exit(main())
