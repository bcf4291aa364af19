"""What the residual benchmark compares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

KEY_PERIOD = 8


@dataclass(frozen=True)
class Setting:
    """One row per clip.

    Attributes:
        name: As it appears in the table.
        family: Rows of one family make one curve.
        bits: Of weights and activations of frames, or of key frames; 32 for float.
        residual: Arguments of :func:`vsrq.residual.convert_residual`, or ``None``.
        budget: BOPs/MAC over which mode and bits of all layers are shared out; ``None`` for the same everywhere.
        modes: Modes a budget may be spent on.
        tile_budget: BOPs/MAC to which the coarseness of tiles is fitted; ``None`` without tiles.
    """

    name: str
    family: str
    bits: int = 8
    residual: Mapping[str, Any] | None = field(default=None)
    budget: float | None = None
    modes: tuple[str, ...] = ("frame", "residual")
    tile_budget: float | None = None


def _frame(bits: int) -> Setting:
    return Setting(f"W{bits}A{bits}", "frame", bits)


def _both(weight: int, act: int | None = None, **more: Any) -> dict[str, Any]:
    return dict(weight=dict(bits=weight), act=dict(bits=act or weight), **more)


def _leaky(bits: int, **more: Any) -> Setting:
    return Setting(f"res W{bits}A{bits}", "residual", bits, _both(bits, **more))


def _mixed(budget: float) -> list[Setting]:
    return [
        Setting(f"frame mixed {budget:g}", "frame, shared out", budget=budget, modes=("frame",)),
        Setting(f"res mixed {budget:g}", "residual, shared out", residual={}, budget=budget),
    ]


_SMALL = dict(input="float16", output="float16")
SETTINGS = {
    setting.name: setting
    for setting in (
        Setting("float", "float", 32),
        *(_frame(bits) for bits in (8, 6, 5, 4, 3, 2)),
        *(_leaky(bits) for bits in (6, 5, 4, 3)),
        Setting("ResQ 8/8, 4/4", "ResQ (a = 1)", 8, _both(4, period=KEY_PERIOD, coefficient=1.0)),
        Setting("key 8/8, res 4/4", "residual, 8-bit keys", 8, _both(4, period=KEY_PERIOD)),
        Setting("key 8/8, res 8/4", "residual, 8-bit keys", 8, _both(8, 4, period=KEY_PERIOD)),
        *(setting for budget in (9, 16, 22, 25, 36) for setting in _mixed(budget)),
        Setting("res W4A4, fp16 state", "residual, small state", 4, _both(4, storage=_SMALL)),
        Setting("res W4A4, codes", "residual, small state", 4, _both(4, storage=dict(input="uint8", output="float16"))),
        *(
            Setting(f"tiles {budget}", "residual, bits per tile", 8, _both(8, tiles=dict(size=8)), tile_budget=budget)
            for budget in (25, 36)
        ),
    )
}
