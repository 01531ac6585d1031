"""The log on stderr: lines for people, or one JSON object per line for machines."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class JsonFormatter(logging.Formatter):
    """One JSON object per record and line.

    ``time`` (ISO 8601, UTC, microseconds), ``level`` (lower case), ``logger`` and ``message`` are always there;
    ``exc`` has the traceback, and ``stack`` the stack, of a record that carries one.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON; line breaks are escaped."""
        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            told["exc"] = self.formatException(record.exc_info)
        if record.stack_info:
            told["stack"] = self.formatStack(record.stack_info)
        return json.dumps(told, ensure_ascii=False)


def configure_logging(form: Literal["text", "json"], level: str) -> None:
    """Have every logger of the process write to stderr from ``level`` on, where nothing has been configured yet."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=level, handlers=[handler])
