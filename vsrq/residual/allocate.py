"""Mode and bits of every layer, chosen together under one budget of bit operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from vsrq.errors import ConfigError
from vsrq.residual.options import Option


def allocate(options: Mapping[str, Sequence[Option]], budget: float) -> dict[str, Option]:
    """Choose one option per layer with the least noise in all, by integer programming.

    Args:
        options: What :func:`vsrq.residual.measure_options` found.
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


def allocation_rules(chosen: Mapping[str, Option]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Write an allocation as rules, to be put before all others.

    Returns:
        Rules of :func:`vsrq.quant.prepare` and of :func:`vsrq.residual.convert_residual`.
    """
    quant, residual = [], []
    for name, option in chosen.items():
        bits = dict(weight=dict(bits=option.weight_bits), act=dict(bits=option.act_bits))
        quant.append(dict(pattern=name, **bits))
        residual.append(dict(pattern=name, **(bits if option.mode == "residual" else dict(residual=False))))
    return quant, residual
