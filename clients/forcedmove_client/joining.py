"""From responses to the frames in them: fragments joined, compressed frames decompressed."""

from __future__ import annotations

from collections.abc import Sequence

from backports import zstd

from forcedmove.v1 import heatmap_pb2
from forcedmove_client.errors import ServerError

#: a server's frames end at 32 MiB
_MOST_BYTES = 64 << 20


def frames_of(response: heatmap_pb2.SubscribeResponse) -> Sequence[heatmap_pb2.Frame]:
    """Return the frames of a response. Raises ServerError where they cannot be decompressed."""
    if not response.zstd_frames:
        return response.frames
    return [*response.frames, *map(_decompressed, response.zstd_frames)]


def _decompressed(content: bytes) -> heatmap_pb2.Frame:
    try:
        size = zstd.get_frame_info(content).decompressed_size
        if size is None or size > _MOST_BYTES:
            raise ServerError(f"zstd_frames: a frame of {size} bytes; this client takes {_MOST_BYTES}")
        return heatmap_pb2.Frame.FromString(zstd.decompress(content))
    except zstd.ZstdError as error:
        raise ServerError(f"zstd_frames: {error}") from None


class FragmentJoiner:
    """Joins the fragments of one call."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def frames(self, fragment: heatmap_pb2.Fragment) -> Sequence[heatmap_pb2.Frame]:
        """Return the frames that a fragment completes; none yet where more are to come.

        Raises ServerError for one that does not follow the one before. The first of a new frame may always come: what
        was begun before it answers a subscription that was replaced.
        """
        if fragment.index == 0:
            self._pieces, self._size = [], 0
        if fragment.index != len(self._pieces) or fragment.index >= fragment.count:
            raise ServerError(f"fragment {fragment.index} of {fragment.count} where {len(self._pieces)} was expected")
        self._pieces.append(fragment.content)
        self._size += len(fragment.content)
        if self._size > _MOST_BYTES:
            raise ServerError(f"fragments of more than {_MOST_BYTES} bytes")
        if len(self._pieces) < fragment.count:
            return ()
        joined, self._pieces, self._size = b"".join(self._pieces), [], 0
        return frames_of(heatmap_pb2.SubscribeResponse.FromString(joined))
