"""A fast modulated deformable convolution for CPUs, on channels-last arrays."""

from __future__ import annotations

import importlib

import numpy as np
from numpy.typing import NDArray

from vsrq.cores import core_count, thread_pool, usable_cores
from vsrq.errors import ConfigError
from vsrq.ops.deform_conv import Pair

Array = NDArray[np.float32]

_MAX_PIXELS = 1 << 24  # of an image: pixel numbers are computed in float32


def is_available() -> bool:
    """Return whether numba is installed and works with the numpy at hand."""
    try:
        importlib.import_module("numba")
    except ImportError:
        return False
    return True


class DeformConvKernel:
    """Deformable convolution with a fixed weight; computes what :func:`vsrq.ops.deform_conv.deform_conv2d` does.

    Samples are taken ``offset_scale * offset + flow`` pixels from their taps.

    Args:
        weight: (c_out, c_in, kh, kw).
        bias: (c_out,).
        stride: As in :func:`torch.nn.functional.conv2d`.
        padding: Zeros around the input.
        dilation: Distance between the taps of the kernel.
        deform_groups: Groups of channels that share their sampling positions.
        offset_scale: Factor of the offsets.
        threads: By default one per core that the process may use.

    Raises:
        ConfigError: ``deform_groups`` does not divide the channels.
    """

    def __init__(
        self,
        weight: Array,
        bias: Array | None = None,
        *,
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        deform_groups: int = 1,
        offset_scale: float = 1.0,
        threads: int | None = None,
    ):
        from vsrq.ops import deform_conv_numba  # compiling takes seconds, so only who needs it imports it

        self.c_out, self.c_in, *size = weight.shape
        if self.c_in % deform_groups:
            raise ConfigError(f"deform_groups={deform_groups} does not divide {self.c_in} channels.")
        self.deform_groups, self.points = deform_groups, deform_groups * size[0] * size[1]
        self._cores = usable_cores()
        self.threads = threads or core_count()
        self._loops = deform_conv_numba
        self._stride = _pair(stride)
        self._taps = np.tile(_taps(size, _pair(padding), _pair(dilation)), deform_groups)
        self._offset_scale = np.float32(offset_scale)
        width = deform_conv_numba.TILE_WIDTH
        self._weight = _pack(weight.astype(np.float32), deform_groups, width)
        self._bias = np.zeros(-(-self.c_out // width) * width, np.float32)
        if bias is not None:
            self._bias[: self.c_out] = bias

    def __call__(
        self,
        x: Array,
        offset: Array,
        mask: Array,
        flows: tuple[Array, Array] | None = None,
        *,
        out: Array | None = None,
    ) -> Array:
        """Convolve; all arrays are contiguous.

        Args:
            x: (n, h, w, c_in).
            offset: (n, h_out, w_out, 2 * points), y before x, with ``points = deform_groups * kh * kw``.
            mask: (n, h_out, w_out, points).
            flows: Displacements in pixels that are added to those of the first and of the second half of the points,
                each (n, 2, h_out, w_out), y before x.
            out: Where to write the result.

        Returns:
            (n, h_out, w_out, c_out).

        Raises:
            ConfigError: The shapes do not belong together, or an image is too large.
        """
        n, height, width, _ = offset.shape
        if flows is None:
            flows = (np.zeros((n, 2, height, width), np.float32),) * 2
        if out is None:
            out = np.empty((n, height, width, self.c_out), np.float32)
        self._check(x, offset, mask, flows, out)
        constants = (self._weight, self._bias, self._taps, self._offset_scale, *self._stride, self.deform_groups)

        def run(start: int) -> None:
            stop = min(start + share, total)
            self._loops.convolve(x, offset, mask, *flows, *constants, start, stop, out)

        total, strip = n * height * width, self._loops.STRIP
        # several shares per thread, so that one thread that is held up does not make the others wait
        share = max(-(-total // (8 * self.threads * strip)), 1) * strip
        starts = range(0, total, share)
        if self.threads == 1 or len(starts) == 1:
            for start in starts:
                run(start)
        else:
            list(thread_pool(self.threads, self._cores).map(run, starts))
        return out

    def compile(self) -> None:
        """Have numba compile the loops, which otherwise happens at the first call."""
        x, offset, mask = (np.ones((1, 1, 1, c), np.float32) for c in (self.c_in, 2 * self.points, self.points))
        self(x, offset, mask)

    def _check(self, x: Array, offset: Array, mask: Array, flows: tuple[Array, Array], out: Array) -> None:
        n, height, width, _ = offset.shape
        if x.ndim != 4 or x.shape[0] != n or x.shape[3] != self.c_in:
            raise ConfigError(f"x has shape {x.shape}, needs ({n}, h, w, {self.c_in}).")
        if not 0 < x.shape[1] * x.shape[2] <= _MAX_PIXELS:
            raise ConfigError(f"x has {x.shape[1]} x {x.shape[2]} pixels, allowed are 1 to {_MAX_PIXELS}; use tiles.")
        wanted = {
            "offset": (offset, (n, height, width, 2 * self.points)),
            "mask": (mask, (n, height, width, self.points)),
            "the first flow": (flows[0], (n, 2, height, width)),
            "the second flow": (flows[1], (n, 2, height, width)),
            "out": (out, (n, height, width, self.c_out)),
        }
        for name, (array, shape) in wanted.items():
            if array.shape != shape:
                raise ConfigError(f"{name} has shape {array.shape}, needs {shape}.")
        for array in (x, offset, mask, *flows, out):
            if array.dtype != np.float32 or not array.flags.c_contiguous:
                raise ConfigError(f"all arrays must be contiguous float32, got {array.dtype}; convert them.")


def _taps(size: list[int], padding: tuple[int, int], dilation: tuple[int, int]) -> Array:
    """Return the places of the taps, y0, x0, y1, x1, ..., from the first pixel of the input."""
    axes = (np.arange(k, dtype=np.float32) * d - p for k, p, d in zip(size, padding, dilation, strict=True))
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1)


def _pack(weight: Array, deform_groups: int, width: int) -> Array:
    """Return the weight as flat (blocks of outputs, [deform group, tap, channel], width), filled up with zeros."""
    c_out, c_in = weight.shape[:2]
    rows = weight.reshape(c_out, deform_groups, c_in // deform_groups, -1).transpose(1, 3, 2, 0).reshape(-1, c_out)
    rows = np.pad(rows, ((0, 0), (0, -c_out % width)))
    return np.ascontiguousarray(rows.reshape(len(rows), -1, width).transpose(1, 0, 2)).reshape(-1)


def _pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))
