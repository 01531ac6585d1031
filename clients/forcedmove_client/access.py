"""How a client proves who it is, and whom it believes: TLS and bearer tokens."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import grpc

from forcedmove_client.errors import InvalidArgumentError

TOKEN_VARIABLE = "FORCEDMOVE_TOKEN"
TOKEN_FILE_VARIABLE = "FORCEDMOVE_TOKEN_FILE"
CA_VARIABLE = "FORCEDMOVE_TLS_CA"
CERTIFICATE_VARIABLE = "FORCEDMOVE_TLS_CERT"
KEY_VARIABLE = "FORCEDMOVE_TLS_KEY"


@dataclass(frozen=True, slots=True)
class Tls:
    """An encrypted connection: PEM files. Without ``ca``, gRPC's own list of authorities.

    ``certificate`` and ``key`` go together, and are for servers that ask clients for a certificate.
    """

    ca: str | Path | None = None
    certificate: str | Path | None = None
    key: str | Path | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files. Raises InvalidArgumentError."""
        if (self.certificate is None) != (self.key is None):
            raise InvalidArgumentError("tls: certificate and key go together")
        return grpc.ssl_channel_credentials(_read(self.ca), _read(self.key), _read(self.certificate))


@dataclass(frozen=True, slots=True)
class Access:
    """What a client brings: TLS or none, and a token or the file of one, which is read at every call."""

    tls: Tls | None = None
    token: str | None = field(default=None, repr=False)
    token_file: str | Path | None = None

    @classmethod
    def of(cls, tls: Tls | bool | None, token: str | None, token_file: str | Path | None) -> Self:
        """Fill in from the environment what is None; ``tls`` True is TLS with the usual authorities, False none."""
        env = os.environ
        if tls is None:
            files = [env.get(name) or None for name in (CA_VARIABLE, CERTIFICATE_VARIABLE, KEY_VARIABLE)]
            tls = Tls(*files) if any(files) else False
        if token is None and token_file is None:
            token, token_file = env.get(TOKEN_VARIABLE) or None, env.get(TOKEN_FILE_VARIABLE) or None
        return cls(Tls() if tls is True else tls or None, token, token_file)

    def channel(self, target: str, options: Sequence[tuple[str, Any]]) -> Any:
        """Open a connection. Raises InvalidArgumentError, also rather than send a token in plain text to elsewhere."""
        if self.tls is not None:
            channel = grpc.aio.secure_channel(target, self.tls.credentials(), options=options)
        elif (self.token or self.token_file) and not _is_loopback(target):
            raise InvalidArgumentError(f"{target}: a token is sent to another machine over TLS only: set tls")
        else:
            channel = grpc.aio.insecure_channel(target, options=options)
        return TokenChannel(channel, self._metadata) if self.token or self.token_file else channel

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        token = self.token
        if token is None:
            token = (_read(self.token_file) or b"").decode("ascii", "replace").strip()
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise InvalidArgumentError("token: is not one line of printable characters")
        return (("authorization", f"Bearer {token}"),)


class TokenChannel:
    """A connection whose calls carry a token; interceptors would cost every message of a stream."""

    def __init__(self, channel: grpc.aio.Channel, metadata: Callable[[], tuple[tuple[str, str], ...]]) -> None:
        self._channel, self._metadata = channel, metadata

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._channel, name)
        if name not in ("unary_unary", "unary_stream", "stream_unary", "stream_stream"):
            return found

        def method(*args: Any, **kwargs: Any) -> Any:
            call = found(*args, **kwargs)
            return lambda *args, **kwargs: call(*args, **{**kwargs, "metadata": self._metadata()})

        return method


def _read(path: str | Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidArgumentError(f"{path}: {error.strerror or 'cannot be read'}") from None


def _is_loopback(target: str) -> bool:
    host = target.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost" or target.startswith("unix:")
