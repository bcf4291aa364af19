"""An allocation of modes and bits as rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vsrq.quant.allocate import Option, bit_rules


def allocation_rules(chosen: Mapping[str, Option]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Write an allocation as rules, to be put before all others.

    Args:
        chosen: What :func:`vsrq.quant.allocate` chose.

    Returns:
        Rules of :func:`vsrq.quant.prepare` and of :func:`vsrq.residual.convert_residual`.
    """
    quant = bit_rules(chosen)
    residual = [
        rule if option.mode == "residual" else dict(pattern=rule["pattern"], residual=False)
        for rule, option in zip(quant, chosen.values(), strict=True)
    ]
    return quant, residual
