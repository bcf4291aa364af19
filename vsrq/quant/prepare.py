"""Swap float layers by quantized ones, in place, by rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from vsrq.errors import ConfigError
from vsrq.quant.calibratable import name_calibratables
from vsrq.quant.layers import QUANT_LAYERS, QuantLayer
from vsrq.quant.rules import Rule, RuleBook, first_match, merge

DEFAULT_WEIGHT = dict(bits=8, symmetric=True, signed=True, axis=0, observer=dict(type="MSE"))
DEFAULT_ACT = dict(bits=8, symmetric=False, observer=dict(type="MSE"))


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


def swap_layers(
    model: nn.Module, select: Callable[[nn.Module], bool], swap: Callable[[str, nn.Module], nn.Module]
) -> None:
    """Replace every selected submodule by ``swap(name, module)``; a module shared by several names stays shared."""
    done: dict[int, nn.Module] = {}
    # children first: a swapped layer takes over children that are already swapped
    for name, module in reversed(list(model.named_modules(remove_duplicate=False))):
        if not name or not select(module):
            continue
        if id(module) not in done:
            done[id(module)] = swap(name, module)
        replace_module(model, name, done[id(module)])


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
        weight: Arguments of the weight quantizers, on top of 8 bit, symmetric, per channel, MSE.
        act: Arguments of the activation quantizers, on top of 8 bit, affine, per tensor, MSE.
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

    def swap(name: str, module: nn.Module) -> nn.Module:
        settings = book.settings(name)
        if not settings.get("quantize", True):
            return module
        recipe = merge(base_weight, settings.get("weight")), merge(base_act, settings.get("act"))
        try:
            return QUANT_LAYERS[type(module)].from_float(module, *recipe)  # type: ignore[attr-defined]
        except (ConfigError, TypeError) as error:
            raise ConfigError(f"layer {name}: {error}") from error

    swap_layers(model, lambda module: type(module) in QUANT_LAYERS, swap)
    book.check_all_used(names)
    name_calibratables(model)
    return [_row(name, model.get_submodule(name), roles or {}) for name in names]


def _row(name: str, module: nn.Module, roles: Mapping[str, str]) -> LayerRow:
    weight_bits = act_bits = 32
    if isinstance(module, QuantLayer):
        weight_bits, act_bits = module.weight_quantizer.bits, module.act_quantizer.bits
    pattern = first_match(name, roles)
    return LayerRow(name, type(module).__name__, weight_bits, act_bits, roles[pattern] if pattern else "")
