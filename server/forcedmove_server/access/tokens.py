"""Bearer tokens and the file that has their hashes.

A token is ``fm_<id>_<secret>``: the id is public and finds its line, the secret is 256 random bits. Its SHA-256 is
kept. A slow hash (Argon2, scrypt) makes guessing passwords dear; nobody guesses 256 random bits at any speed, and a
slow hash would let strangers spend this server's time by sending rubbish.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

from forcedmove_server.errors import ConfigError, InputError, UnauthenticatedError
from forcedmove_server.typed_toml import Key, fill, parse_file

SCOPES = ("read", "simulate", "ingest", "admin")

_TOKEN = re.compile(r"fm_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PATTERN = re.compile(r"[A-Za-z0-9._*?-]{1,64}")
_ID = re.compile(r"[0-9a-f]{16}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MOST_TOKENS = 10_000
#: compared with where an id is unknown, so that unknown ids take as long as wrong secrets
_NO_DIGEST = "0" * 64


@dataclass(frozen=True, slots=True)
class Quotas:
    """What one token may use; units as in SecurityConfig."""

    max_streams: int
    max_symbols: int
    max_bytes_per_s: int
    max_scans: int
    max_cost_per_minute: int


@dataclass(frozen=True, slots=True)
class Token:
    """A line of the token file. The server's defaults stand for quotas that are 0."""

    id: Annotated[str, Key("", "public part of the token")]
    name: Annotated[str, Key("", "whose it is")]
    scopes: Annotated[tuple[str, ...], Key("", "what it opens")]
    expires: Annotated[datetime | None, Key("", "when it stops working; without it never")] = None
    producers: Annotated[tuple[str, ...], Key("", "patterns of the producers it may tell for; none: all")] = ()
    max_streams: Annotated[int, Key("streams", "", 1, 100_000)] = 0
    max_symbols: Annotated[int, Key("symbols", "", 1, 10_000_000)] = 0
    max_bytes_per_s: Annotated[int, Key("bytes/s", "", 1_024, 1_000_000_000_000)] = 0
    max_scans: Annotated[int, Key("scans", "", 1, 1_000)] = 0
    max_cost_per_minute: Annotated[int, Key("units/min", "", 1, 10**12)] = 0
    sha256: str = field(default="", repr=False)

    def quotas(self, defaults: Quotas) -> Quotas:
        """Return this token's quotas, those of ``defaults`` where it has none of its own."""
        return Quotas(*(getattr(self, name) or getattr(defaults, name) for name in Quotas.__slots__))

    def may_tell_for(self, producer: str) -> bool:
        """Whether it may list and change what this producer told."""
        return not self.producers or any(fnmatchcase(producer, pattern) for pattern in self.producers)

    def has_expired(self, now: datetime) -> bool:
        """Whether it works no more."""
        return self.expires is not None and now >= self.expires


def read_tokens(path: Path) -> dict[str, Token]:
    """Return the tokens of a file that are not revoked, by id.

    Raises ConfigError naming file, table and key. Values are never quoted: somebody may have pasted a secret there.
    """
    place = str(path)
    try:
        if os.stat(path).st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ConfigError("security.tokens", place, "others may write this file: chmod go-w", place)
    except OSError as error:
        raise ConfigError("security.tokens", place, error.strerror or "cannot be read", place) from None
    raw = parse_file(path)
    errors = [ConfigError(name, None, "unknown table; known: tokens, revoked", place) for name in raw]
    errors = [error for error in errors if error.field not in ("tokens", "revoked")]
    revoked = {str(table.get("id")) for table in _tables(raw, "revoked", place)}
    tokens: dict[str, Token] = {}
    listed = _tables(raw, "tokens", place)
    if len(listed) > _MOST_TOKENS:
        errors.append(ConfigError("tokens", len(listed), f"at most {_MOST_TOKENS}", place))
        listed = []
    for number, table in enumerate(listed, 1):
        where, found = f"tokens[{number}]", list[ConfigError]()
        values = fill(Token, table, where, place, found, beside=("sha256",))
        digest = table.get("sha256")
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            found.append(ConfigError(f"{where}.sha256", None, "must be 64 hexadecimal digits", place))
        if "id" in values and not _ID.fullmatch(values["id"]):
            found.append(ConfigError(f"{where}.id", None, "must be 16 hexadecimal digits", place))
        if unknown := set(values.get("scopes", ())) - set(SCOPES):
            reason = f"{len(unknown)} unknown; known: {', '.join(SCOPES)}"
            found.append(ConfigError(f"{where}.scopes", None, reason, place))
        if not all(_PATTERN.fullmatch(pattern) for pattern in values.get("producers", ())):
            reason = "must be names of producers, with * or ? for the rest of one"
            found.append(ConfigError(f"{where}.producers", None, reason, place))
        if values.get("id") in tokens:
            found.append(ConfigError(f"{where}.id", None, "another token has this id", place))
        if found:
            errors += [ConfigError(error.field, None, error.reason, place) for error in found]
        else:
            token = Token(**values, sha256=str(digest))
            tokens[token.id] = token
    if errors:
        raise errors[0]
    return {key: token for key, token in tokens.items() if key not in revoked}


def _tables(raw: Mapping[str, Any], name: str, place: str) -> list[dict[str, Any]]:
    listed = raw.get(name, [])
    if not isinstance(listed, list) or not all(isinstance(table, dict) for table in listed):
        raise ConfigError(name, None, f"must be [[{name}]] tables", place)
    return listed


def token_of(tokens: Mapping[str, Token], sent: str, now: datetime) -> Token:
    """Return the token that was sent. Raises UnauthenticatedError, in words without any part of what was sent."""
    match = _TOKEN.fullmatch(sent)
    if match is None:
        raise UnauthenticatedError("TOKEN_UNKNOWN", "authorization: not a token of this server")
    token = tokens.get(match[1])
    digest = hashlib.sha256(match[2].encode()).hexdigest()
    same = hmac.compare_digest(digest, token.sha256 if token else _NO_DIGEST)
    if token is None or not same:
        raise UnauthenticatedError("TOKEN_UNKNOWN", "authorization: not a token of this server")
    if token.has_expired(now):
        raise UnauthenticatedError("TOKEN_EXPIRED", "authorization: the token has expired")
    return token


def create_token(
    path: Path, name: str, scopes: Iterable[str], expires: datetime | None, producers: Iterable[str] = ()
) -> str:
    """Append a new token's hash to a file, which is made if need be, and return the token: it is told this once.

    ``producers`` are patterns such as ``desk-*`` of those that it may tell for; none: all.

    Raises InputError or ConfigError.
    """
    if not _NAME.fullmatch(name):
        raise InputError("name", name, "must be at most 64 letters, digits, dots, dashes and underscores")
    wanted = tuple(dict.fromkeys(scopes))
    if not wanted or set(wanted) - set(SCOPES):
        raise InputError("scopes", ",".join(wanted), f"must be some of {', '.join(SCOPES)}")
    patterns = tuple(producers)
    if any(not _PATTERN.fullmatch(pattern) for pattern in patterns):
        raise InputError("producers", ",".join(patterns), "must be names of producers, with * or ? for the rest of one")
    key, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    lines = [
        "[[tokens]]",
        f'id = "{key}"',
        f'name = "{name}"',
        f"scopes = [{', '.join(f'{chr(34)}{scope}{chr(34)}' for scope in wanted)}]",
        *([f"producers = [{', '.join(f'{chr(34)}{one}{chr(34)}' for one in patterns)}]"] if patterns else []),
        *([f"expires = {expires.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"] if expires else []),
        f'sha256 = "{hashlib.sha256(secret.encode()).hexdigest()}"',
    ]
    _append(path, lines)
    return f"fm_{key}_{secret}"


def revoke_token(path: Path, which: str) -> list[Token]:
    """Revoke the tokens of an id or a name and return them. Raises InputError where there is none."""
    found = [token for token in read_tokens(path).values() if which in (token.id, token.name)]
    if not found:
        raise InputError("token", None, "no token that works has this id or name")
    for token in found:
        _append(path, ["[[revoked]]", f'id = "{token.id}"', f"at = {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"])
    return found


def _append(path: Path, lines: list[str]) -> None:
    """Add a table in one write that is on disk when this returns: a server that reads meanwhile sees all or nothing."""
    try:
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InputError("tokens", str(path), error.strerror or "cannot be written") from None
    with os.fdopen(number, "ab", buffering=0) as file:
        fcntl.flock(number, fcntl.LOCK_EX)
        if os.fstat(number).st_size:
            read_tokens(path)  # nothing is added to a file that no server would read
        file.write(("\n".join(lines) + "\n\n").encode())
        os.fsync(number)
