"""Every error the client raises on purpose.

::

    ForcedMoveClientError
    ├── InvalidArgumentError   a value the server or the client cannot use; the message names field and value
    ├── UnknownNameError       a symbol or venue the server does not have
    ├── HistoryGoneError       events or frames that the server does not keep any more, or not yet
    ├── LimitExceededError     more than the server hands out at once
    ├── AccessDeniedError      no token, one that works no more, or one without the scope that a call needs
    ├── UnavailableError       no server, no connection, or nothing computed yet
    └── ServerError            anything else the server answered, or an answer that contradicts itself
"""

from __future__ import annotations

import grpc


class ForcedMoveClientError(Exception):
    """Base of all errors raised on purpose."""


class InvalidArgumentError(ForcedMoveClientError):
    """A value that cannot be used; the message names the field and the value."""


class UnknownNameError(ForcedMoveClientError):
    """A symbol or venue the server does not have."""


class HistoryGoneError(ForcedMoveClientError):
    """Events or frames that the server does not keep any more, or that are not there yet; the message says what is."""


class LimitExceededError(ForcedMoveClientError):
    """More than the server hands out at once; the message says what to ask for instead."""


class AccessDeniedError(ForcedMoveClientError):
    """No token, one that is not known, expired or revoked, or one without the scope that a call needs."""


class UnavailableError(ForcedMoveClientError):
    """No server, no connection, or nothing has been computed yet."""


class ServerError(ForcedMoveClientError):
    """The server failed, or its answer contradicts itself."""


_KINDS: dict[grpc.StatusCode, type[ForcedMoveClientError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgumentError,
    grpc.StatusCode.NOT_FOUND: UnknownNameError,
    grpc.StatusCode.OUT_OF_RANGE: HistoryGoneError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: LimitExceededError,
    grpc.StatusCode.UNAUTHENTICATED: AccessDeniedError,
    grpc.StatusCode.PERMISSION_DENIED: AccessDeniedError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: UnavailableError,
}


#: the type of the detail by which a server says that the same request may be granted later
_RETRY_INFO = b"type.googleapis.com/google.rpc.RetryInfo"


#: the reason by which it says that nothing was taken from a stream
_SLOW_CONSUMER = b"SLOW_CONSUMER"


def is_quota(error: grpc.aio.AioRpcError) -> bool:
    """Whether a server has no room just now, as opposed to a request that is too large whenever it is made."""
    return _is_exhausted(error, _RETRY_INFO)


def is_slow_consumer(error: grpc.aio.AioRpcError) -> bool:
    """Whether a server has ended a stream because nothing was taken from it."""
    return _is_exhausted(error, _SLOW_CONSUMER)


def _is_exhausted(error: grpc.aio.AioRpcError, told: bytes) -> bool:
    if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
        return False
    details = [value for key, value in error.trailing_metadata() or () if key == "grpc-status-details-bin"]
    return any(told in (value.encode() if isinstance(value, str) else value) for value in details)


def translated(error: grpc.aio.AioRpcError, target: str) -> ForcedMoveClientError:
    """Return the client's error for a status."""
    kind = _KINDS.get(error.code(), ServerError)
    details = error.details() or error.code().name
    if kind is UnavailableError:
        return kind(f"{target}: {details}")
    if kind is ServerError:
        return kind(f"{target}: {error.code().name}: {details}")
    return kind(details)
