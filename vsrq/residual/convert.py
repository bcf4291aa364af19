"""Turn frame-quantized layers into residual ones, by rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from vsrq.errors import ConfigError
from vsrq.quant.calibratable import name_calibratables
from vsrq.quant.layers import QuantLayer
from vsrq.quant.prepare import DEFAULT_ACT, DEFAULT_WEIGHT, check_recipe, swap_layers
from vsrq.quant.rules import Rule, RuleBook, merge
from vsrq.residual.layers import RESIDUAL_LAYERS, ResidualLayer
from vsrq.residual.prediction import LeakyPrediction
from vsrq.residual.schedule import KeyFrameSchedule


@dataclass(frozen=True)
class ResidualRow:
    """One line of the table :func:`convert_residual` returns."""

    name: str
    key_weight_bits: int
    key_act_bits: int
    residual_weight_bits: int
    residual_act_bits: int


def convert_residual(
    model: nn.Module,
    *,
    weight: Mapping[str, Any] | None = None,
    act: Mapping[str, Any] | None = None,
    period: int | None = None,
    warmup: int = 1,
    coefficient: float | Literal["calibrated"] = "calibrated",
    rules: Iterable[Rule] = (),
) -> list[ResidualRow]:
    """Give quantized linear layers a temporal residual, in place.

    The key frames keep the recipe of :func:`vsrq.quant.prepare`. Layers that are not linear in time (deformable
    convolutions) and layers left float stay as they are.

    Args:
        model: Network prepared by :func:`vsrq.quant.prepare`, changed in place.
        weight: Config of the residual weight quantizers, with the defaults of ``prepare``.
        act: Config of the residual quantizers, with the defaults of ``prepare``.
        period: Distance of key frames in calls; ``None`` for none after the first ones.
        warmup: Number of first calls that are key frames.
        coefficient: Of the prediction: ``'calibrated'`` per layer, or a number in [0, 1].
        rules: Mappings with ``pattern`` and any of ``weight``, ``act``, ``period``, ``warmup``,
            ``coefficient``, ``residual`` (``False`` keeps frame quantization); the first match wins.

    Returns:
        The table, one row per residual layer.

    Raises:
        ConfigError: A rule matches nothing or names a layer that is not linear, a key is unknown or a value out
            of range, or the network has no quantized linear layer.
    """
    base = dict(
        weight=merge(DEFAULT_WEIGHT, weight),
        act=merge(DEFAULT_ACT, act),
        period=period,
        warmup=warmup,
        coefficient=coefficient,
    )
    book = RuleBook(rules, [*base, "residual"])
    quantized = {name: m for name, m in model.named_modules() if isinstance(m, QuantLayer)}
    linear = [name for name, module in quantized.items() if type(module) in RESIDUAL_LAYERS]
    if not linear:
        raise ConfigError("residual quantization needs quantized convolutions or linear layers; call prepare() first.")
    recipes: dict[str, dict[str, Any]] = {}
    for name in linear:
        settings = book.settings(name)
        if not settings.pop("residual", True):
            continue
        recipe = {**base, **settings}
        for key in ("weight", "act"):
            recipe[key] = merge(base[key], settings.get(key))  # type: ignore[arg-type]
        check_recipe(name, quantized[name].weight, recipe["weight"], recipe["act"], residual=True)
        recipe["prediction"] = LeakyPrediction(recipe.pop("coefficient"))
        recipe["schedule"] = KeyFrameSchedule(period=recipe.pop("period"), warmup=recipe.pop("warmup"))
        recipes[name] = recipe
    _refuse_nonlinear(book, quantized)
    book.check_all_used(linear)

    def swap(name: str, module: nn.Module) -> nn.Module:
        return RESIDUAL_LAYERS[type(module)].from_quant(module, **recipes[name])  # type: ignore[index,arg-type]

    swap_layers(model, recipes, swap)
    name_calibratables(model)
    return [
        ResidualRow(
            name,
            m.weight_quantizer.bits,
            m.act_quantizer.bits,
            m.residual_weight_quantizer.bits,
            m.residual_act_quantizer.bits,
        )
        for name, m in model.named_modules()
        if isinstance(m, ResidualLayer)
    ]


def _refuse_nonlinear(book: RuleBook, quantized: Mapping[str, QuantLayer]) -> None:
    """Raise for a rule that asks for residuals and reaches only layers that are not linear in time."""
    for name, module in quantized.items():
        if type(module) in RESIDUAL_LAYERS or not book.unused(name):
            continue
        if book.settings(name).get("residual", True):
            raise ConfigError(
                f"layer {name} is a {type(module).__name__}, which is not linear in time: it can only be quantized "
                "per frame. Remove the rule or set residual=False."
            )
