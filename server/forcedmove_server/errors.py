"""Every error the server raises on purpose.

::

    ForcedMoveError
    ├── InputError             a caller's value is wrong: names the field, the value and the place
    │   ├── ConfigError        in a config file
    │   ├── InstrumentError    in an instrument's description, or in what a source says of it
    │   └── FileFormatError    in a recorded file
    ├── MalformedMessage       a venue's message that cannot be read
    ├── UnknownNameError       a symbol, market or venue that is not here
    ├── NotReadyError          nothing has been computed yet; retry
    │   └── GoingAwayError     the server is shutting down; retry later or elsewhere
    ├── UnfitMapError          a symbol's map holds what nothing can be computed with
    ├── UnauthenticatedError   no token, or one that is not known, expired or revoked
    ├── NotAllowedError        a token without the scope that a call needs
    ├── GoneError              what was asked for is not kept any more, or not there yet
    ├── LimitError             more than the server hands out at once; ask for less
    │   ├── QuotaError         more than it can hand out just now; retry
    │   └── SlowConsumerError  a reader too slow for its stream; resume
    └── ServerFailedError      a bug ended the streams; it was reported where it happened

Anything else that escapes is a bug and ends the program.
"""

from __future__ import annotations

from typing import Any


class ForcedMoveError(Exception):
    """Base of all errors raised on purpose."""


class InputError(ForcedMoveError):
    """A value that cannot be used: ``field`` and ``value`` name it, ``place`` says where it was found."""

    def __init__(self, field: str, value: Any, reason: str, place: str = "") -> None:
        self.field, self.value, self.reason, self.place = field, value, reason, place
        super().__init__(f"{place + ': ' if place else ''}{field} = {value!r}: {reason}")


class ConfigError(InputError):
    """A config file's key or value."""


class InstrumentError(InputError):
    """A description of an instrument that contradicts itself or what its venue sends."""


class FileFormatError(InputError):
    """A recorded file that is empty, truncated, of another format or unreadable."""


class MalformedMessage(ForcedMoveError):
    """A venue's message that cannot be read; ``sample`` is how it begins."""

    def __init__(self, venue: str, sample: bytes, reason: str) -> None:
        self.venue, self.sample, self.reason = venue, sample, reason
        super().__init__(f"{venue}: malformed message: {reason}: {sample!r}")


class UnknownNameError(ForcedMoveError):
    """A symbol, market or venue that is not here; ``known`` lists what is, ``hint`` says what to do."""

    def __init__(self, kind: str, name: str, known: list[str], hint: str = "") -> None:
        self.kind, self.name, self.known = kind, name, known
        shown = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
        super().__init__(f"unknown {kind} {name!r}; known: {shown or 'none yet'}{'; ' + hint if hint else ''}")


class NotReadyError(ForcedMoveError):
    """Nothing has been computed yet."""


class GoingAwayError(NotReadyError):
    """The server is shutting down."""


class UnfitMapError(ForcedMoveError):
    """A map that holds what nothing can be computed with: ``symbol``, ``field`` and ``value`` name it."""

    def __init__(self, symbol: str, field: str, value: Any, reason: str) -> None:
        self.symbol, self.field, self.value = symbol, field, value
        super().__init__(f"{symbol}: {field} = {value!r}: {reason}")


class GoneError(ForcedMoveError):
    """What was asked for is not kept any more, or not there yet; the message says what is."""


class LimitError(ForcedMoveError):
    """More than the server hands out at once; the message says what to ask for instead."""


class QuotaError(LimitError):
    """More than can be handed out just now: others have it, and may give it back.

    ``reason`` names the quota of a token that is used up; ``retry_s`` is when it is worth while to ask again.
    """

    def __init__(self, message: str, reason: str = "", retry_s: float = 2.0) -> None:
        self.reason, self.retry_s = reason, retry_s
        super().__init__(message)


class SlowConsumerError(LimitError):
    """A reader that does not take what its stream has: ``last_seq`` by symbol of ``epoch`` is what it was sent."""

    def __init__(self, message: str, epoch: int, last_seq: dict[str, int]) -> None:
        self.reason = "SLOW_CONSUMER"
        self.epoch, self.last_seq = epoch, last_seq
        super().__init__(message)


class UnauthenticatedError(ForcedMoveError):
    """No token, or one that opens nothing; ``reason`` says which in one word."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class NotAllowedError(ForcedMoveError):
    """A token without the scope that a call needs."""

    def __init__(self, message: str) -> None:
        self.reason = "SCOPE_MISSING"
        super().__init__(message)


class ServerFailedError(ForcedMoveError):
    """A bug ended the streams; it was reported where it happened."""
