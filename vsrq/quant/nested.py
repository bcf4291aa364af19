"""One stored copy of a weight for all bit widths: the high bits of its codes are the codes of a lower width.

With codes ``q`` of ``B`` bits and step ``s``, dropping ``k`` bits gives ``c = floor(q / 2^k)``, a shift to the right,
and

    w_k = s (2^k c + (2^k - 1) / 2)

the middle of all stored weights that have these high bits, ``2^k s`` apart. Without that half step every weight would
be too small by it on average, which adds up over a layer's inputs. ``k = 0`` is the stored weight itself.

Reference: Yu et al., Any-Precision Deep Neural Networks (AAAI 2021), as used by Sun et al., VideoIQ (ICCV 2021).
"""

from __future__ import annotations

import torch
from torch import Tensor

from vsrq.errors import ConfigError
from vsrq.quant.autograd import straight_through


def high_bits(codes: Tensor, drop: int) -> Tensor:
    """Return codes without their ``drop`` lowest bits; integers of any shape, two's complement or natural."""
    return codes >> drop


def centre(codes: Tensor, drop: int) -> Tensor:
    """Return, in stored steps, the middle of what :func:`high_bits` cannot tell apart; float32, any shape."""
    return codes * 2.0**drop + (2**drop - 1) / 2


def nested(weight: Tensor, scale: Tensor, bits: int, to: int) -> Tensor:
    """Return a stored weight at a lower width; the gradient passes straight through to the stored one.

    Args:
        weight: On the symmetric grid of ``bits``, any shape.
        scale: Step of that grid; broadcasts over the weight.
        bits: Stored bit width.
        to: Bit width asked for, 2 to ``bits``.

    Raises:
        ConfigError: ``to`` is no such width.
    """
    if not 2 <= to <= bits:
        raise ConfigError(f"the high bits of a {bits}-bit weight give 2 to {bits} bits, not {to!r}.")
    if to == bits:
        return weight
    with torch.no_grad():
        codes = torch.round(weight / scale).to(torch.int32)
        value = scale * centre(high_bits(codes, bits - to), bits - to)
    return straight_through(weight, value.to(weight.dtype))
