"""Errors become statuses whose details a standard client can read."""

from __future__ import annotations

import re
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, duration_pb2, message_factory

from forcedmove_server.errors import (
    GoingAwayError,
    InputError,
    LimitError,
    NotReadyError,
    QuotaError,
    ServerFailedError,
    SlowConsumerError,
    UnknownNameError,
)
from forcedmove_server.rpc.status import status_of


@pytest.fixture(scope="module")
def rpc() -> dict[str, Any]:
    """The published google.rpc messages, in a pool of their own: googleapis is not a dependency."""
    pool = descriptor_pool.DescriptorPool()
    for module in (any_pb2, duration_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(
        name="google/rpc/details.proto",
        package="google.rpc",
        syntax="proto3",
        dependency=["google/protobuf/any.proto", "google/protobuf/duration.proto"],
    )
    text, number = descriptor_pb2.FieldDescriptorProto.TYPE_STRING, descriptor_pb2.FieldDescriptorProto.TYPE_INT32
    many, one = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED, descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL

    def message(name: str, *fields: tuple[str, Any, str]) -> None:
        made = file.message_type.add(name=name)
        for position, (field, label, kind) in enumerate(fields, 1):
            added = made.field.add(name=field, number=position, label=label)
            if kind.startswith("."):
                added.type, added.type_name = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE, kind
            else:
                added.type = {"text": text, "number": number}[kind]

    message("Status", ("code", one, "number"), ("message", one, "text"), ("details", many, ".google.protobuf.Any"))
    message("FieldViolation", ("field", one, "text"), ("description", one, "text"))
    message("BadRequest", ("field_violations", many, ".google.rpc.FieldViolation"))
    message("RetryInfo", ("retry_delay", one, ".google.protobuf.Duration"))
    pool.Add(file)
    names = ("Status", "BadRequest", "RetryInfo")
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"google.rpc.{name}")) for name in names}


def test_a_bad_value_names_its_field(rpc: dict[str, Any]) -> None:
    code, message, details = status_of(InputError("view.sides", 9, "must be one of them"))
    assert (code, message) == (grpc.StatusCode.INVALID_ARGUMENT, "view.sides = 9: must be one of them")
    status = rpc["Status"].FromString(details)
    assert (status.code, status.message) == (3, message)
    assert status.details[0].type_url == "type.googleapis.com/google.rpc.BadRequest"
    (violation,) = rpc["BadRequest"].FromString(status.details[0].value).field_violations
    assert (violation.field, violation.description) == ("view.sides", message)


@pytest.mark.parametrize(
    ("kind", "expected", "delay_s"),
    [
        (NotReadyError, grpc.StatusCode.UNAVAILABLE, 0.5),
        (GoingAwayError, grpc.StatusCode.UNAVAILABLE, 0.5),
        (QuotaError, grpc.StatusCode.RESOURCE_EXHAUSTED, 2.0),
    ],
)
def test_what_passes_says_when_to_retry(
    rpc: dict[str, Any], kind: type[Exception], expected: grpc.StatusCode, delay_s: float
) -> None:
    code, message, details = status_of(kind("later"))
    assert (code, message) == (expected, "later")
    status = rpc["Status"].FromString(details)
    assert (status.code, status.message) == (expected.value[0], "later")
    assert status.details[0].type_url == "type.googleapis.com/google.rpc.RetryInfo"
    delay = rpc["RetryInfo"].FromString(status.details[0].value).retry_delay
    assert delay.seconds + delay.nanos / 1e9 == delay_s


def test_the_other_errors() -> None:
    assert status_of(UnknownNameError("venue", "x", ["y"])) == (
        grpc.StatusCode.NOT_FOUND,
        "unknown venue 'x'; known: y",
        b"",
    )
    assert status_of(LimitError("too much")) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "too much", b"")
    assert status_of(ServerFailedError("a bug")) == (grpc.StatusCode.INTERNAL, "a bug", b"")
    code, message, _ = status_of(KeyError("secret"))
    assert code is grpc.StatusCode.INTERNAL
    assert "KeyError" in message
    assert "secret" not in message


def test_long_messages_are_cut() -> None:
    _, message, details = status_of(InputError("symbols", "x" * 100_000, "too long"))
    assert len(message) < 1_100
    assert len(details) < 3_000


def test_where_a_slow_reader_was_is_told_in_whole_entries() -> None:
    places = {f"SYMBOL{number}": 10**9 + number for number in range(100)}
    _, _, details = status_of(SlowConsumerError("slow consumer", 7, places))
    text = details.decode(errors="replace")
    told = re.findall(r"(SYMBOL\d+)=(\d+)", text)
    assert 40 < len(told) < 100
    assert all(places[symbol] == int(seq) for symbol, seq in told)
    assert f"last_seq_left_out\x12\x02{100 - len(told)}" in text
