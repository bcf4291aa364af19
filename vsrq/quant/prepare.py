"""Swap float layers by quantized ones, in place, by rules."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from vsrq.errors import ConfigError
from vsrq.quant.calibratable import calibratables, name_calibratables
from vsrq.quant.layers import QUANT_LAYERS, QuantLayer, act_quantizer, weight_quantizer
from vsrq.quant.quantizer import FLOAT_BITS, UniformQuantizer
from vsrq.quant.rules import Rule, RuleBook, first_match, merge

DEFAULT_WEIGHT: dict[str, Any] = dict(type="MSE", bits=8)
# not MSE: later layers see a clipped activation as structure, see docs/quantization.md
DEFAULT_ACT: dict[str, Any] = dict(type="MinMax", bits=8)


@dataclass(frozen=True)
class LayerRow:
    """One line of the table :func:`prepare` returns."""

    name: str
    type: str
    weight_bits: int
    act_bits: int
    role: str


def replace_module(model: nn.Module, name: str, new: nn.Module) -> None:
    """Put ``new`` where ``model`` has the submodule ``name``."""
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, new)


def swap_layers(model: nn.Module, names: Iterable[str], swap: Callable[[str, nn.Module], nn.Module]) -> None:
    """Replace submodules by ``swap(name, module)``; a module that has several names stays shared.

    Args:
        model: Network, changed in place.
        names: First name of each module to replace.
        swap: Makes the new module.
    """
    aliases: dict[int, list[str]] = defaultdict(list)
    for name, module in model.named_modules(remove_duplicate=False):
        aliases[id(module)].append(name)
    # children first: a swapped layer takes over children that are already swapped
    for name in reversed(list(names)):
        module = model.get_submodule(name)
        new = swap(name, module)
        for alias in aliases[id(module)]:
            replace_module(model, alias, new)


def prepare(
    model: nn.Module,
    *,
    weight: Mapping[str, Any] | None = None,
    act: Mapping[str, Any] | None = None,
    rules: Iterable[Rule] = (),
    roles: Mapping[str, str] | None = None,
) -> list[LayerRow]:
    """Quantize the layers of a float network in place.

    All layers of the types in ``QUANT_LAYERS`` are swapped, with the recipe ``weight`` / ``act``; a rule
    overrides single keys of it for the layers its pattern matches, or leaves them float with
    ``quantize=False``.

    Args:
        model: Float network, changed in place.
        weight: Config of the weight quantizers: ``type`` (see ``vsrq.quant.presets``; MSE by default), ``bits`` (8)
            and any other setting. Symmetric and per output channel unless the type says otherwise.
        act: The same of the activation quantizers (MinMax by default); affine and per tensor unless the type says
            otherwise.
        rules: Mappings with ``pattern`` and any of ``weight``, ``act``, ``quantize``; the first match wins.
        roles: Glob patterns over layer names to the role printed in the table.

    Returns:
        The table, one row per quantizable layer, in the network's order.

    Raises:
        ConfigError: A rule matches nothing, a key is unknown, a value is out of range, or the network has no
            quantizable layer or is quantized already.
    """
    base_weight, base_act = merge(DEFAULT_WEIGHT, weight), merge(DEFAULT_ACT, act)
    book = RuleBook(rules, ["weight", "act", "quantize"])
    modules = dict(model.named_modules())
    if any(isinstance(module, QuantLayer) for module in modules.values()):
        raise ConfigError("the network is quantized already; prepare() takes a float network.")
    names = [name for name, module in modules.items() if type(module) in QUANT_LAYERS]
    if not names:
        raise ConfigError(f"{type(model).__name__} has no layer that can be quantized.")

    chosen = {name: book.settings(name) for name in names}
    book.check_all_used(names)
    recipes = {
        name: (merge(base_weight, settings.get("weight")), merge(base_act, settings.get("act")))
        for name, settings in chosen.items()
        if settings.get("quantize", True)
    }
    for name, (weight_config, act_config) in recipes.items():
        check_recipe(name, modules[name].weight, weight_config, act_config)

    def swap(name: str, module: nn.Module) -> nn.Module:
        return QUANT_LAYERS[type(module)].from_float(module, *recipes[name])  # type: ignore[attr-defined]

    swap_layers(model, recipes, swap)
    name_calibratables(model)
    return [_row(name, model.get_submodule(name), roles or {}) for name in names]


def float_copy(model: nn.Module) -> nn.Module:
    """Return a copy of a quantized network that computes in float, with the weights as they are now."""
    copied = copy.deepcopy(model)
    for _, module in calibratables(copied):
        if isinstance(module, UniformQuantizer):
            module.bits, module.shift = FLOAT_BITS, None
    return copied


def check_recipe(
    name: str, weight: Tensor, weight_config: dict[str, Any], act_config: dict[str, Any], *, residual: bool = False
) -> None:
    """Raise :class:`ConfigError` with the layer's name for a recipe that cannot be built."""
    try:
        weight_quantizer(weight_config, weight)
        act_quantizer(act_config, None if residual else (1,))
    except ConfigError as error:
        raise ConfigError(f"layer {name}: {error}") from error


def _row(name: str, module: nn.Module, roles: Mapping[str, str]) -> LayerRow:
    weight_bits = act_bits = 32
    if isinstance(module, QuantLayer):
        weight_bits, act_bits = module.weight_quantizer.bits, module.act_quantizer.bits
    pattern = first_match(name, roles)
    return LayerRow(name, type(module).__name__, weight_bits, act_bits, roles[pattern] if pattern else "")
