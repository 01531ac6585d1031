"""What parts of the asynchronous client need of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import grpc

if TYPE_CHECKING:
    from google.protobuf.message import Message

    Request = TypeVar("Request", bound=Message)
    Response = TypeVar("Response", bound=Message)


class Calls(ABC):
    """A connection to one server, ``target``, and single calls over it."""

    target: str

    @property
    @abstractmethod
    def _channel(self) -> grpc.aio.Channel: ...

    @abstractmethod
    async def _ask(
        self, method: Callable[..., grpc.aio.UnaryUnaryCall[Request, Response]], request: Request
    ) -> Response: ...
