"""The loops of deformable convolution on channels-last arrays, compiled by numba for the CPU at hand.

Strips of output pixels are sampled into a matrix that stays in the second-level cache and multiplied there by the
weight. Importing this module needs numba; :mod:`vsrq.ops.deform_conv_kernel` is the door to it. All that is compiled
stands in this one file, because numba's cache of machine code notices changes of this file only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import extending, njit, types
from numba.core import cgutils

_intrinsic: Any = extending.intrinsic  # which calls with one argument less than the function takes
_FLOAT, _INDEX = ir.FloatType(), ir.IntType(64)
_CONTRACT = ("contract",)  # lets the compiler fuse a product and a sum


def _tile_shape() -> tuple[int, int, int]:
    """Return floats per vector, vectors per row and rows of the tile that fills this CPU's registers."""
    features = llvmlite.binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 16, 2, 12
    if features.get("avx"):
        return 8, 2, 6
    return 4, 2, 6


LANES, _VECTORS, TILE_ROWS = _tile_shape()
TILE_WIDTH = LANES * _VECTORS
STRIP = 4 * TILE_ROWS  # pixels whose samples lie in the cache together


def _compiled(**options: Any) -> Callable[[Callable], Any]:
    """Return a decorator that compiles without the interpreter lock and keeps the machine code where it can."""

    def decorate(function: Callable) -> Any:
        try:
            return njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # neither the package's folder nor the user's cache folder can be written
            return njit(nogil=True, **options)(function)

    return decorate


def _data(context: Any, builder: Any, array_type: Any, array: Any) -> Any:
    return context.make_array(array_type)(context, builder, array).data


def _vector_pointer(builder: Any, data: Any, index: Any, vector: Any) -> Any:
    return builder.bitcast(builder.gep(data, [index], inbounds=True), vector.as_pointer())


def _spread(builder: Any, value: Any, vector: Any) -> Any:
    """Return a vector with ``value`` in each lane."""
    undefined = ir.Constant(vector, ir.Undefined)
    single = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(single, undefined, mask)


@_intrinsic(prefer_literal=True)
def blend(typingctx, lanes, x, i0, i1, i2, i3, w0, w1, w2, w3, out, j):
    """Store ``w0 x[i0:] + w1 x[i1:] + w2 x[i2:] + w3 x[i3:]`` of ``lanes`` floats at ``out[j:]``."""
    count = lanes.literal_value

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(_FLOAT, count)
        source = _data(context, builder, signature.args[1], args[1])
        total = None
        for index, weight in zip(args[2:6], args[6:10], strict=True):
            corner = builder.load(_vector_pointer(builder, source, index, vector), align=4)
            product = builder.fmul(corner, _spread(builder, weight, vector), flags=_CONTRACT)
            total = product if total is None else builder.fadd(product, total, flags=_CONTRACT)
        target = _data(context, builder, signature.args[10], args[10])
        builder.store(total, _vector_pointer(builder, target, args[11], vector), align=4)
        return context.get_dummy_value()

    return types.void(lanes, x, *[types.int64] * 4, *[types.float32] * 4, out, types.int64), codegen


@_intrinsic
def multiply_tile(typingctx, a, a_start, depth, b, b_start, bias, bias_start, out, out_start, stride):
    """Store ``bias + a @ b``, (TILE_ROWS, TILE_WIDTH), at ``out[out_start:]`` whose rows lie ``stride`` apart.

    ``a`` is (TILE_ROWS, depth) and ``b`` (depth, TILE_WIDTH), both contiguous from their start.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(_FLOAT, LANES)
        a_data, b_data, bias_data, out_data = (
            _data(context, builder, signature.args[k], args[k]) for k in (0, 3, 5, 7)
        )
        a_start, depth, b_start, bias_start, out_start, stride = (args[k] for k in (1, 2, 4, 6, 8, 9))

        def constant(value: int) -> Any:
            return ir.Constant(_INDEX, value)

        def load(data: Any, start: Any, number: int) -> Any:
            index = builder.add(start, constant(number * LANES))
            return builder.load(_vector_pointer(builder, data, index, vector), align=4)

        initial = [load(bias_data, bias_start, v) for v in range(_VECTORS)]
        rows = [builder.add(a_start, builder.mul(depth, constant(r))) for r in range(TILE_ROWS)]
        before = builder.block
        loop, after = builder.append_basic_block("depth"), builder.append_basic_block("depth.end")
        builder.branch(loop)

        builder.position_at_end(loop)
        k = builder.phi(_INDEX)
        k.add_incoming(constant(0), before)
        sums = [builder.phi(vector) for _ in range(TILE_ROWS * _VECTORS)]
        for number, total in enumerate(sums):
            total.add_incoming(initial[number % _VECTORS], before)
        b_row = builder.add(b_start, builder.mul(k, constant(TILE_WIDTH)))
        factors = [load(b_data, b_row, v) for v in range(_VECTORS)]
        results = []
        for r, row in enumerate(rows):
            sample = _spread(builder, builder.load(builder.gep(a_data, [builder.add(row, k)], inbounds=True)), vector)
            for v, factor in enumerate(factors):
                product = builder.fmul(sample, factor, flags=_CONTRACT)
                results.append(builder.fadd(product, sums[r * _VECTORS + v], flags=_CONTRACT))
        for total, result in zip(sums, results, strict=True):
            total.add_incoming(result, loop)
        following = builder.add(k, constant(1))
        k.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)

        builder.position_at_end(after)
        for number, result in enumerate(results):
            r, v = divmod(number, _VECTORS)
            index = builder.add(out_start, builder.add(builder.mul(stride, constant(r)), constant(v * LANES)))
            builder.store(result, _vector_pointer(builder, out_data, index, vector), align=4)
        return context.get_dummy_value()

    i = types.int64
    return types.void(a, i, i, b, i, bias, i, out, i, i), codegen


@_intrinsic(prefer_literal=True)
def locate(
    typingctx, lanes, offset, mask, taps, k, half, y, x, y_1, x_1, y_2, x_2, scale, height, width, points,
    corners, weights,
):  # fmt: skip
    """Write where the points ``k`` to ``k + lanes`` of a pixel are sampled: four corners and their weights.

    Corners are pixel numbers, weights zero outside of the image; both are (4, points). ``(y, x)`` is the pixel,
    ``(y_1, x_1)`` the displacement of the points before ``half`` and ``(y_2, x_2)`` that of the others.
    """
    count = lanes.literal_value

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector, numbers = ir.VectorType(_FLOAT, count), ir.VectorType(ir.IntType(32), count)
        offset, mask, taps, corners, weights = (
            _data(context, builder, signature.args[n], args[n]) for n in (1, 2, 3, 16, 17)
        )
        k, half, points = args[4], args[5], args[15]
        y, x, y_1, x_1, y_2, x_2, scale, height, width = (_spread(builder, value, vector) for value in args[6:15])
        zero, one, minus_one = (ir.Constant(vector, [value] * count) for value in (0.0, 1.0, -1.0))

        def add(a: Any, b: Any) -> Any:
            return builder.fadd(a, b, flags=_CONTRACT)

        def multiply(a: Any, b: Any) -> Any:
            return builder.fmul(a, b, flags=_CONTRACT)

        def where(a: Any, comparison: str, b: Any, value: Any, other: Any) -> Any:
            return builder.select(builder.fcmp_ordered(comparison, a, b), value, other)

        def load(data: Any, index: Any) -> Any:
            return builder.load(_vector_pointer(builder, data, index, vector), align=4)

        def load_pairs(data: Any) -> list[Any]:
            first = builder.mul(k, ir.Constant(_INDEX, 2))
            pair = load(data, first), load(data, builder.add(first, ir.Constant(_INDEX, count)))
            orders = (ir.Constant(numbers, [2 * n + place for n in range(count)]) for place in (0, 1))
            return [builder.shuffle_vector(*pair, order) for order in orders]

        def axis(position: Any, size: Any) -> tuple[Any, Any, Any, Any]:
            """Return two coordinates inside the image, and the weight of each."""
            last = builder.fsub(size, one)
            # a NaN becomes a position outside, like every position one pixel or more away from the image
            position = where(position, ">", minus_one, position, minus_one)
            position = where(position, "<", size, position, size)
            before = builder.call(floor, [position])
            rest = builder.fsub(position, before)
            weight = where(before, ">=", zero, builder.fsub(one, rest), zero)
            weight = where(before, "<=", last, weight, zero)
            inside = where(before, ">", zero, before, zero)
            after = add(before, one)
            return (
                where(inside, "<", last, inside, last),
                where(after, "<", last, after, last),
                weight,
                where(before, "<", last, rest, zero),
            )

        kind = ir.FunctionType(vector, [vector])
        floor = cgutils.get_or_insert_function(builder.module, kind, f"llvm.floor.v{count}f32")
        bound = builder.trunc(builder.sub(half, k), ir.IntType(32))
        is_first = builder.icmp_signed("<", ir.Constant(numbers, list(range(count))), _spread(builder, bound, numbers))
        (offset_y, offset_x), (tap_y, tap_x) = load_pairs(offset), load_pairs(taps)
        shift_y, shift_x = builder.select(is_first, y_1, y_2), builder.select(is_first, x_1, x_2)
        position_y = add(add(multiply(scale, offset_y), shift_y), add(tap_y, y))
        position_x = add(add(multiply(scale, offset_x), shift_x), add(tap_x, x))
        top, bottom, above, below = axis(position_y, height)
        left, right, before, after = axis(position_x, width)
        modulation = load(mask, k)
        above, below = multiply(above, modulation), multiply(below, modulation)
        lines = (multiply(top, width), above), (multiply(bottom, width), below)
        found = [(row, column, v, h) for row, v in lines for column, h in ((left, before), (right, after))]
        for plane, (row, column, vertical, horizontal) in enumerate(found):
            index = builder.add(builder.mul(points, ir.Constant(_INDEX, plane)), k)
            pixel = builder.fptosi(add(row, column), numbers)
            builder.store(pixel, _vector_pointer(builder, corners, index, numbers), align=4)
            weight = multiply(vertical, horizontal)
            builder.store(weight, _vector_pointer(builder, weights, index, vector), align=4)
        return context.get_dummy_value()

    i, f = types.int64, types.float32
    arguments = (lanes, offset, mask, taps, i, i, *[f] * 9, i, corners, weights)
    return types.void(*arguments), codegen


@_compiled()
def _sample(x, image, channels, lane, groups, taps, corners, weights, columns, row):
    """Write one pixel's samples, (groups, taps, lane), at ``columns[row:]``."""
    j = row
    points = groups * taps
    number, one, two, three = 0, np.uint64(points), np.uint64(2 * points), np.uint64(3 * points)
    for group in range(groups):
        base = image + group * lane
        for _ in range(taps):
            k = np.uint64(number)
            i0, i1 = base + channels * np.int64(corners[k]), base + channels * np.int64(corners[k + one])
            i2, i3 = base + channels * np.int64(corners[k + two]), base + channels * np.int64(corners[k + three])
            w0, w1, w2, w3 = weights[k], weights[k + one], weights[k + two], weights[k + three]
            if lane == 8:
                blend(8, x, i0, i1, i2, i3, w0, w1, w2, w3, columns, j)
            elif lane % 4 == 0:
                for c in range(0, lane, 4):
                    blend(4, x, i0 + c, i1 + c, i2 + c, i3 + c, w0, w1, w2, w3, columns, j + c)
            else:
                for c in range(lane):
                    blend(1, x, i0 + c, i1 + c, i2 + c, i3 + c, w0, w1, w2, w3, columns, j + c)
            j += lane
            number += 1


@_compiled()
def convolve(
    x, offset, mask, flow_1, flow_2, weight, bias, taps, scale, stride_y, stride_x, groups,
    start, stop, out,
):  # fmt: skip
    """Compute the output pixels ``start`` to ``stop``, counted over all images."""
    _, height, width, channels = x.shape
    _, out_height, out_width, c_out = out.shape
    x, out = x.reshape(-1), out.reshape(-1)
    points = taps.size // 2
    lane = channels // groups
    depth, half, whole = points * lane, points // 2, points // LANES * LANES
    extent_y, extent_x = np.float32(height), np.float32(width)
    padded = bias.size
    corners, weights = np.empty(4 * points, np.int32), np.empty(4 * points, np.float32)
    columns = np.zeros(STRIP * depth, np.float32)
    sums = np.empty(STRIP * padded, np.float32)
    area = out_height * out_width
    for first in range(start, stop, STRIP):
        count = min(STRIP, stop - first)
        for number in range(count):
            image, place = divmod(first + number, area)
            row, column = divmod(place, out_width)
            y, x_ = np.float32(row * stride_y), np.float32(column * stride_x)
            o, m = offset[image, row, column], mask[image, row, column]
            y_1, x_1 = flow_1[image, 0, row, column], flow_1[image, 1, row, column]
            y_2, x_2 = flow_2[image, 0, row, column], flow_2[image, 1, row, column]
            for k in range(0, whole, LANES):
                locate(
                    LANES, o, m, taps, k, half, y, x_, y_1, x_1, y_2, x_2, scale, extent_y, extent_x, points,
                    corners, weights,
                )  # fmt: skip
            for k in range(whole, points):
                locate(
                    1, o, m, taps, k, half, y, x_, y_1, x_1, y_2, x_2, scale, extent_y, extent_x, points,
                    corners, weights,
                )  # fmt: skip
            _sample(
                x,
                image * height * width * channels,
                channels,
                lane,
                groups,
                points // groups,
                corners,
                weights,
                columns,
                number * depth,
            )
        for block in range(0, padded, TILE_WIDTH):
            for tile in range(0, count, TILE_ROWS):
                multiply_tile(
                    columns,
                    tile * depth,
                    depth,
                    weight,
                    block * depth,
                    bias,
                    block,
                    sums,
                    tile * padded + block,
                    padded,
                )
        for number in range(count):
            for c in range(c_out):
                out[(first + number) * c_out + c] = sums[number * padded + c]
