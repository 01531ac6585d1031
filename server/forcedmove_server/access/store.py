"""The token file as a server sees it: read again when it changes, kept when it breaks."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from forcedmove_server.access.tokens import Token, read_tokens, token_of
from forcedmove_server.errors import ConfigError, UnauthenticatedError

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.5

Signature = tuple[int, int, int]


def signature_of(path: Path) -> Signature | None:
    """Return what changes whenever a file is written or replaced; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


class TokenStore:
    """The tokens of one file. Raises ConfigError where it cannot be read at first; later the last good ones stay."""

    def __init__(self, path: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._path, self._now = path, now
        self._signature = signature_of(path)
        self._tokens = read_tokens(path)
        self._looked_at = time.monotonic()

    def token(self, sent: str) -> Token:
        """Return the token that was sent. Raises UnauthenticatedError."""
        self._look()
        return token_of(self._tokens, sent, self._now())

    def still_valid(self, token: Token) -> None:
        """Raise UnauthenticatedError when a token was revoked, changed or has expired since a stream began."""
        self._look()
        if self._tokens.get(token.id) != token:
            raise UnauthenticatedError("TOKEN_REVOKED", "authorization: the token was revoked or changed")
        if token.has_expired(self._now()):
            raise UnauthenticatedError("TOKEN_EXPIRED", "authorization: the token has expired")

    def ids(self) -> frozenset[str]:
        """Return the ids of all tokens that are not revoked."""
        return frozenset(self._tokens)

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < _LOOK_EVERY_S:
            return
        self._looked_at = now
        signature = signature_of(self._path)
        if signature == self._signature:
            return
        self._signature = signature
        try:
            self._tokens = read_tokens(self._path)
        except ConfigError as error:
            logger.error("the token file cannot be used, those read before stay in force: %s", error)
        else:
            logger.info("%d tokens read from %s", len(self._tokens), self._path)
