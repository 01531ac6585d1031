"""Where the server listens, who may ask it for what, and when: ``[server]``, ``[security]``, ``[overload]``."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlsplit

from forcedmove_server.errors import ConfigError
from forcedmove_server.typed_toml import Key

LogFormat = Literal["text", "json"]


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where the server listens, and how it treats readers."""

    host: Annotated[str, Key("", "address to listen on")] = "127.0.0.1"
    port: Annotated[int, Key("", "TCP port; 0 takes any free one", 0, 65_535)] = 7878
    metrics_port: Annotated[int, Key("", "TCP port of the Prometheus endpoint; 0 has none", 0, 65_535)] = 0
    metrics_host: Annotated[str, Key("", "address of the Prometheus endpoint, which asks nobody for a token")] = (
        "127.0.0.1"
    )
    log_format: Annotated[LogFormat, Key("", "lines of the log on stderr: words, or one JSON object each")] = "text"
    trace_endpoint: Annotated[
        str | None, Key("", "URL of an OpenTelemetry collector, OTLP over gRPC (`http://127.0.0.1:4317`)")
    ] = None
    trace_share: Annotated[
        float, Key("", "part of the traces that begin here which is kept; a caller's trace is kept if it says so", 0, 1)
    ] = 1.0
    heartbeat_ms: Annotated[int, Key("ms", "a stream that has been silent this long gets a heartbeat", 100, 10_000)] = (
        1_000
    )
    stalled_after_ms: Annotated[
        int, Key("ms", "a stream whose reader takes nothing for so long is ended", 1_000, 600_000)
    ] = 10_000
    every_frames: Annotated[
        int, Key("frames", "kept per view for readers that want every frame: how far behind they may be", 2, 10_000)
    ] = 128
    resume_window_s: Annotated[
        float, Key("s", "such a view is kept up for so long after its last reader, who may come back", 0, 3_600)
    ] = 30.0
    tls_certificate: Annotated[
        str | None, Key("", "file of the certificate chain (PEM); read again when it changes")
    ] = None
    tls_key: Annotated[str | None, Key("", "file of its private key (PEM, not encrypted)")] = None
    tls_client_ca: Annotated[
        str | None, Key("", "file of authorities (PEM) one of which must have signed each client's certificate")
    ] = None
    insecure: Annotated[
        bool, Key("", "listen beyond this machine without TLS or tokens: whoever reaches the port may do everything")
    ] = False
    reflection: Annotated[bool, Key("", "describe the services to tools such as grpcurl")] = False
    gateways: Annotated[
        int, Key("processes", "that hold the streams, apart from the engine's; 0 serves from the engine's own", 0, 64)
    ] = 0
    gateway_stalled_after_s: Annotated[
        float, Key("s", "a gateway that takes no ticks or does not answer for so long is started anew", 3, 600)
    ] = 10.0


@dataclass(frozen=True, slots=True)
class SecurityConfig:
    """Who may ask for what, and how much of it; a token's own quotas in the token file come first."""

    tokens: Annotated[
        str | None, Key("", "file of tokens (`forcedmove token create`); without it nobody needs one")
    ] = None
    max_streams: Annotated[int, Key("streams", "streams that one token holds open", 1, 100_000)] = 64
    max_symbols: Annotated[int, Key("symbols", "symbols in all streams of one token", 1, 10_000_000)] = 20_000
    max_bytes_per_s: Annotated[
        int, Key("bytes/s", "sent to one token, averaged over ten seconds", 1_024, 1_000_000_000_000)
    ] = 100_000_000
    max_scans: Annotated[int, Key("scans", "scans that one token runs at a time", 1, 1_000)] = 2
    max_cost_per_minute: Annotated[
        int,
        Key("units/min", "shocks and what-ifs of one token; every 100 random paths of a shock count as one", 1, 10**12),
    ] = 1_000_000
    max_deadline_s: Annotated[
        float, Key("s", "longest deadline of Scan, WhatIf and Simulate with paths, which need one", 1, 86_400)
    ] = 3_600.0


@dataclass(frozen=True, slots=True)
class IngestConfig:
    """How much each producer of streamed ingest may send; what it may hold is `exact.max_positions`."""

    max_streams: Annotated[int, Key("streams", "streams of ingest that are open, one per producer", 1, 100_000)] = 64
    max_requests_per_s: Annotated[
        float, Key("1/s", "requests of one producer, averaged over a second; more are postponed", 0.1, 1e6)
    ] = 1_000.0
    max_changes_per_s: Annotated[
        float, Key("1/s", "deltas and positions in them, likewise; the engine takes in some 40 000 a second", 1, 1e9)
    ] = 10_000.0
    max_deltas: Annotated[int, Key("deltas", "deltas of one request", 1, 10_000)] = 1_000
    window: Annotated[
        int, Key("requests", "requests of one stream that are not answered yet; beyond them none is read", 1, 1_024)
    ] = 1_024


@dataclass(frozen=True, slots=True)
class OverloadConfig:
    """When calls are refused because there are too many.

    Scans are refused from a delay on, what-ifs at 1.5 times it, reads at 2, new streams at 3, position changes at 4.
    """

    call_delay_ms: Annotated[float, Key("ms", "standing wait of calls that arrive", 1, 60_000)] = 20.0
    engine_delay_ms: Annotated[
        float, Key("ms", "standing wait for the engine, which answers after ticks: longer than a tick takes", 1, 60_000)
    ] = 300.0
    answer_delay_ms: Annotated[float, Key("ms", "expected wait for a turn at what-ifs", 1, 60_000)] = 500.0
    snapshot_delay_ms: Annotated[float, Key("ms", "standing wait for the thread of snapshots", 1, 60_000)] = 100.0
    max_in_flight: Annotated[
        int,
        Key("calls", "answered at a time, streams aside; scans are refused at half of it, reads at 3/4", 4, 100_000),
    ] = 256


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address. A name other than localhost could mean anything, so it is not."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def server_errors(server: ServerConfig, security: SecurityConfig, place: str) -> list[ConfigError]:
    """Return what contradicts itself, leaves the server open to strangers, or is no address."""
    errors = exposure_errors(server, security, place)
    if server.trace_endpoint is not None and (reason := _endpoint_fault(server.trace_endpoint)):
        errors.append(ConfigError("server.trace_endpoint", server.trace_endpoint, reason, place))
    return errors


def _endpoint_fault(url: str) -> str:
    try:
        parts = urlsplit(url)
        has_port = parts.port is not None
    except ValueError as error:
        return f"is no URL: {error}"
    if parts.scheme not in ("http", "https") or not parts.hostname or not has_port:
        return "must be http://HOST:PORT, or https://HOST:PORT for TLS"
    if parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc:
        return "is more than http://HOST:PORT: OTLP over gRPC has no paths, and no place for secrets in its URL"
    return ""


def exposure_errors(server: ServerConfig, security: SecurityConfig, place: str) -> list[ConfigError]:
    """Return what would leave the server open to strangers, and TLS files that lack their other half."""
    errors = []
    if (server.tls_certificate is None) != (server.tls_key is None):
        missing = "tls_key" if server.tls_key is None else "tls_certificate"
        errors.append(ConfigError(f"server.{missing}", None, "certificate and key go together", place))
    if server.tls_client_ca is not None and server.tls_certificate is None:
        errors.append(ConfigError("server.tls_client_ca", server.tls_client_ca, "needs server.tls_certificate", place))
    protected = server.tls_certificate is not None and security.tokens is not None
    if not (is_loopback(server.host) or protected or server.insecure):
        reason = (
            "is reachable from other machines: set server.tls_certificate, server.tls_key and security.tokens, "
            "or server.insecure = true"
        )
        errors.append(ConfigError("server.host", server.host, reason, place))
    if server.metrics_port and not (is_loopback(server.metrics_host) or server.insecure):
        reason = "is reachable from other machines and asks for no token: set server.insecure = true to have it so"
        errors.append(ConfigError("server.metrics_host", server.metrics_host, reason, place))
    return errors
