"""Hostile requests, seeded: messages made of odd values, their bytes changed, and bytes of no message at all."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

FLOATS = (
    0.0, -0.0, 1.0, -1.0, 0.02, -0.05, 0.5, 1.5, 25.0, 125.0, 97_000.0, 3_400.0, 1e-9, 1e9, 5e-324, 2.2e-308, 1e-40,
    1e308, 1.7976931348623157e308, float("inf"), float("-inf"), float("nan"), 5.0, -0.95, -0.951, 99_000.0, 86_400.0,
)  # fmt: skip
INTEGERS = (0, 1, 2, 3, 7, 64, 100, 500, 1_000, 20_000, 20_001, 2**31 - 1, 2**31, 2**32 - 1, 2**53 + 1, 2**63 - 1, -1)
TEXTS = (
    "BTC", "ETH", "BTCUSDT", "BTCUSD_PERP", "binance", "hyperliquid", "binance:BTCUSDT", "binance:ETHUSDT", "L1",
    "fuzz",
    "", " ", "btc", " Binance ", "nowhere", "*", "top:5", ":", "BTC:", "\x00", "\u202e", "💥" * 20, "x" * 65,
    "y" * 5_000,
    "a,b", "%s%n", "../../etc", "'; --", "NaN",
)  # fmt: skip
_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
#: elements of a list: mostly few, now and then more than anybody may send
_COUNTS = (1, 1, 1, 2, 2, 3, 5, 40)
_MANY = (257, 1_001, 5_000, 30_000)
_DEEPEST = 6


class Hostile:
    """Makes requests of one seed, none longer than ``most_bytes`` except where that is asked for."""

    def __init__(self, seed: int, most_bytes: int) -> None:
        self._draw, self._most_bytes, self._sequence = random.Random(seed), most_bytes, 10

    def request(self, kind: Descriptor, good: Sequence[Message]) -> bytes:
        """Return one, made from nothing or from one of the ``good``."""
        roll = self._draw.random()
        if roll < 0.04:
            found = self._draw.randbytes(self._draw.choice((1, 2, 5, 30, 300, 5_000)))
        elif roll < 0.08:
            found = self.monster(kind)
        else:
            made = self.message(kind) if roll < 0.3 else self.twisted(self._draw.choice(good))
            found = made.SerializeToString()
            if self._draw.random() < 0.3:
                found = self.changed(found)
        return found[: self._most_bytes]

    def message(self, kind: Descriptor, depth: int = 0) -> Message:
        """Return a message whose fields have odd values, but those of their types."""
        message = GetMessageClass(kind)()
        density = self._draw.choice((0.2, 0.5, 0.9, 1.0))
        for field in kind.fields:
            if self._draw.random() < density:
                self._fill(message, field, depth)
        return message

    def twisted(self, good: Message) -> Message:
        """Return a good message with a few fields made odd, wherever in it they are; now and then as it is."""
        message = type(good)()
        message.CopyFrom(good)
        # a sequence that was seen before changes nothing, and most changes shall count
        if "sequence" in message.DESCRIPTOR.fields_by_name:
            self._sequence += 1
            message.sequence = self._sequence  # type: ignore[attr-defined]
        for _ in range(self._draw.choice((0, 1, 1, 1, 2, 3))):
            place = message
            while place.DESCRIPTOR.fields:
                field = self._draw.choice(place.DESCRIPTOR.fields)
                inner = field.message_type is not None and not field.message_type.GetOptions().map_entry
                if inner and self._draw.random() < 0.8:
                    if not field.is_repeated and place.HasField(field.name):
                        place = getattr(place, field.name)
                        continue
                    if field.is_repeated and getattr(place, field.name):
                        place = self._draw.choice(getattr(place, field.name))
                        continue
                if self._draw.random() < 0.5:
                    place.ClearField(field.name)
                if self._draw.random() < 0.8:
                    self._fill(place, field, 1)
                break
        return message

    def _fill(self, message: Message, field: FieldDescriptor, depth: int) -> None:
        if field.message_type is not None:
            if depth >= _DEEPEST:
                return
            if field.message_type.GetOptions().map_entry:
                entries, (key, value) = getattr(message, field.name), field.message_type.fields
                for _ in range(self._count()):
                    entries[self._value(key)] = self._value(value)
            elif field.is_repeated:
                count = self._count()
                one = self.message(field.message_type, depth + 1)
                getattr(message, field.name).extend([one] * (count if count < 300 else min(count, 5_000)))
                if count > 1:
                    getattr(message, field.name).append(self.message(field.message_type, depth + 1))
            else:
                getattr(message, field.name).CopyFrom(self.message(field.message_type, depth + 1))
        elif field.is_repeated:
            getattr(message, field.name).extend(self._value(field) for _ in range(self._count()))
        else:
            setattr(message, field.name, self._value(field))

    def _count(self) -> int:
        return self._draw.choice(_MANY if self._draw.random() < 0.005 else _COUNTS)

    def _value(self, field: FieldDescriptor) -> Any:
        draw, kind = self._draw, field.cpp_type
        if kind in _RANGES:
            low, high = _RANGES[kind]
            value = draw.choice(INTEGERS) if draw.random() < 0.9 else draw.randint(low, high)
            return min(max(value, low), high)
        if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
            return draw.choice(FLOATS) if draw.random() < 0.8 else draw.uniform(-2, 2) * 10 ** draw.randint(-3, 6)
        if kind == FieldDescriptor.CPPTYPE_BOOL:
            return draw.random() < 0.5
        if kind == FieldDescriptor.CPPTYPE_ENUM:
            return draw.choice((0, 1, 1, 2, 2, 3, 4, 99, -1, 2**31 - 1, -(2**31)))
        text = draw.choice(TEXTS[:10]) if draw.random() < 0.7 else draw.choice(TEXTS)
        return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text

    def changed(self, message: bytes) -> bytes:
        """Change bytes: flipped, cut, repeated, inserted, wire types and lengths that lie."""
        draw, found = self._draw, bytearray(message)
        for _ in range(draw.choice((1, 1, 2, 4, 16))):
            place = draw.randrange(len(found) + 1)
            match draw.randrange(7):
                case 0 if found:
                    found[place % len(found)] ^= 1 << draw.randrange(8)
                case 1:
                    del found[place:]
                case 2:
                    found[place:place] = found[: draw.randrange(64)]
                case 3:
                    found[place:place] = draw.randbytes(draw.randrange(1, 9))
                case 4 if found:
                    found[place % len(found)] = draw.randrange(256)
                case 5:
                    found[place:place] = b"\xff" * draw.choice((1, 9, 10, 11)) + b"\x01"
                case _:
                    found += _tag(draw.randrange(1, 40), draw.randrange(8)) + draw.randbytes(draw.randrange(12))
        return bytes(found)

    def monster(self, kind: Descriptor) -> bytes:
        """Return nested, huge or false messages that a few fields of a kind allow."""
        draw, number = self._draw, self._draw.choice([field.number for field in kind.fields] or [1])
        match draw.randrange(6):
            case 0:  # a message in a message in a message
                found = b""
                for _ in range(draw.choice((50, 99, 101, 500, 3_000))):
                    found = _tag(number, 2) + _varint(len(found)) + found
                return found
            case 1:  # one field over and over
                return self.message(kind).SerializeToString() * draw.choice((2, 10, 50))
            case 2:  # a length of which nothing comes
                return _tag(number, 2) + _varint(draw.choice((2**31 - 1, 2**32, 2**40, 2**63, self._most_bytes)))
            case 3:  # text that is none
                return _tag(number, 2) + _varint(4) + b"\xc3\x28\xff\xfe"
            case 4:  # packed numbers up to the limit
                count = draw.choice((10, 1_000, 30_000))
                packed = struct.pack("<d", draw.choice(FLOATS)) * count if draw.random() < 0.5 else b"\x01" * count
                return _tag(number, 2) + _varint(len(packed)) + packed
            case _:  # groups, which nothing here has
                return _tag(number, 3) * draw.choice((1, 50, 5_000)) + _tag(number, 4)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _tag(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)
