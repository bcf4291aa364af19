"""Pure maths of NF4 storage: a 4-bit codebook for Gaussian weights, a scale per block, scales quantized once more.

Storage only: the codes lie on no uniform grid, so the weight is dequantized before it is used and no bit operation is
saved.

Reference: Dettmers et al., QLoRA (NeurIPS 2023), section 3.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from vsrq.errors import ConfigError

# quantiles of a normal distribution in [-1, 1], asymmetric so that 0 is one of them; QLoRA, appendix E
CODEBOOK = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)
BLOCKS = (32, 64, 128, 256, 512, 1024, 2048, 4096)
SCALE_BLOCK = 256
_DECADES = 7


class NF4(NamedTuple):
    """A quantized tensor of ``n`` values in blocks of ``b``.

    Attributes:
        packed: Two codes per byte, the first one in the upper half, ``(ceil(n / 2),)`` uint8.
        scales: Largest magnitude of each block, ``(ceil(n / b),)``: float32, or 8-bit codes with double quantization.
        scale_absmax: Scale of each block of 256 scales, float32; ``None`` without double quantization.
        scale_mean: What was subtracted from the scales before, ``(1,)`` float32; ``None`` likewise.
    """

    packed: Tensor
    scales: Tensor
    scale_absmax: Tensor | None = None
    scale_mean: Tensor | None = None


@cache
def dynamic_codebook() -> tuple[float, ...]:
    """Return the 256 ascending values of the signed dynamic 8-bit data type, from about -1 to 1.

    Leading zeros count decades: of the decade ``10^-k`` the middles of ``2^(6 - k)`` equal parts of [0.1, 1] are there,
    with either sign, and 0 and 1 beside them.

    Reference: Dettmers et al., 8-bit Optimizers via Block-wise Quantization (ICLR 2022), section 1.3.
    """
    magnitudes = []
    for decade in range(_DECADES):
        parts = 2**decade
        unit = 10.0 ** (decade - _DECADES + 1)
        magnitudes += [unit * (0.1 + 0.9 * (part + 0.5) / parts) for part in range(parts)]
    return tuple(sorted([-m for m in magnitudes] + magnitudes + [0.0, 1.0]))


def nearest_codes(values: Tensor, codebook: tuple[float, ...]) -> Tensor:
    """Return the index of the nearest entry of an ascending codebook, uint8, same shape as ``values``."""
    entries = torch.tensor(codebook, device=values.device)
    return torch.bucketize(values, (entries[1:] + entries[:-1]) / 2).to(torch.uint8)


def quantize_blocks(values: Tensor, codebook: tuple[float, ...], block: int) -> tuple[Tensor, Tensor]:
    """Scale every block of ``values`` to [-1, 1] and find the nearest codes.

    Args:
        values: ``(n,)`` float32; the last block may be shorter.
        codebook: Ascending values in [-1, 1].
        block: Values per block.

    Returns:
        Codes ``(n,)`` uint8 and the largest magnitude of each block ``(ceil(n / block),)``.
    """
    count = values.numel()
    blocks = F.pad(values, (0, -count % block)).view(-1, block)
    absmax = blocks.abs().amax(1)
    scaled = blocks / torch.where(absmax > 0, absmax, 1.0)[:, None]
    return nearest_codes(scaled, codebook).flatten()[:count], absmax


def dequantize_blocks(codes: Tensor, absmax: Tensor, codebook: tuple[float, ...], block: int) -> Tensor:
    """Return the values ``(n,)`` float32 that :func:`quantize_blocks` stands for."""
    values = torch.tensor(codebook, device=codes.device)[codes.long()]
    return (F.pad(values, (0, -len(values) % block)).view(-1, block) * absmax[:, None]).flatten()[: len(values)]


def pack(codes: Tensor) -> Tensor:
    """Put two 4-bit codes into each byte: ``(n,)`` to ``(ceil(n / 2),)`` uint8."""
    pairs = F.pad(codes, (0, codes.numel() % 2)).view(-1, 2)
    return (pairs[:, 0] << 4) | pairs[:, 1]


def unpack(packed: Tensor, count: int) -> Tensor:
    """Return the first ``count`` codes of :func:`pack`."""
    return torch.stack([packed >> 4, packed & 15], dim=1).flatten()[:count]


def check_block(block: int) -> None:
    """Raise :class:`ConfigError` unless ``block`` is a block size that NF4 is defined for here."""
    if block not in BLOCKS or isinstance(block, bool):
        raise ConfigError(f"block must be one of {', '.join(map(str, BLOCKS))}, got {block!r}.")


def quantize(weight: Tensor, *, block: int = 64, double: bool = True) -> NF4:
    """Quantize a tensor of any shape to NF4, in blocks of its values in memory order.

    Args:
        weight: Finite values.
        block: Values per scale, one of ``BLOCKS``.
        double: Quantize the scales as well: their difference to their mean, 8 bit in blocks of 256. For blocks of 64
            this takes 4.127 instead of 4.5 bits per value.

    Raises:
        ConfigError: The block size is not allowed, or a value is not finite.
    """
    check_block(block)
    values = weight.detach().float().flatten()
    if not bool(torch.isfinite(values).all()):
        broken = values.numel() - int(torch.isfinite(values).sum())
        raise ConfigError(
            f"{broken} of {values.numel()} weights are not finite; NF4 needs the weights of a sound network."
        )
    codes, absmax = quantize_blocks(values, CODEBOOK, block)
    if not double:
        return NF4(pack(codes), absmax)
    mean = absmax.mean()
    scale_codes, scale_absmax = quantize_blocks(absmax - mean, dynamic_codebook(), SCALE_BLOCK)
    return NF4(pack(codes), scale_codes, scale_absmax, mean.reshape(1))


def dequantize(quantized: NF4, shape: torch.Size, *, block: int = 64) -> Tensor:
    """Return the tensor, float32 of ``shape``, that :func:`quantize` with the same block size stands for."""
    absmax = quantized.scales
    if quantized.scale_absmax is not None and quantized.scale_mean is not None:
        absmax = dequantize_blocks(absmax, quantized.scale_absmax, dynamic_codebook(), SCALE_BLOCK)
        absmax = absmax + quantized.scale_mean
    codes = unpack(quantized.packed, shape.numel())
    return dequantize_blocks(codes, absmax, CODEBOOK, block).view(shape)


def storage_bits(quantized: NF4) -> int:
    """Bits of all stored tensors."""
    return sum(8 * part.numel() * part.element_size() for part in quantized if part is not None)
