"""One grid for each of the tensors that a layer's input was concatenated from.

A frame in [0, 1] and features from -3 to 4 on one 8-bit grid leave the frame 36 levels. With a grid each it keeps all
of its 256, at the same number of bit operations: the layer is linear, so that its output is a sum over the parts, each
of which an integer kernel computes by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from vsrq.errors import ConfigError
from vsrq.quant.quantizer import FLOAT_BITS, QParams, Redistributed, UniformQuantizer


def declare_parts(layer: nn.Module, *sizes: int) -> None:
    """Tell a float layer that its input is always a concatenation along the channels.

    Args:
        layer: Convolution or linear layer; :func:`vsrq.quant.prepare` reads its attribute ``input_parts``.
        sizes: Channels of each tensor, in order.
    """
    layer.input_parts = sizes  # type: ignore[assignment]


class GroupedQuantizer(Redistributed):
    """Quantizer of an activation ``(n, c, h, w)`` with one grid per group of channels.

    It offers what layers ask of a :class:`vsrq.quant.UniformQuantizer`.

    Args:
        parts: A quantizer per group, all of the same bits.
        sizes: Channels of each group.

    Raises:
        ConfigError: The numbers of parts and sizes differ, or a size is below 1.
    """

    def __init__(self, parts: Sequence[UniformQuantizer], sizes: Sequence[int]) -> None:
        super().__init__()
        if len(parts) != len(sizes) or any(size < 1 for size in sizes):
            raise ConfigError(f"{len(parts)} quantizers for parts of {tuple(sizes)} channels; each part needs one.")
        self.parts = nn.ModuleList(parts)
        self.sizes = tuple(sizes)

    @property
    def bits(self) -> int:
        """Bit width."""
        return self.parts[0].bits  # type: ignore[return-value]

    @property
    def dynamic(self) -> bool:
        """Whether ranges are taken from each tensor anew."""
        return self.parts[0].dynamic  # type: ignore[return-value]

    @property
    def observer(self) -> object | None:
        """Not ``None`` while ranges are being calibrated."""
        return self.parts[0].observer

    def slices(self) -> Iterator[tuple[UniformQuantizer, slice]]:
        """Yield each part with the channels it quantizes."""
        start = 0
        for part, size in zip(self.parts, self.sizes, strict=True):
            yield part, slice(start, start + size)  # type: ignore[misc]
            start += size

    def qparams(self, x: Tensor | None = None) -> QParams:
        """Return the grid of every channel, in natural codes; see :meth:`vsrq.quant.UniformQuantizer.qparams`.

        Returns:
            Scale and zero point of shape (c, 1, 1).
        """
        scales, zero_points, width = [], [], 0
        for part, channels in self.slices():
            scale, zero_point, qmin, qmax = part.qparams(None if x is None else x[:, channels])
            size = channels.stop - channels.start
            scales.append(scale.expand(size))
            zero_points.append((zero_point - qmin).expand(size))
            width = qmax - qmin
        return QParams(torch.cat(scales)[:, None, None], torch.cat(zero_points)[:, None, None], 0, width)

    def shift_of(self, channels: slice | None) -> Tensor | None:
        """Return the learned shift of RLQ, ``None`` if there is none."""
        shifts = [part.shift for part in self.parts]
        return None if shifts[0] is None else torch.cat(shifts, dim=1)  # type: ignore[arg-type]

    def quantize(self, x: Tensor) -> Tensor:
        """Quantize and dequantize ``x`` without shifting it."""
        if self.bits == FLOAT_BITS:
            return x
        return torch.cat([part.quantize(x[:, channels]) for part, channels in self.slices()], dim=1)

    def observe(self, x: Tensor) -> None:
        """Take ``x`` into the ranges without quantizing it."""
        for part, channels in self.slices():
            part.observe(x[:, channels])

    def extra_repr(self) -> str:
        """Sizes of the parts."""
        return f"channels {' + '.join(map(str, self.sizes))}"


ActQuantizer = UniformQuantizer | GroupedQuantizer


def grids(quantizer: ActQuantizer) -> list[UniformQuantizer]:
    """Return the quantizers of one grid each that a quantizer consists of."""
    return list(quantizer.parts) if isinstance(quantizer, GroupedQuantizer) else [quantizer]  # type: ignore[arg-type]
