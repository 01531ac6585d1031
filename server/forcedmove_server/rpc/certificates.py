"""TLS of the server, with certificates that are read again when their files change."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

import grpc

from forcedmove_server.access.store import signature_of
from forcedmove_server.errors import ConfigError

logger = logging.getLogger(__name__)


class Certificates:
    """A certificate chain, its key and, for mutual TLS, the authorities of clients: PEM files.

    Raises ConfigError when they cannot be used at first; later the last good ones stay in force.
    """

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None = None) -> None:
        self._certificate, self._key, self._client_ca = certificate, key, client_ca
        self._signatures = self._look()
        self._initial = self._read()

    def credentials(self) -> grpc.ServerCredentials:
        """What a gRPC server binds a port with."""
        return grpc.dynamic_ssl_server_credentials(
            self._initial,
            self.changed,  # type: ignore[arg-type]  # None means no change; the stubs do not know
            require_client_authentication=self._client_ca is not None,
        )

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return new certificates, None where nothing changed or the new ones are broken. Asked at every connection."""
        signatures = self._look()
        if signatures == self._signatures:
            return None
        try:
            read = self._read()
        except ConfigError as error:
            logger.error("the new certificate cannot be used, the old one stays in force: %s", error)
            read = None
        else:
            logger.info("certificate read again from %s", self._certificate)
        self._signatures = signatures
        return read

    def _look(self) -> tuple[object, ...]:
        paths = (self._certificate, self._key, self._client_ca)
        return tuple(signature_of(path) for path in paths if path is not None)

    def _read(self) -> grpc.ServerCertificateConfiguration:
        chain, key = _bytes(self._certificate, "tls_certificate"), _bytes(self._key, "tls_key")
        authorities = _bytes(self._client_ca, "tls_client_ca") if self._client_ca else None
        # gRPC takes anything, and says only to a client that the handshake failed
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self._certificate, self._key, password=lambda: "")
        except (ssl.SSLError, OSError, ValueError) as error:
            reason = f"certificate and key do not go together: {_words(error)}"
            raise ConfigError("server.tls_certificate", str(self._certificate), reason) from None
        if authorities is not None:
            try:
                context.load_verify_locations(cadata=authorities.decode("ascii"))
            except (ssl.SSLError, ValueError) as error:
                raise ConfigError("server.tls_client_ca", str(self._client_ca), _words(error)) from None
        if (chain, key) != (_bytes(self._certificate, "tls_certificate"), _bytes(self._key, "tls_key")):
            raise ConfigError("server.tls_certificate", str(self._certificate), "changed while it was read")
        return grpc.ssl_server_certificate_configuration([(key, chain)], authorities)


def _words(error: Exception) -> str:
    return getattr(error, "reason", None) or type(error).__name__


def _bytes(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"server.{name}", str(path), error.strerror or "cannot be read") from None
