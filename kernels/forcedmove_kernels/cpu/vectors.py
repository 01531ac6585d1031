"""The cells and shares of many tiers of one cohort at once, written as vectors.

As a loop over tiers the compiler finds the same instructions, but between arrays that might overlap: it asks anew for
every cohort whether they do, which costs as much as the work. Here nothing is asked. Vectors of 16 words become what
the processor has: one register, or several. Nor are references to arrays counted here, as in calls of functions: that
is an atomic operation, on which threads wait for each other. Offsets are those of the flat array.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import extending, types
from numba.core.cgutils import get_or_insert_function

from forcedmove_kernels.fixed_point import MULTIPLIER_BITS, NOISE_BITS, PRICE_BITS, WEIGHT_BITS

LANES = 16

#: decorates what generates code for a call: the caller does not pass the first argument
intrinsic: Any = extending.intrinsic

_WORD, _LONG = ir.IntType(32), ir.IntType(64)
_WORDS, _LONGS = ir.VectorType(_WORD, LANES), ir.VectorType(_LONG, LANES)
_PAIRS = ir.VectorType(_LONG, LANES // 2)  # the same bits as _WORDS
_LOW_HALF = (1 << 32) - 1


def _same(value: int, vector: Any = _WORDS) -> Any:
    """A vector of one constant."""
    return ir.Constant(vector, [value] * vector.count)


def _spread(builder: Any, scalar: Any, vector: Any = _WORDS) -> Any:
    """A vector of one value."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(_WORD, 0))
    return builder.shuffle_vector(first, undefined, _same(0, ir.VectorType(_WORD, vector.count)))


class _Vectors:
    """Vectors in arrays, in the function that is being compiled."""

    def __init__(self, context: Any, builder: Any, kinds: Any) -> None:
        self.context, self.builder, self.kinds = context, builder, kinds

    def address(self, number: int, array: Any, offset: Any, vector: Any) -> Any:
        """Pointer to a vector in the argument ``number``, a C-contiguous array."""
        return self.builder.bitcast(self.element(number, array, offset), vector.as_pointer())

    def element(self, number: int, array: Any, offset: Any) -> Any:
        """Pointer to an element of the argument ``number``, an array of any shape. Raises TypeError if it has gaps."""
        if self.kinds[number].layout != "C":
            raise TypeError(f"kernels take C-contiguous arrays, not {self.kinds[number]}")
        data = self.context.make_array(self.kinds[number])(self.context, self.builder, array).data
        return self.builder.gep(data, [offset])

    def load(self, number: int, array: Any, offset: Any, count: Any) -> Any:
        """Words of an array; from ``count`` on zeros, which are not read."""
        builder, place = self.builder, self.address(number, array, offset, _WORDS)
        lanes = ir.Constant(_WORDS, list(range(LANES)))
        wanted = builder.icmp_unsigned("<", lanes, _spread(builder, builder.trunc(count, _WORD)))
        kind = ir.FunctionType(_WORDS, [place.type, _WORD, wanted.type, _WORDS])
        load = get_or_insert_function(  # type: ignore[no-untyped-call]
            builder.module, kind, f"llvm.masked.load.v{LANES}i32.p0"
        )
        return builder.call(load, [place, _WORD(4), wanted, _same(0)])

    def load_longs(self, number: int, array: Any, offset: Any) -> Any:
        longs = self.builder.load(self.address(number, array, offset, _LONGS))
        longs.align = 8
        return longs

    def store(self, number: int, array: Any, offset: Any, vector: Any) -> None:
        stored = self.builder.store(vector, self.address(number, array, offset, vector.type))
        stored.align = vector.type.element.width // 8

    def shares(self, number: int, weight: Any, row: Any, count: Any, lots: Any) -> Any:
        """Lots of each tier; halves of the lots keep products of a 17-bit weight within 32 bits."""
        builder = self.builder
        high = _spread(builder, builder.lshr(lots, ir.Constant(_WORD, WEIGHT_BITS)))
        low = _spread(builder, builder.and_(lots, ir.Constant(_WORD, (1 << WEIGHT_BITS) - 1)))
        below, through = (self.load(number, weight, builder.add(row, _LONG(tier)), count) for tier in (0, 1))
        parts = [
            builder.add(builder.mul(high, w), builder.lshr(builder.mul(low, w), _same(WEIGHT_BITS)))
            for w in (below, through)
        ]
        return builder.sub(parts[1], parts[0])

    def pairs(self, number: int, weight: Any, row: Any, count: Any, lots: Any, fresh: Any) -> Any:
        """Shares of two numbers of lots, as ``lots | fresh << 32``."""
        low, high = (self.builder.zext(self.shares(number, weight, row, count, each), _LONGS) for each in (lots, fresh))
        return self.builder.or_(low, self.builder.shl(high, _same(32, _LONGS)))


@intrinsic
def fill_cells(
    typing: Any, cell: Any, at: Any, multiplier: Any, offset: Any, count: Any, entry: Any, zero: Any, top: Any
) -> tuple[Any, Any]:
    """Write the cells of ``count`` tiers to ``cell[at:]``, and any cell for the other lanes.

    ``multiplier`` u32 is read from ``offset`` on; ``zero`` is the bin that cell 0 would be, cells end at ``top``.
    """
    signature = types.void(
        cell, types.int64, multiplier, types.int64, types.int64, types.uint32, types.int32, types.int32
    )

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        cell, at, multiplier, offset, count, entry, zero, top = arguments
        vectors = _Vectors(context, builder, signature.args)
        factors = builder.bitcast(vectors.load(2, multiplier, offset, count), _PAIRS)
        price = _spread(builder, builder.zext(entry, _LONG), _PAIRS)
        half, shift = _same(32, _PAIRS), _same(MULTIPLIER_BITS + PRICE_BITS, _PAIRS)
        even = builder.lshr(builder.mul(builder.and_(factors, _same(_LOW_HALF, _PAIRS)), price), shift)
        odd = builder.lshr(builder.mul(builder.lshr(factors, half), price), shift)
        bins = builder.bitcast(builder.or_(even, builder.shl(odd, half)), _WORDS)
        found = builder.sub(bins, _spread(builder, zero))
        found = builder.select(builder.icmp_signed(">", found, _same(0)), found, _same(0))
        highest = _spread(builder, top)
        found = builder.select(builder.icmp_signed("<", found, highest), found, highest)
        vectors.store(0, cell, at, found)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def fill_shares(
    typing: Any, share: Any, at: Any, weight: Any, offset: Any, count: Any, lots: Any, fresh: Any
) -> tuple[Any, Any]:
    """Write the lots of ``count`` tiers to ``share[at:]``, and zeros for the other lanes.

    ``weight`` are cumulative weights u32, those of ``count + 1`` tiers from ``offset`` on.
    Into a u32 array the shares of ``lots``; into a u64 array ``lots | fresh << 32``, the shares of both numbers, which
    one addition adds to two rows of cells.
    """
    signature = types.void(share, types.int64, weight, types.int64, types.int64, types.uint32, types.uint32)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        share, at, weight, offset, count, lots, fresh = arguments
        vectors = _Vectors(context, builder, signature.args)
        if signature.args[0].dtype == types.uint64:
            found = vectors.pairs(2, weight, offset, count, lots, fresh)
        else:
            found = vectors.shares(2, weight, offset, count, lots)
        vectors.store(0, share, at, found)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def fill_changes(
    typing: Any,
    change: Any,
    at: Any,
    weight: Any,
    old_offset: Any,
    offset: Any,
    count: Any,
    old_lots: Any,
    old_fresh: Any,
    lots: Any,
    fresh: Any,
) -> tuple[Any, Any]:
    """Write what changes in ``count`` tiers to ``change[at:]`` u64: the pairs of :func:`fill_shares` less the old ones.

    Differences of words ``lots | fresh << 32`` add up modulo 2**64, so that the word of a cell comes out right.
    """
    places, words = [types.int64] * 3, [types.uint32] * 4
    signature = types.void(change, types.int64, weight, *places, *words)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        change, at, weight, old_offset, offset, count, old_lots, old_fresh, lots, fresh = arguments
        vectors = _Vectors(context, builder, signature.args)
        before = vectors.pairs(2, weight, old_offset, count, old_lots, old_fresh)
        after = vectors.pairs(2, weight, offset, count, lots, fresh)
        vectors.store(0, change, at, builder.sub(after, before))
        return context.get_dummy_value()

    return signature, generate


def _groups(builder: Any, at: Any, tiers: Any) -> Iterator[tuple[Any, int]]:
    """Where to generate what is done to the first ``tiers`` tiers, at most LANES, without a loop: (index, how many).

    The branches between depend on the number of tiers alone: for rows of one height they are all foreseen.
    """
    for size in (16, 8, 4, 2, 1):
        with builder.if_then(builder.icmp_unsigned("!=", builder.and_(tiers, _LONG(size)), _LONG(0))):
            yield builder.add(at, builder.and_(tiers, _LONG(LANES * 2 - 2 * size))), size  # larger groups come first


@intrinsic
def scatter(typing: Any, cells: Any, base: Any, cell: Any, share: Any, at: Any, tiers: Any) -> tuple[Any, Any]:
    """Add ``share[at + t]`` to ``cells[base + cell[at + t]]`` for ``t`` in ``0 .. tiers - 1``, at most LANES."""
    signature = types.void(cells, types.int64, cell, share, types.int64, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        cells, base, cell, share, at, tiers = arguments
        vectors = _Vectors(context, builder, signature.args)
        row = vectors.element(0, cells, base)
        for index, size in _groups(builder, at, tiers):
            places, shares = vectors.element(2, cell, index), vectors.element(3, share, index)
            for tier in range(size):
                place = builder.load(builder.gep(places, [_WORD(tier)]))
                amount = builder.load(builder.gep(shares, [_WORD(tier)]))
                target = builder.gep(row, [builder.zext(place, _LONG)])
                builder.store(builder.add(builder.load(target), amount), target)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def lanes_between(typing: Any, words: Any, index: Any, low: Any, high: Any) -> tuple[Any, Any]:
    """Bits of the ``LANES`` elements u32 from ``index`` on that lie in ``low..high``, the first one lowest."""
    signature = types.uint64(words, types.int64, types.uint32, types.uint32)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        words, index, low, high = arguments
        found = _Vectors(context, builder, signature.args).load(0, words, index, _LONG(LANES))
        inside = builder.and_(
            builder.icmp_unsigned(">=", found, _spread(builder, low)),
            builder.icmp_unsigned("<=", found, _spread(builder, high)),
        )
        return builder.zext(builder.bitcast(inside, ir.IntType(LANES)), _LONG)

    return signature, generate


@intrinsic
def lanes_differ(typing: Any, words: Any, others: Any, index: Any, count: Any) -> tuple[Any, Any]:
    """Bits of the first ``count`` of ``LANES`` elements u32 from ``index`` on that differ, the first one lowest."""
    signature = types.uint64(words, others, types.int64, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        words, others, index, count = arguments
        vectors = _Vectors(context, builder, signature.args)
        one, other = (vectors.load(k, array, index, count) for k, array in enumerate((words, others)))
        return builder.zext(builder.bitcast(builder.icmp_unsigned("!=", one, other), ir.IntType(LANES)), _LONG)

    return signature, generate


@intrinsic
def lanes_below(typing: Any, words: Any, index: Any, bound: Any) -> tuple[Any, Any]:
    """How many of the ``LANES`` elements u64 from ``index`` on lie below a bound."""
    signature = types.uint64(words, types.int64, types.uint64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        words, index, bound = arguments
        found = _Vectors(context, builder, signature.args).load_longs(0, words, index)
        below = builder.bitcast(builder.icmp_unsigned("<", found, _spread(builder, bound, _LONGS)), ir.IntType(LANES))
        return builder.zext(builder.ctpop(below), _LONG)

    return signature, generate


@intrinsic
def lanes_set(typing: Any, words: Any, index: Any) -> tuple[Any, Any]:
    """Bits of the ``LANES`` elements u64 from ``index`` on that are not zero, the first one lowest."""
    signature = types.uint64(words, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        words, index = arguments
        found = _Vectors(context, builder, signature.args).load_longs(0, words, index)
        is_set = builder.bitcast(builder.icmp_unsigned("!=", found, _same(0, _LONGS)), ir.IntType(LANES))
        return builder.zext(is_set, _LONG)

    return signature, generate


@intrinsic
def lowest_bit(typing: Any, bits: Any) -> tuple[Any, Any]:
    """Number of the lowest bit of a u64 above zero."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.IntType(1)(1))

    return types.uint64(types.uint64), generate


@intrinsic
def prefetch(typing: Any, array: Any, index: Any) -> tuple[Any, Any]:
    """Ask for the cache line of an element, which is about to be read and written; nothing waits for it."""
    signature = types.void(array, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, index = arguments
        place = _Vectors(context, builder, signature.args).element(0, array, index)
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, _WORD, _WORD, _WORD])
        ask = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        builder.call(ask, [builder.bitcast(place, byte), _WORD(1), _WORD(3), _WORD(1)])
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def fill_picks(typing: Any, pick: Any, salt: Any, index: Any, key: Any, mask: Any) -> tuple[Any, Any]:
    """Write hashes of ``key`` and ``LANES`` elements u32 of ``salt`` from ``index`` on to ``pick``, ``mask`` applied.

    The hash is :func:`forcedmove_kernels.reference.cascade.mix32`.
    """
    signature = types.void(pick, salt, types.int64, types.uint32, types.uint32)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pick, salt, index, key, mask = arguments
        vectors = _Vectors(context, builder, signature.args)
        mixed = builder.xor(vectors.load(1, salt, index, _LONG(LANES)), _spread(builder, key))
        for shift, factor in ((16, 0x85EB_CA6B), (13, 0xC2B2_AE35)):
            mixed = builder.mul(builder.xor(mixed, builder.lshr(mixed, _same(shift))), _same(factor))
        mixed = builder.xor(mixed, builder.lshr(mixed, _same(16)))
        vectors.store(0, pick, _LONG(0), builder.and_(mixed, _spread(builder, mask)))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def fill_scaled(typing: Any, scaled: Any, amount: Any, index: Any, factor: Any) -> tuple[Any, Any]:
    """Write ``amount * factor >> NOISE_BITS`` of ``LANES`` elements u64 from ``index`` on to ``scaled`` u64.

    ``factor`` is one number u64, or an array u64 with one per lane. The product may exceed 64 bits.
    """
    signature = types.void(scaled, amount, types.int64, factor)
    is_array = isinstance(factor, types.Array)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        scaled, amount, index, factor = arguments
        vectors = _Vectors(context, builder, signature.args)
        amounts = vectors.load_longs(1, amount, index)
        factors = vectors.load_longs(3, factor, _LONG(0)) if is_array else _spread(builder, factor, _LONGS)
        shift, low = _same(NOISE_BITS, _LONGS), _same((1 << NOISE_BITS) - 1, _LONGS)
        above = builder.mul(builder.lshr(amounts, shift), factors)
        below = builder.lshr(builder.mul(builder.and_(amounts, low), factors), shift)
        vectors.store(0, scaled, _LONG(0), builder.add(above, below))
        return context.get_dummy_value()

    return signature, generate
