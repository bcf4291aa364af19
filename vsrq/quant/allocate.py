"""Bits of every layer, chosen together under one budget of bit operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from vsrq.errors import ConfigError


@dataclass(frozen=True)
class Option:
    """One way to quantize a layer.

    Attributes:
        mode: ``frame``, or ``residual`` where the layer has a past (see ``vsrq.residual``).
        weight_bits: Bit width of the weight.
        act_bits: Bit width of the input, or of its residual.
        cost: Bit operations over the measured clip.
        noise: Squared error it causes in the network's output, summed over the clip.
    """

    mode: str
    weight_bits: int
    act_bits: int
    cost: float
    noise: float


def allocate(options: Mapping[str, Sequence[Option]], budget: float) -> dict[str, Option]:
    """Choose one option per layer with the least noise in all, by integer programming.

    Args:
        options: Options by layer name; what :func:`vsrq.quant.sensitivity.measure_sensitivity` or
            :func:`vsrq.residual.measure_options` found.
        budget: Largest sum of costs, as a share of the cost at 1 x 1 bit: bit operations per multiply-accumulate.

    Raises:
        ConfigError: Even the cheapest options cost more.
    """
    flat = [(name, option) for name, choices in options.items() for option in choices]
    names = list(options)
    work = sum(choices[0].cost / (choices[0].weight_bits * choices[0].act_bits) for choices in options.values())
    cost = np.array([option.cost for _, option in flat]) / work
    least = sum(min(option.cost for option in choices) for choices in options.values()) / work
    if least > budget:
        raise ConfigError(f"a budget of {budget:g} BOPs/MAC cannot be met; the smallest possible is {least:.4g}.")
    noise = np.array([option.noise for _, option in flat])
    one_each = np.array([[float(name == owner) for owner, _ in flat] for name in names])
    found = milp(
        noise / max(noise.max(), 1e-300),
        constraints=[LinearConstraint(one_each, 1, 1), LinearConstraint(cost[None], -np.inf, budget * (1 + 1e-9))],
        integrality=np.ones(len(flat)),
        bounds=Bounds(0, 1),
        options=dict(mip_rel_gap=1e-4),
    )
    if found.x is None:
        raise ConfigError(f"no allocation of {budget:g} BOPs/MAC was found: {found.message}")
    return {flat[index][0]: flat[index][1] for index in np.flatnonzero(found.x > 0.5)}


def bit_rules(chosen: Mapping[str, Option]) -> list[dict[str, Any]]:
    """Write an allocation as rules of :func:`vsrq.quant.prepare`, one per layer, to be put before all others."""
    return [
        dict(pattern=name, weight=dict(bits=option.weight_bits), act=dict(bits=option.act_bits))
        for name, option in chosen.items()
    ]
