"""Quantizers by name: published recipes as settings of the one :class:`UniformQuantizer`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from vsrq.errors import ConfigError, check_keys, did_you_mean

Role = Literal["weight", "act"]
Settings = Mapping[str, Any]

# settings a quantizer's config may hold beside `type`; what depends on the layer is added by the layer
SETTINGS = (
    "bits",
    "symmetric",
    "signed",
    "axis",
    "observer",
    "learn",
    "learn_offset",
    "rounding",
    "shift",
    "dynamic",
    "power_of_two",
    "adaptive",
    "policy",
    "per_part",
)
_BASE: dict[Role, Settings] = {
    "weight": dict(bits=8, symmetric=True, signed=True, axis=0),
    "act": dict(bits=8, symmetric=False, per_part=True),
}
_TENSOR = dict(symmetric=True, axis=None)
_LSQ = dict(_TENSOR, observer=dict(type="MeanAbs"), learn="step")
_RLQ = dict(_LSQ, rounding=dict(type="tanh", sharpness=1.0))
_MIN_MAX = dict(observer=dict(type="MinMax"))

PRESETS: dict[str, dict[Role, Settings]] = {}


def register_preset(name: str, *, weight: Settings | None = None, act: Settings | None = None) -> None:
    """Give a recipe a name, so that ``dict(type=name, ...)`` works wherever a quantizer is configured.

    Args:
        name: The name; an existing one is replaced.
        weight: Settings for weights, on top of 8 bit, symmetric, per output channel; ``None`` if the recipe is not
            for weights.
        act: Settings for activations, on top of 8 bit, affine, per tensor; ``None`` likewise.

    Raises:
        ConfigError: A setting is unknown, or there is neither ``weight`` nor ``act``.
    """
    recipe: dict[Role, Settings] = {}
    roles: tuple[tuple[Role, Settings | None], ...] = (("weight", weight), ("act", act))
    for role, settings in roles:
        if settings is not None:
            check_keys(settings, SETTINGS, f"{role} of preset {name}")
            recipe[role] = dict(settings)
    if not recipe:
        raise ConfigError(f"preset {name!r} needs settings for weight, act or both.")
    PRESETS[name] = recipe


def resolve(config: Settings, role: Role) -> dict[str, Any]:
    """Return all settings of a quantizer: those of its role, then of its preset, then its own.

    Args:
        config: ``type`` (a key of ``PRESETS``; ``'MSE'`` by default) and any of ``SETTINGS``.
        role: What is to be quantized.

    Raises:
        ConfigError: The type or a key is unknown, or the recipe is not for this role.
    """
    own = dict(config)
    name = own.pop("type", "MSE")
    if name not in PRESETS:
        raise ConfigError(
            f"unknown quantizer type {name!r}{did_you_mean(name, PRESETS)}. Allowed: {', '.join(PRESETS)}."
        )
    if role not in PRESETS[name]:
        fitting = ", ".join(key for key, recipe in PRESETS.items() if role in recipe)
        what = {"weight": "weights", "act": "activations"}[role]
        raise ConfigError(f"quantizer {name} is not for {what}. Allowed: {fitting}.")
    check_keys(own, SETTINGS, role)
    return {**_BASE[role], **PRESETS[name][role], **own}


register_preset("MinMax", weight=_MIN_MAX, act=_MIN_MAX)
register_preset("EMAMinMax", weight=_MIN_MAX, act=dict(observer=dict(type="EMAMinMax")))
register_preset("MSE", weight=dict(observer=dict(type="MSE")), act=dict(observer=dict(type="MSE")))
register_preset(
    "Percentile",
    weight=dict(observer=dict(type="Percentile", percentile=99.0)),
    act=dict(observer=dict(type="Percentile", percentile=99.9)),
)
# the weights' clip at a percentile times a learned factor [ODM, ECCV 2024]
register_preset(
    "LearnedPercentile",
    weight=dict(_TENSOR, observer=dict(type="Percentile", percentile=99.0), learn="step"),
    act=dict(observer=dict(type="Percentile", percentile=99.9), learn="step"),
)
register_preset("LSQ", weight=_LSQ, act=_LSQ)  # Esser et al., ICLR 2020
# Bhalgat et al., CVPRW 2020: a learned offset for activations
register_preset(
    "LSQPlus",
    weight=dict(_LSQ, observer=dict(type="MSE")),
    act=dict(symmetric=False, observer=dict(type="MSE"), learn="step", learn_offset=True),
)
register_preset("RLQ", weight=_RLQ, act=dict(_RLQ, shift=True))  # Qin et al., QuantSR, NeurIPS 2023
register_preset("PACT", act=dict(_MIN_MAX, symmetric=True, learn="clip"))  # Choi et al., 2018
# Li et al., ECCV 2020: weights over their whole range, activations with a learned clip
register_preset(
    "PAMS", weight=dict(_TENSOR, **_MIN_MAX), act=dict(symmetric=True, observer=dict(type="EMAMinMax"), learn="clip")
)
register_preset("Dynamic", act=dict(_MIN_MAX, dynamic=True))
