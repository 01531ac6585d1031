"""The two pieces of the protobuf encoding that are written by hand: varints and length-delimited fields.

Concatenating serialised fields is how protobuf defines merging, so chunks made here can be joined into a message.
"""

from __future__ import annotations

_LENGTH_DELIMITED = 2


def varint(value: int) -> bytes:
    """Return an unsigned integer in base 128, least significant group first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def varint_field(number: int, value: int) -> bytes:
    """Return an unsigned integer field; nothing for 0, the default."""
    return varint(number << 3) + varint(value) if value else b""


def delimited(number: int, *payload: bytes) -> bytes:
    """Return a message, string or bytes field whose content is the join of ``payload``."""
    length = sum(map(len, payload))
    return b"".join((varint(number << 3 | _LENGTH_DELIMITED), varint(length), *payload))
