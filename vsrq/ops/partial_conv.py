"""A convolution that may be given its input channels in parts, because some of them are the same in many calls."""

from __future__ import annotations

from torch import Tensor, nn


class PartialConv2d(nn.Conv2d):
    """A convolution of all input channels, or of a part of them.

    The outputs of parts that make up the whole input add up to the output for it. The bias belongs to the part that
    starts at channel 0.
    """

    def forward(self, x: Tensor, channels: slice | None = None) -> Tensor:
        """Convolve ``x``.

        Args:
            x: ``(n, c, h, w)`` with all channels or those that ``channels`` names.
            channels: Which input channels ``x`` holds; ``None`` for all.
        """
        return self._conv_forward(x, *part_of(channels, self.weight, self.bias))


def part_of(channels: slice | None, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return the weight and the bias with which a part of the input channels is convolved."""
    if channels is None:
        return weight, bias
    return weight[:, channels], None if channels.start else bias
