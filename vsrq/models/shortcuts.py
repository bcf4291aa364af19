"""What the shortcuts of residual blocks carry: floats, or the codes that the block's first convolution reads.

In float, a block's sum is written and read once more to be rounded for the next block. In codes nothing of that is
left, and each block adds its own rounding error to the sum.
"""

from __future__ import annotations

from typing import cast

from mmagic.models.archs import ResidualBlockNoBN
from torch import Tensor, nn

from vsrq.errors import ConfigError
from vsrq.quant.layers import QuantLayer
from vsrq.quant.quantizer import FLOAT_BITS
from vsrq.residual.layers import ResidualLayer

SHORTCUTS = ("float", "codes")


class CodedShortcutBlock(nn.Module):
    """A residual block whose shortcut is quantized by its first convolution's activation quantizer.

    Args:
        block: The block to take over: its children and their names, with its parameters, not copies.
    """

    def __init__(self, block: ResidualBlockNoBN) -> None:
        super().__init__()
        self.conv1, self.relu, self.conv2 = block.conv1, block.relu, block.conv2
        self.res_scale = block.res_scale

    def forward(self, x: Tensor) -> Tensor:
        """Run the block; ``x`` and the result are (n, c, h, w)."""
        quantizer = cast(QuantLayer, self.conv1).act_quantizer
        identity, shift = quantizer(x), quantizer.shift_of(None)
        if shift is not None:
            identity = identity - shift
        return identity + self.conv2(self.relu(self.conv1(x))) * self.res_scale


def set_shortcuts(net: nn.Module, shortcuts: str) -> None:
    """Choose what the shortcuts of a quantized network's residual blocks carry.

    Blocks whose first convolution has float activations stay as they are. Names of parameters do not change.

    Args:
        net: After :func:`vsrq.quant.prepare`; changed in place.
        shortcuts: ``'float'``, or ``'codes'`` as int8 tools do.

    Raises:
        ConfigError: No such choice, or codes are asked for where no block has them: without quantized residual
            blocks, with temporal residuals, or with blocks that can be skipped.
    """
    if shortcuts not in SHORTCUTS:
        raise ConfigError(f"shortcuts must be one of {', '.join(map(repr, SHORTCUTS))}, got {shortcuts!r}.")
    if shortcuts == "float":
        return
    found = [
        (parent, name, block)
        for parent in net.modules()
        for name, block in parent.named_children()
        if isinstance(block, ResidualBlockNoBN) and _has_codes(block.conv1)
    ]
    if not found:
        raise ConfigError(
            f"shortcuts='codes': {type(net).__name__} has no residual block whose first convolution reads codes of a "
            "frame. Set shortcuts='float', or use it with quantized activations, residual=None and depth=None."
        )
    for parent, name, block in found:
        setattr(parent, name, CodedShortcutBlock(block))


def _has_codes(conv: nn.Module) -> bool:
    return (
        isinstance(conv, QuantLayer) and not isinstance(conv, ResidualLayer) and conv.act_quantizer.bits != FLOAT_BITS
    )
