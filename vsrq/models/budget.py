"""What a choice of bits costs, and the loss that keeps it within a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from vsrq.errors import ConfigError
from vsrq.quant.autograd import straight_through
from vsrq.quant.layers import QuantLayer
from vsrq.quant.switchable import is_switchable
from vsrq.registry import MODELS


def decided_cost(logits: Tensor, costs: Tensor) -> Tensor:
    """Return the mean cost of the widths that evaluation would choose, with the gradient of the expected cost.

    Args:
        logits: ``(frames, widths)``.
        costs: Cost of each width, ``(widths,)``.
    """
    expected = (F.softmax(logits.float(), dim=-1) @ costs).mean()
    return straight_through(expected, costs[logits.argmax(-1)].mean())


@MODELS.register_module()
class BudgetLoss(nn.Module):
    """Squared relative distance between the cost of an iteration and the budget, ``weight * (cost / budget - 1)^2``.

    What counts is what evaluation would choose, not what training draws. The budget is kept over the frames of all
    clips of an iteration: larger batches leave a clip more room to differ from others. (A moving average over
    iterations would leave more, but reacts late, and swings until the softmax has no gradient left.)

    Args:
        weight: Factor on the loss.

    Raises:
        ConfigError: The weight is negative.
    """

    def __init__(self, *, weight: float = 0.1) -> None:
        super().__init__()
        if not weight >= 0:
            raise ConfigError(f"BudgetLoss: weight must not be negative, got {weight!r}.")
        self.weight = weight

    def forward(self, logits: Tensor, costs: Tensor, budget: float) -> Tensor:
        """Return the loss.

        Args:
            logits: Of all frames of the iteration, ``(frames, widths)``.
            costs: Cost of each width, ``(widths,)``.
            budget: In the unit of the costs.
        """
        return self.weight * (decided_cost(logits, costs) / budget - 1).square()


def common_costs(layers: Mapping[str, QuantLayer], widths: Sequence[int]) -> list[int]:
    """Return weight bits times activation bits at every width, the same for all layers.

    Args:
        layers: Layers with a switchable quantizer, by name.
        widths: Descending; the first is that of all switchable quantizers.

    Raises:
        ConfigError: A quantizer has another width, or layers do not cost the same.
    """
    found: dict[tuple[int, ...], str] = {}
    for name, layer in layers.items():
        pair = layer.weight_quantizer, layer.act_quantizer
        for quantizer in pair:
            if is_switchable(quantizer) and quantizer.base_bits != widths[0]:
                raise ConfigError(
                    f"layer {name} is calibrated at {quantizer.base_bits} bit, but the widest of policy.widths="
                    f"{tuple(widths)} must be its bits; set bits={widths[0]} or other widths."
                )
        found.setdefault(tuple(_bits(pair[0], w) * _bits(pair[1], w) for w in widths), name)
    if len(found) > 1:
        (first, one), (second, other) = list(found.items())[:2]
        raise ConfigError(
            f"layers of a policy must cost the same at each width, but {one} takes {first} bit operations and {other} "
            f"{second}; give them the same bits and mark the same of weight and act, or set policy=False for both in "
            "a rule."
        )
    return list(next(iter(found)))


def _bits(quantizer: Any, width: int) -> int:
    return width if is_switchable(quantizer) else quantizer.bits
