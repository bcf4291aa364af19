"""Turn frame-quantized layers into residual ones, by rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from vsrq.errors import ConfigError, check_keys
from vsrq.quant.calibratable import name_calibratables
from vsrq.quant.grouped import ActQuantizer
from vsrq.quant.layers import QuantLayer, act_quantizer
from vsrq.quant.prepare import DEFAULT_WEIGHT, check_recipe, swap_layers
from vsrq.quant.rules import Rule, RuleBook, merge
from vsrq.residual.coding import Coding, Loop, Reference, check_choice
from vsrq.residual.layers import RESIDUAL_LAYERS, Recipe, ResidualConv2d, ResidualLayer
from vsrq.residual.prediction import Coefficient, LeakyPrediction
from vsrq.residual.schedule import KeyFrameSchedule
from vsrq.residual.storage import Storage
from vsrq.residual.tiles import TileQuantizer
from vsrq.residual.triggers import KeyTrigger

DEFAULTS: dict[str, Any] = dict(
    weight=DEFAULT_WEIGHT,
    act=dict(type="MSE", bits=8),  # what a residual clips, the next ones make up for
    reference="prev",
    loop="closed",
    coefficient="calibrated",
    granularity="layer",
    period=None,
    warmup=1,
    offset=0,
    trigger=None,
    tiles=None,
    storage=dict(input="float32", output="float32"),
    truncate=None,
)
_NESTED = ("weight", "act", "storage")  # a rule overrides single keys of these
SETTINGS = (*DEFAULTS, "rules")


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
    reference: Reference = "prev",
    loop: Loop = "closed",
    coefficient: Coefficient = "calibrated",
    granularity: Literal["layer", "group"] = "layer",
    period: int | None = None,
    warmup: int = 1,
    offset: int = 0,
    trigger: Mapping[str, Any] | None = None,
    tiles: Mapping[str, Any] | None = None,
    storage: Mapping[str, Any] | None = None,
    truncate: int | None = None,
    rules: Iterable[Rule] = (),
) -> list[ResidualRow]:
    """Give quantized linear layers a temporal residual, in place.

    The key frames keep the recipe of :func:`vsrq.quant.prepare`. Layers that are not linear in time (deformable
    convolutions) and layers left float stay as they are.

    Args:
        model: Network prepared by :func:`vsrq.quant.prepare`, changed in place.
        weight: Config of the residual weight quantizers, with the defaults of ``prepare``.
        act: Config of the residual quantizers: MSE ranges and 8 bit by default, affine and per tensor.
        reference: See :class:`vsrq.residual.Coding`, as for ``loop`` and ``truncate``.
        loop: ``'closed'`` or ``'open'``.
        coefficient: See :class:`vsrq.residual.LeakyPrediction`.
        granularity: ``'layer'`` for one coefficient per layer, ``'group'`` for one per group of a grouped convolution,
            which for a depthwise one is a coefficient per channel.
        period: See :class:`vsrq.residual.KeyFrameSchedule`, as for ``warmup`` and ``offset``.
        warmup: Number of first calls that are key frames.
        offset: Calls by which the period is delayed.
        trigger: ``dict(type=..., threshold=...)``, see :class:`vsrq.residual.KeyTrigger`; ``None`` for no more key
            frames than the schedule's.
        tiles: ``dict(size=..., levels=..., coarseness=...)``, see :class:`vsrq.residual.TileQuantizer`, which takes
            the place of ``act`` then.
        storage: ``dict(input=..., output=...)``, see :class:`vsrq.residual.Storage`.
        truncate: Calls after which the graph of the memory is cut.
        rules: Mappings with ``pattern``, any of the settings above and ``residual`` (``False`` keeps frame
            quantization); the first match wins.

    Returns:
        The table, one row per residual layer.

    Raises:
        ConfigError: A rule matches nothing or names a layer that is not linear, a key is unknown or a value out
            of range, or no layer is left to be residual.
    """
    given = dict(
        reference=reference,
        loop=loop,
        coefficient=coefficient,
        granularity=granularity,
        period=period,
        warmup=warmup,
        offset=offset,
        trigger=trigger,
        tiles=tiles,
        truncate=truncate,
    )
    base = _override(DEFAULTS, dict(given, weight=weight or {}, act=act or {}, storage=storage or {}))
    book = RuleBook(rules, [*DEFAULTS, "residual"])
    quantized = {name: m for name, m in model.named_modules() if isinstance(m, QuantLayer)}
    linear = [name for name, module in quantized.items() if type(module) in RESIDUAL_LAYERS]
    if not linear:
        raise ConfigError("residual quantization needs quantized convolutions or linear layers; call prepare() first.")
    recipes = {}
    for name in linear:
        settings = book.settings(name)
        if settings.pop("residual", True):
            recipes[name] = _recipe(name, quantized[name], _override(base, settings))
    _refuse_nonlinear(book, quantized)
    book.check_all_used(linear)
    if not recipes:
        raise ConfigError("the rules leave no layer with a residual; remove a residual=False or `residual` altogether.")

    def swap(name: str, module: nn.Module) -> nn.Module:
        return RESIDUAL_LAYERS[type(module)].from_quant(module, recipes[name])  # type: ignore[index,arg-type]

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


def _override(base: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``settings`` in their place, nested ones key by key."""
    nested = {key: merge(base[key], settings.get(key)) for key in _NESTED}
    return {**base, **settings, **nested}


def _recipe(name: str, layer: QuantLayer, settings: Mapping[str, Any]) -> Recipe:
    """Build what makes one layer residual.

    Raises:
        ConfigError: See :func:`convert_residual`; the message begins with the layer's name.
    """
    check_recipe(name, layer.weight, settings["weight"], settings["act"], residual=True)
    try:
        check_keys(settings["storage"], ["input", "output"], "storage")
        storage = Storage(**settings["storage"])
        storage.check(layer.act_quantizer)
        return Recipe(
            weight=settings["weight"],
            act=_residual_quantizer(layer, settings),
            prediction=LeakyPrediction(settings["coefficient"], groups=_groups(layer, settings)),
            schedule=KeyFrameSchedule(**{key: settings[key] for key in ("period", "warmup", "offset")}),
            trigger=KeyTrigger.build(settings["trigger"]),
            coding=Coding(**{key: settings[key] for key in ("reference", "loop", "truncate")}),
            storage=storage,
        )
    except ConfigError as error:
        raise ConfigError(f"layer {name}: {error}") from error


def _residual_quantizer(layer: QuantLayer, settings: Mapping[str, Any]) -> ActQuantizer | TileQuantizer:
    if settings["tiles"] is None:
        return act_quantizer(settings["act"], None, layer.input_parts)
    if RESIDUAL_LAYERS[type(layer)] is not ResidualConv2d:
        raise ConfigError("tiles are for convolutions only; exclude this layer with a rule that sets tiles=None.")
    return TileQuantizer.build(settings["tiles"], layer.act_quantizer)


def _groups(layer: QuantLayer, settings: Mapping[str, Any]) -> int | None:
    check_choice("granularity", settings["granularity"], ("layer", "group"))
    # with a single group there is no other choice: each output channel mixes all input channels
    groups = getattr(layer, "groups", 1)
    return groups if settings["granularity"] == "group" and groups > 1 else None


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
