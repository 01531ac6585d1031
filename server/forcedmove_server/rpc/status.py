"""The one place where errors become gRPC statuses.

=================  ====================  ==================================================
error              status                details (google.rpc)
=================  ====================  ==================================================
InputError         INVALID_ARGUMENT      BadRequest naming the field
UnknownNameError   NOT_FOUND
NotReadyError      UNAVAILABLE           RetryInfo; GoingAwayError likewise
UnfitMapError      FAILED_PRECONDITION   PreconditionFailure naming symbol and field
GoneError          OUT_OF_RANGE
OutOfTurnError     ABORTED               none: whoever took over goes on
QuotaError         RESOURCE_EXHAUSTED    RetryInfo; ErrorInfo naming the quota of a token
SlowConsumerError  RESOURCE_EXHAUSTED    ErrorInfo: SLOW_CONSUMER, with epoch and last_seq
LimitError         RESOURCE_EXHAUSTED    none: retrying does not help
Unauthenticated    UNAUTHENTICATED       ErrorInfo: TOKEN_MISSING, _UNKNOWN or _EXPIRED
NotAllowedError    PERMISSION_DENIED     ErrorInfo: SCOPE_MISSING or PRODUCER_NOT_ALLOWED
ServerFailedError  INTERNAL              logged where it happened
anything else      INTERNAL              logged with its traceback
=================  ====================  ==================================================

The details are a google.rpc.Status in the trailer ``grpc-status-details-bin``, which standard clients decode. Five
small messages do not justify a dependency, so they are encoded here.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar

import grpc

from forcedmove_server.errors import (
    ForcedMoveError,
    GoneError,
    InputError,
    LimitError,
    NotAllowedError,
    NotReadyError,
    OutOfTurnError,
    QuotaError,
    ServerFailedError,
    SlowConsumerError,
    UnauthenticatedError,
    UnfitMapError,
    UnknownNameError,
)
from forcedmove_server.rpc.wire import delimited, varint_field

logger = logging.getLogger(__name__)

DETAILS_KEY = "grpc-status-details-bin"
#: when it is worth while to look again for what has not been computed yet
NOT_READY_RETRY_S = 0.5
_DOMAIN = "forcedmove"
#: trailers share one small header budget, and a message may quote what the caller sent
_MAX_MESSAGE_CHARS = 1_000

_CODES: tuple[tuple[type[ForcedMoveError], grpc.StatusCode], ...] = (
    (InputError, grpc.StatusCode.INVALID_ARGUMENT),
    (UnknownNameError, grpc.StatusCode.NOT_FOUND),
    (NotReadyError, grpc.StatusCode.UNAVAILABLE),
    (UnfitMapError, grpc.StatusCode.FAILED_PRECONDITION),
    (GoneError, grpc.StatusCode.OUT_OF_RANGE),
    (OutOfTurnError, grpc.StatusCode.ABORTED),
    (LimitError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (UnauthenticatedError, grpc.StatusCode.UNAUTHENTICATED),
    (NotAllowedError, grpc.StatusCode.PERMISSION_DENIED),
    (ServerFailedError, grpc.StatusCode.INTERNAL),
)

Handlers = TypeVar("Handlers")
Request = TypeVar("Request")
Context = TypeVar("Context", bound="grpc.aio.ServicerContext[Any, Any]")
Response = TypeVar("Response")


def status_of(error: BaseException) -> tuple[grpc.StatusCode, str, bytes]:
    """Return code, message and google.rpc.Status (empty where there is nothing to add) of an error."""
    code = next((code for kind, code in _CODES if isinstance(error, kind)), None)
    if code is None:
        text = f"internal error ({type(error).__name__}); the server's log has the traceback"
        return grpc.StatusCode.INTERNAL, text, b""
    message = str(error)
    if len(message) > _MAX_MESSAGE_CHARS:
        message = message[:_MAX_MESSAGE_CHARS] + " ..."
    if isinstance(error, InputError):
        violation = delimited(1, error.field.encode()) + delimited(2, message.encode())
        details = _status(code, message, ("BadRequest", delimited(1, violation)))
    elif isinstance(error, UnfitMapError):
        texts = ("MAP", f"{error.symbol}.{error.field}", message)
        violation = b"".join(delimited(number, text.encode()) for number, text in enumerate(texts, 1))
        details = _status(code, message, ("PreconditionFailure", delimited(1, violation)))
    elif isinstance(error, UnauthenticatedError | NotAllowedError):
        details = _status(code, message, _error_info(error.reason))
    elif isinstance(error, SlowConsumerError):
        details = _status(code, message, _error_info(error.reason, _where(error)))
    elif isinstance(error, QuotaError):
        info = (_error_info(error.reason),) if error.reason else ()
        details = _status(code, message, *info, _retry_info(error.retry_s))
    elif isinstance(error, NotReadyError):
        details = _status(code, message, _retry_info(NOT_READY_RETRY_S))
    else:
        details = b""
    return code, message, details


def guarded(
    method: Callable[[Handlers, Request, Context], Awaitable[Response]],
) -> Callable[[Handlers, Request, Context], Coroutine[Any, Any, Response]]:
    """Wrap a handler method so that what it raises ends the call with the status above."""

    @functools.wraps(method)
    async def call(handlers: Handlers, request: Request, context: Context) -> Response:
        try:
            return await method(handlers, request, context)
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            cause = _first_cause(error)
            gone = isinstance(cause, grpc.aio.InternalError) or context.cancelled()
            if gone and not isinstance(cause, ForcedMoveError):
                # the peer is gone: a write that fails is how it shows, and nobody is left to tell
                raise asyncio.CancelledError from error
            if not isinstance(cause, ForcedMoveError):
                logger.exception("%s failed", method.__qualname__)
            await abort(context, cause)

    return call


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: BaseException) -> NoReturn:
    """End the call with an error's status."""
    code, message, details = status_of(error)
    await context.abort(code, message, ((DETAILS_KEY, details),) if details else ())


def _first_cause(error: BaseException) -> BaseException:
    """Return what made a task group fail: its first member, without the wrapping."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _error_info(reason: str, metadata: Mapping[str, str] = MappingProxyType({})) -> tuple[str, bytes]:
    entries = (
        delimited(3, delimited(1, key.encode()) + delimited(2, value.encode())) for key, value in metadata.items()
    )
    return "ErrorInfo", delimited(1, reason.encode()) + delimited(2, _DOMAIN.encode()) + b"".join(entries)


def _retry_info(delay_s: float) -> tuple[str, bytes]:
    duration = varint_field(1, int(delay_s)) + varint_field(2, int(delay_s % 1 * 1e9))
    return "RetryInfo", delimited(1, duration)


def _status(code: grpc.StatusCode, message: str, *details: tuple[str, bytes]) -> bytes:
    number: int = code.value[0]
    packed = (
        delimited(3, delimited(1, f"type.googleapis.com/google.rpc.{kind}".encode()) + delimited(2, payload))
        for kind, payload in details
    )
    return varint_field(1, number) + delimited(2, message.encode()) + b"".join(packed)


def _where(error: SlowConsumerError) -> dict[str, str]:
    """Return how far a reader was, by symbol, as far as trailers have room; the other symbols are counted."""
    told, room = [], _MAX_MESSAGE_CHARS
    for symbol, seq in error.last_seq.items():
        place = f"{symbol}={seq}"
        room -= len(place) + 1
        if room < 0:
            break
        told.append(place)
    where = {"epoch": str(error.epoch), "last_seq": ",".join(told)}
    if left_out := len(error.last_seq) - len(told):
        where["last_seq_left_out"] = str(left_out)
    return where
