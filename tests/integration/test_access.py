"""Strangers are kept out: tokens, scopes, quotas, deadlines and TLS through a real server."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
import trustme

import forcedmove.v1
from forcedmove.v1 import heatmap_pb2, scan_pb2, whatif_pb2
from forcedmove_client import (
    AccessDeniedError,
    AsyncClient,
    InvalidArgumentError,
    LimitExceededError,
    Tls,
    UnavailableError,
)
from forcedmove_client.cli import main
from forcedmove_client.ending import CORE_FAULT, Ending
from forcedmove_server.access.store import TokenStore
from forcedmove_server.access.tokens import SCOPES, create_token, read_tokens, revoke_token
from forcedmove_server.config import SecurityConfig
from forcedmove_server.errors import ConfigError, InputError
from forcedmove_server.rpc.certificates import Certificates
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.methods import METHODS
from tests.integration.fake_engine import FakeEngine, eventually, serving


def described() -> dict[str, Any]:
    """Every method of every proto file of the package, read from the descriptors."""
    found = {}
    for path in sorted(Path(forcedmove.v1.__path__[0]).glob("*_pb2.py")):
        file = importlib.import_module(f"forcedmove.v1.{path.stem}").DESCRIPTOR
        for service in file.services_by_name.values():
            for method in service.methods:
                found[f"/{service.full_name}/{method.name}"] = method
    return found


DESCRIBED = described()


def test_every_method_has_a_scope_and_every_entry_a_method() -> None:
    assert {name for name in METHODS if name.startswith("/forcedmove.")} == set(DESCRIBED)
    assert all(METHODS[name].scope in SCOPES for name in DESCRIBED)
    assert len(DESCRIBED) >= 15


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens.toml"


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forcedmove_server.access.store._LOOK_EVERY_S", 0.0)


async def status_of(
    port: int, name: str, token: str | None, timeout_s: float = 5.0
) -> tuple[grpc.StatusCode, str, bytes]:
    """Call a method with an empty request and return code, message and details of how it ends, or OK at an answer."""
    method = DESCRIBED[name]
    metadata = (("authorization", f"Bearer {token}"),) if token is not None else ()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        kind = ("unary", "stream")
        make = getattr(channel, f"{kind[method.client_streaming]}_{kind[method.server_streaming]}")
        call = make(name)
        try:
            if method.client_streaming:
                opened = call(metadata=metadata, timeout=timeout_s)
                ending = Ending(opened)
                await opened.write(b"")
                await opened.done_writing()
            else:
                opened = call(b"", metadata=metadata, timeout=timeout_s)
            if method.server_streaming:
                async for _ in opened:
                    return grpc.StatusCode.OK, "", b""
            else:
                await opened
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass
        if await opened.details() == CORE_FAULT:  # gRPC's word for a write to what was refused already
            ended = await ending.of(grpc.aio.AioRpcError(await opened.code(), *[grpc.aio.Metadata()] * 2, CORE_FAULT))
            trailers = dict(ended.trailing_metadata())
            return ended.code(), ended.details() or "", trailers.get("grpc-status-details-bin", b"")
        trailers = dict(await opened.trailing_metadata() or ())
        return await opened.code(), await opened.details() or "", trailers.get("grpc-status-details-bin", b"")


@pytest.mark.parametrize("name", sorted(DESCRIBED))
async def test_every_method_refuses_every_kind_of_wrong_token(
    name: str, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    scope = METHODS[name].scope
    good = create_token(file, "good", [scope], None)
    others = create_token(file, "others", [each for each in SCOPES if each != scope], None)
    expired = create_token(file, "expired", SCOPES, datetime.now(UTC) - timedelta(seconds=1))
    revoked = create_token(file, "revoked", SCOPES, None)
    revoke_token(file, "revoked")
    wrong = good[:-1] + ("A" if good[-1] != "A" else "B")
    cases = (
        (None, grpc.StatusCode.UNAUTHENTICATED, b"TOKEN_MISSING"),
        ("rubbish", grpc.StatusCode.UNAUTHENTICATED, b"TOKEN_UNKNOWN"),
        (wrong, grpc.StatusCode.UNAUTHENTICATED, b"TOKEN_UNKNOWN"),
        (revoked, grpc.StatusCode.UNAUTHENTICATED, b"TOKEN_UNKNOWN"),
        (expired, grpc.StatusCode.UNAUTHENTICATED, b"TOKEN_EXPIRED"),
        (others, grpc.StatusCode.PERMISSION_DENIED, b"SCOPE_MISSING"),
    )
    engine = FakeEngine()
    engine.step()
    async with serving(engine, tokens=TokenStore(file)) as server:
        texts = []
        for token, code, reason in cases:
            found = await status_of(server.port, name, token)
            assert found[0] is code, (token, found)
            assert reason in found[2]
            assert b"google.rpc.ErrorInfo" in found[2]
            assert "authorization" in found[1]
            texts.append(found[1] + repr(found[2]))
        found = await status_of(server.port, name, good)
        assert found[0] not in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED), found
        assert found[0] is not grpc.StatusCode.UNIMPLEMENTED
    told = caplog.text + "".join(texts) + read(file)
    for token in (good, others, expired, revoked, wrong):
        assert token.split("_", 2)[2] not in told


async def test_health_needs_no_token_and_no_token_file_leaves_all_open(file: Path) -> None:
    create_token(file, "desk", ["read"], None)
    async with (
        serving(FakeEngine(), tokens=TokenStore(file)) as server,
        AsyncClient(f"127.0.0.1:{server.port}") as client,
    ):
        await client.health()
        with pytest.raises(AccessDeniedError, match="authorization"):
            await client.symbols()


async def test_a_revoked_token_ends_the_stream_that_it_opened_and_no_other(file: Path, eager: None) -> None:
    engine = FakeEngine()
    one, two = (create_token(file, name, ["read"], None) for name in ("one", "two"))
    engine.run(0.02)
    async with serving(engine, Limits(heartbeat_s=0.05), tokens=TokenStore(file)) as server:
        target = f"127.0.0.1:{server.port}"
        async with AsyncClient(target, token=one) as first, AsyncClient(target, token=two) as second:
            assert one.split("_", 2)[2] not in repr(vars(first))
            a, b = first.subscribe("BTC"), second.subscribe("BTC")
            await asyncio.gather(anext(a), anext(b))
            revoke_token(file, "one")
            with pytest.raises(AccessDeniedError):
                await asyncio.wait_for(anext(a), 5)
            await asyncio.wait_for(anext(b), 5)


async def test_a_broken_token_file_leaves_the_old_tokens_in_force_and_is_logged(
    file: Path, eager: None, caplog: pytest.LogCaptureFixture
) -> None:
    token = create_token(file, "desk", ["read"], None)
    engine = FakeEngine()
    engine.step()
    before = read(file)
    async with (
        serving(engine, tokens=TokenStore(file)) as server,
        AsyncClient(f"127.0.0.1:{server.port}", token=token) as client,
    ):
        write(file, f'[[tokens]]\nsecret = "{token}"\n')
        assert await client.symbols()
        assert "stay in force" in caplog.text
        assert token not in caplog.text
        write(file, before.replace('"read"', '"ingest"'))
        with pytest.raises(AccessDeniedError, match="scope read"):
            await client.symbols()


def test_producers_of_a_token_are_patterns(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="must be names of producers"):
        create_token(file, "desk", ["ingest"], None, ["desk *"])
    create = ["token", "create", "--name", "desk", "--scopes", "ingest", "--file", str(file)]
    assert main([*create, "--producers", "desk-*,mm-?"]) == 0
    assert main(["token", "list", "--file", str(file)]) == 0
    assert "ingest  for desk-*,mm-?  expires" in capsys.readouterr().out
    (token,) = read_tokens(file).values()
    found = {name: token.may_tell_for(name) for name in ("desk-1", "desk", "DESK-1", "mm-7", "mm-77")}
    assert found == {"desk-1": True, "desk": False, "DESK-1": False, "mm-7": True, "mm-77": False}
    write(file, read(file).replace("mm-?", "mm ?"))
    with pytest.raises(ConfigError, match=r"tokens\[1\]\.producers"):
        read_tokens(file)


def read(file: Path) -> str:
    return file.read_text()


def write(file: Path, text: str) -> None:
    file.write_text(text)


def limits(**quotas: Any) -> Limits:
    return Limits(heartbeat_s=0.05, security=SecurityConfig(**quotas))


@pytest.mark.parametrize(
    ("quotas", "symbols", "reason"),
    [
        ({"max_streams": 1}, 1, b"QUOTA_STREAMS"),
        ({"max_symbols": 1}, 1, b"QUOTA_SYMBOLS"),
        ({"max_bytes_per_s": 1_024}, 1, b"QUOTA_BYTES_PER_S"),
    ],
)
async def test_quotas_of_streams(quotas: dict[str, int], symbols: int, reason: bytes, file: Path) -> None:
    engine, token = FakeEngine(), create_token(file, "desk", ["read"], None)
    metadata = (("authorization", f"Bearer {token}"),)
    engine.run(0.02)
    async with (
        serving(engine, limits(**quotas), tokens=TokenStore(file)) as server,
        AsyncClient(f"127.0.0.1:{server.port}", token=token) as client,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        held = client.subscribe("BTC", max_unacked=0)
        await anext(held)
        if "max_bytes_per_s" in quotas:  # it is sent frames until its bytes are used up
            await eventually(lambda: not server.hub._readers)
        call = channel.stream_stream("/forcedmove.v1.HeatmapService/Subscribe")(metadata=metadata)
        wanted = heatmap_pb2.Subscription(symbols=["BTC"] * symbols)
        with contextlib.suppress(grpc.aio.AioRpcError):  # it may be refused before this is written
            await call.write(heatmap_pb2.SubscribeRequest(subscription=wanted).SerializeToString())
        assert await asyncio.wait_for(call.code(), 5) is grpc.StatusCode.RESOURCE_EXHAUSTED
        details = dict(await call.trailing_metadata())["grpc-status-details-bin"]
        assert reason in details
        assert b"google.rpc.RetryInfo" in details
        await held.aclose()


async def test_what_a_stream_held_is_free_when_it_has_ended(file: Path) -> None:
    engine, token = FakeEngine(), create_token(file, "desk", ["read"], None)
    engine.run(0.02)
    async with (
        serving(engine, limits(max_streams=1, max_symbols=1), tokens=TokenStore(file)) as server,
        AsyncClient(f"127.0.0.1:{server.port}", token=token) as client,
    ):
        for _ in range(5):
            async with client.subscribe("BTC") as frames:
                await anext(frames)


async def test_a_scan_dearer_than_a_minute_is_refused_for_good(file: Path) -> None:
    engine, token = FakeEngine(), create_token(file, "desk", ["simulate"], None)
    engine.step()
    async with (
        serving(engine, limits(max_cost_per_minute=3), tokens=TokenStore(file)) as server,
        AsyncClient(f"127.0.0.1:{server.port}", token=token) as client,
    ):
        with pytest.raises(LimitExceededError, match="max_cost_per_minute"):
            await client.scan([-0.01, -0.02, -0.03, -0.04], ["BTC"])


@pytest.mark.parametrize(
    ("name", "request_"),
    [
        ("/forcedmove.v1.WhatIfService/WhatIf", whatif_pb2.WhatIfRequest()),
        ("/forcedmove.v1.ScanService/Scan", scan_pb2.ScanRequest()),
        ("/forcedmove.v1.CascadeService/Simulate", SimpleNamespace(SerializeToString=lambda: b"\x20\x05")),
    ],
)
@pytest.mark.parametrize(("timeout_s", "says"), [(None, "needs one"), (50_000, "at most 3600 s")])
async def test_batch_calls_need_a_deadline(name: str, request_: Any, timeout_s: float | None, says: str) -> None:
    async with serving(FakeEngine()) as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        make = channel.unary_stream if name.endswith("/Scan") else channel.unary_unary
        call = make(name)(request_.SerializeToString(), timeout=timeout_s)
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "deadline" in await call.details()
        assert says in await call.details()


class Authority:
    """A certificate authority and the files of one server."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.certificate, self.key, self.ca_file = (folder / name for name in ("cert.pem", "key.pem", "ca.pem"))
        self.ca.cert_pem.write_to_path(self.ca_file)
        self.issue()

    def issue(self) -> None:
        self.write(self.certificate, self.key)

    def write(self, certificate: Path, key: Path) -> None:
        made = self.ca.issue_cert("127.0.0.1", "localhost")
        made.private_key_pem.write_to_path(key)
        certificate.write_bytes(b"".join(part.bytes() for part in made.cert_chain_pems))

    def served(self, port: int) -> str:
        return ssl.get_server_certificate(("127.0.0.1", port))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def test_certificates_are_exchanged_while_a_stream_runs_and_broken_ones_are_not_taken(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    engine = FakeEngine()
    certificates = Certificates(authority.certificate, authority.key)
    engine.run(0.02)
    async with serving(engine, certificates=certificates) as server:
        target = f"127.0.0.1:{server.port}"
        async with AsyncClient(target, tls=Tls(authority.ca_file)) as client, client.subscribe("BTC") as frames:
            await anext(frames)
            before = await asyncio.to_thread(authority.served, server.port)
            authority.certificate.write_text("-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n")
            assert await asyncio.to_thread(authority.served, server.port) == before
            assert "stays in force" in caplog.text
            authority.issue()
            assert await asyncio.to_thread(authority.served, server.port) != before
            await asyncio.wait_for(anext(frames), 5)
            async with AsyncClient(target, tls=Tls(authority.ca_file)) as another:
                assert await another.symbols()
        async with AsyncClient(target, timeout_s=1.0) as plain:
            with pytest.raises(UnavailableError):
                await plain.symbols()
    assert "PRIVATE" not in caplog.text


async def test_mutual_tls_wants_a_certificate_of_its_authority(authority: Authority, tmp_path: Path) -> None:
    engine = FakeEngine()
    certificates = Certificates(authority.certificate, authority.key, authority.ca_file)
    mine, stranger = (tmp_path / "mine.pem", tmp_path / "mine.key"), (tmp_path / "other.pem", tmp_path / "other.key")
    authority.write(*mine)
    (tmp_path / "elsewhere").mkdir()
    Authority(tmp_path / "elsewhere").write(*stranger)
    engine.step()
    async with serving(engine, certificates=certificates) as server:
        target = f"127.0.0.1:{server.port}"
        async with AsyncClient(target, tls=Tls(authority.ca_file, *mine)) as client:
            assert await client.symbols()
        for tls in (Tls(authority.ca_file), Tls(authority.ca_file, *stranger)):
            async with AsyncClient(target, tls=tls, timeout_s=1.0) as client:
                with pytest.raises(UnavailableError):
                    await client.symbols()


async def test_a_token_is_not_sent_in_plain_text_to_another_machine() -> None:
    async with AsyncClient("192.0.2.1:7878", token="fm_secret") as client:
        with pytest.raises(InvalidArgumentError, match="TLS") as caught:
            await client.symbols()
    assert "fm_secret" not in str(caught.value)
