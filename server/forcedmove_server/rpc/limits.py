"""What one server hands out at most, and how often it speaks."""

from __future__ import annotations

from dataclasses import dataclass, field

from forcedmove_server.access.tokens import Quotas
from forcedmove_server.config import ScanConfig, SecurityConfig
from forcedmove_server.engine.frames import RenderedView, ViewSpec
from forcedmove_server.errors import LimitError
from forcedmove_server.margin.provenance import STALE_AFTER_DAYS

#: room in a frame beside its grid: markets, clusters, chains and assumptions
_FRAME_RESERVE_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the RPC layer.

    ``max_views`` counts pairs of a symbol and a view that somebody reads: each is rendered and encoded once per tick.
    ``max_account_positions`` are those of one question about a cross account, ``max_positions`` the exact ones that one
    request sets, and those that it removes. ``answers_at_once`` questions about shocks and positions are computed
    beside the engine, with which they share the cores; ``answers_waiting`` wait for their turn.
    ``tiers_stale_after_days`` is the age at which a maintenance table is called old. ``max_answer_bytes`` stays at
    gRPC's default receive limit, so that any client can read any answer; streams divide what is longer than
    ``max_message_bytes``. Of a symbol whose readers want every frame, ``every_frames`` are kept, fewer where they are
    more than ``every_bytes``, and for ``resume_window_s`` after the last reader has gone.
    """

    heartbeat_s: float = 1.0
    max_symbols: int = 1_000
    max_streams: int = 256
    max_views: int = 4_096
    max_account_positions: int = 1_000
    max_positions: int = 1_000
    tiers_stale_after_days: int = STALE_AFTER_DAYS
    answers_at_once: int = 1
    answers_waiting: int = 32
    max_request_bytes: int = 256 << 10
    max_message_bytes: int = 1 << 20
    max_answer_bytes: int = 4 << 20
    max_frame_bytes: int = 32 << 20
    stalled_after_s: float = 10.0
    every_frames: int = 128
    every_bytes: int = 16 << 20
    resume_window_s: float = 30.0
    scan: ScanConfig = field(default_factory=ScanConfig)
    security: SecurityConfig = field(default_factory=SecurityConfig)

    @property
    def quotas(self) -> Quotas:
        """Quotas of tokens that have none of their own."""
        return Quotas(*(getattr(self.security, name) for name in Quotas.__slots__))

    @property
    def max_deadline_s(self) -> float:
        """The longest deadline of calls that need one."""
        return self.security.max_deadline_s

    def check_frame(self, symbol: str, spec: ViewSpec, view: RenderedView) -> None:
        """Raise LimitError when a view's grid does not fit a frame of a stream."""
        _check(symbol, spec, view, 1, self.max_frame_bytes, "a frame holds")

    def check_answer(self, symbol: str, spec: ViewSpec, view: RenderedView, tensors: int = 1) -> None:
        """Raise LimitError when a view's grid, or so many tensors of its size, do not fit one answer."""
        _check(symbol, spec, view, tensors, self.max_answer_bytes, "an answer holds")


def _check(symbol: str, spec: ViewSpec, view: RenderedView, tensors: int, room: int, holds: str) -> None:
    allowed, wanted = room - _FRAME_RESERVE_BYTES, tensors * view.values.nbytes
    if wanted > allowed:
        cells, with_band = "x".join(map(str, view.values.shape)), " with its band" if tensors > 1 else ""
        raise LimitError(
            f"{symbol}: the view {describe(spec)} has {cells} cells, {wanted} bytes{with_band}; {holds} "
            f"{allowed}: keep fewer axes or narrow venues, leverage or price range"
        )


def describe(spec: ViewSpec) -> str:
    """Return a view in words, without what is left at its default."""
    parts = [f"keep={','.join(spec.keep)}"]
    if spec.venues:
        parts.append(f"venues={','.join(spec.venues)}")
    if spec.sides:
        parts.append(f"sides={','.join(spec.sides)}")
    if spec.leverage_min or spec.leverage_max:
        parts.append(f"leverage={spec.leverage_min:g}..{spec.leverage_max or float('inf'):g}")
    if spec.price_range_fraction:
        parts.append(f"price_range={spec.price_range_fraction:g}")
    return " ".join([*parts, f"weighting={spec.weighting}"])
