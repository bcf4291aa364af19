"""LoRA: train a frozen network by low-rank changes of its weights.

On NF4 weights the change stays beside the codes, in float. On a uniform grid it is added *before* the weight is
quantized, so that merging it changes nothing at all and the merged layer is an ordinary quantized one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from vsrq.errors import ConfigError
from vsrq.quant.calibratable import calibratables
from vsrq.quant.layers import QuantLayer
from vsrq.quant.nf4_layers import NF4Layer
from vsrq.quant.prepare import swap_layers
from vsrq.quant.rules import Rule, RuleBook


class LoRA(nn.Module):
    """Low-rank change of a weight: ``W + (alpha / rank) up @ down``, zero at first.

    For a ``k x k`` convolution without groups this equals a second path of a ``k x k`` convolution to ``rank``
    channels and a 1 x 1 convolution from there. As a change of the weight it needs no second pass over the features
    and no multiply-accumulates of its own.

    Args:
        shape: Shape of the weight, output channels first.
        rank: 1 up to the smaller side of the weight as a matrix.
        alpha: Strength, above 0.

    Raises:
        ConfigError: ``rank`` or ``alpha`` is out of range.

    Reference: Hu et al., LoRA (ICLR 2022), equation 3.
    """

    def __init__(self, shape: torch.Size, rank: int, alpha: float) -> None:
        super().__init__()
        outputs, inputs = shape[0], shape[1:].numel()
        largest = min(outputs, inputs)
        if not isinstance(rank, int) or isinstance(rank, bool) or not 1 <= rank <= largest:
            raise ConfigError(
                f"rank must be an integer from 1 to {largest} for a weight of shape {tuple(shape)}, got {rank!r}; give "
                "the layer a rule with a smaller rank or with lora=False."
            )
        if not isinstance(alpha, (int, float)) or not 0 < alpha < math.inf:
            raise ConfigError(f"alpha must be a number above 0, got {alpha!r}.")
        self.scaling = alpha / rank
        self.down = nn.Parameter(torch.empty(rank, inputs))
        self.up = nn.Parameter(torch.zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the changed weight."""
        return weight + self.scaling * (self.up @ self.down).view(weight.shape)

    def extra_repr(self) -> str:
        """The recipe in one line."""
        return f"rank={self.up.shape[1]}, scaling={self.scaling:g}"


def add_lora(model: nn.Module, *, rank: int = 4, alpha: float | None = None, rules: Iterable[Rule] = ()) -> list[str]:
    """Freeze a quantized network and give its layers low-rank changes to learn, in place.

    Of the rest only what quantizers learn (steps, offsets, shifts) goes on learning.

    Args:
        model: Network of :func:`vsrq.quant.prepare` or :func:`vsrq.quant.prepare_nf4`, residual layers included.
        rank: Rank of the changes.
        alpha: Their strength; by default the rank, a factor of 1.
        rules: Mappings with ``pattern`` and any of ``rank``, ``alpha`` and ``lora`` (``False`` freezes the layer as it
            is); the first match wins.

    Returns:
        Names of the layers that got one.

    Raises:
        ConfigError: A value is out of range (names the layer), a rule matches nothing, no layer is quantized or none
            is left, or the network has such changes already.
    """
    if any(isinstance(module, LoRA) for module in model.modules()):
        raise ConfigError("the network has LoRA already; merge it first.")
    book = RuleBook(rules, ["rank", "alpha", "lora"])
    layers = {name: m for name, m in model.named_modules() if isinstance(m, (NF4Layer, QuantLayer))}
    if not layers:
        raise ConfigError("LoRA needs quantized layers; call prepare() or prepare_nf4() first.")
    changes: dict[str, LoRA] = {}
    for name, layer in layers.items():
        settings: dict[str, Any] = {"rank": rank, "alpha": alpha, **book.settings(name)}
        if settings.pop("lora", True):
            changes[name] = _change(name, layer, **settings)
    book.check_all_used(layers)
    if not changes:
        raise ConfigError("the rules leave no layer with LoRA; remove a lora=False or `lora` altogether.")
    model.requires_grad_(False)
    for _, module in calibratables(model):
        module.requires_grad_(True)
    for name, change in changes.items():
        layer = layers[name]
        if isinstance(layer, NF4Layer):
            layer.lora = change
        else:
            parametrize.register_parametrization(layer, "weight", change)
    return list(changes)


def _change(name: str, layer: NF4Layer | QuantLayer, rank: Any, alpha: Any) -> LoRA:
    weight = layer.nf4() if isinstance(layer, NF4Layer) else layer.weight
    try:
        return LoRA(weight.shape, rank, rank if alpha is None else alpha).to(weight.device)
    except ConfigError as error:
        raise ConfigError(f"layer {name}: {error}") from error


@torch.no_grad()
def merge_lora(model: nn.Module) -> Mapping[str, str]:
    """Put all low-rank changes into the weights, in place.

    Layers on a uniform grid compute exactly what they did and are ordinary quantized layers afterwards. The sum of an
    NF4 weight and a change lies on no NF4 grid: such layers, and NF4 layers without a change, become float.

    Args:
        model: Network of :func:`add_lora` or :func:`vsrq.quant.prepare_nf4`, changed in place; everything trains again.

    Returns:
        What became of each layer, ``'quantized'`` or ``'float'``, by name.

    Raises:
        ConfigError: There is nothing to merge.
    """
    done: dict[str, str] = {}
    for name, module in model.named_modules():
        if isinstance(module, NF4Layer):
            done[name] = "float"
        elif isinstance(module, QuantLayer) and parametrize.is_parametrized(module, "weight"):
            done[name] = "quantized"
    if not done:
        raise ConfigError(f"{type(model).__name__} has neither LoRA nor NF4 layers; there is nothing to merge.")
    swap_layers(model, [n for n, kind in done.items() if kind == "float"], lambda _, m: m.to_float())  # type: ignore[operator]
    for name, kind in done.items():
        if kind == "quantized":
            parametrize.remove_parametrizations(model.get_submodule(name), "weight", leave_parametrized=True)
    model.requires_grad_(True)
    return done
