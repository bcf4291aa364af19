"""Sensitivity of every layer to its bits on a clip, and mixed precision under a budget: table, JSON, plot, rules."""

from __future__ import annotations

import json
import pprint
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmengine.registry import DefaultScope
from torch import Tensor, nn
from tqdm import tqdm

from vsrq.apis.config import load_config
from vsrq.apis.reports import write_plot, write_texts
from vsrq.datasets.clips import Degradation, load_clip, make_pair
from vsrq.errors import ConfigError
from vsrq.evaluation.functional import psnr
from vsrq.models import QuantizedVSR
from vsrq.quant import allocate, calibrate, measure_sensitivity
from vsrq.quant.sensitivity import Bits, Trial, options_from, rules_from
from vsrq.quant.weight_cache import quantize_weights_once
from vsrq.registry import MODELS


def analyse(
    config: str,
    clip: str,
    *,
    checkpoint: str | None = None,
    start: int = 0,
    frames: int = 5,
    crop: int = 256,
    degradation: Degradation = "BI",
    bits: Sequence[str] = ("3", "4", "6", "8"),
    layers: Sequence[str] = ("*",),
    budget: float | None = None,
    out: str = "work_dirs/sensitivity",
) -> list[Trial]:
    """Quantize every layer of an experiment's network alone and write what that costs.

    Args:
        config: Config of a quantized experiment: its recipes are tried; layers to which its rules give bits keep them.
        clip: High-resolution clip, a folder of frames or a video; it is degraded, upscaled and compared.
        checkpoint: Float weights; by default the config's ``float_checkpoint``.
        start: First frame.
        frames: How many frames.
        crop: Size of the square cut from the middle of each frame, in high-resolution pixels.
        degradation: ``'BI'`` or ``'BD'``.
        bits: Widths to try, ``'4'`` for weight and activation alike or ``'4/8'`` for weight / activation.
        layers: Glob patterns of the layers to try.
        budget: BOPs/MAC of all tried layers together; writes the best rules within it.
        out: Folder for ``sensitivity.{md,json,png}`` and ``sensitivity_rules.py``.

    Raises:
        ConfigError: The config is no experiment on a uniform grid, a value is out of range, or the budget cannot be
            met; says the smallest that can.
        CheckpointError: The weights are missing, broken or do not fit.
        DataError: The clip is missing, too short or too small.
    """
    widths = [parse_bits(text) for text in bits]
    model_config = load_config(config).model
    quant = model_config.get("quant")
    if model_config.get("type") != "QuantizedVSR" or quant is None:
        raise ConfigError(f"{config} is no experiment on a uniform grid; use one with quant=dict(...).")
    quant = quant.to_dict()
    quant.get("act", {}).pop("adaptive", None)  # the widths that are asked for are tried, not shifted ones
    weights = checkpoint or model_config.get("float_checkpoint")
    architecture = {**model_config.architecture, "float_checkpoint": weights}
    low, truth = _pair(clip, start, frames, crop, degradation)
    with DefaultScope.overwrite_default_scope("vsrq"):
        net = MODELS.build(architecture).generator.eval()

    def score(output: Tensor) -> float:
        # not rounded to 8 bits: the drop of a single layer may be far smaller than a grey level
        return psnr(output[0] * 255, truth * 255, convert_to="Y", rounding=False).mean().item()

    trials = measure_sensitivity(
        net,
        low,
        run=_upscale,
        score=score,
        bits=widths,
        weight=quant.get("weight"),
        act=quant.get("act"),
        rules=quant.get("rules", ()),
        layers=layers,
        progress=lambda todo: tqdm(todo, desc="sensitivity", disable=None),
    )
    float_psnr = trials[0].score + trials[0].drop
    report: dict[str, Any] = dict(clip=str(clip), float_psnr=float_psnr, trials=[asdict(trial) for trial in trials])
    text, folder = markdown(trials, float_psnr), Path(out)
    # written whatever becomes of the budget: the trials are what takes the time
    write_texts(folder, {"sensitivity.md": text, "sensitivity.json": json.dumps(report, indent=1)})
    write_plot(folder / "sensitivity.png", lambda pyplot: _draw(pyplot, trials))
    if budget is not None:
        chosen = allocate(options_from(trials), budget)
        rules = rules_from(net, chosen, quant.get("rules", ()))
        mixed = QuantizedVSR(architecture, quant={**quant, "rules": rules})
        calibrate(mixed, lambda: mixed.upscale(low))
        cost, output = mixed.cost(low)
        report["allocation"] = dict(
            budget=budget,
            bops_per_mac=cost.bops_per_mac(),
            psnr=score(output),
            bits={name: [option.weight_bits, option.act_bits] for name, option in chosen.items()},
        )
        text += _allocation_text(report)
        write_texts(
            folder,
            {
                "sensitivity.md": text,
                "sensitivity.json": json.dumps(report, indent=1),
                "sensitivity_rules.py": _rules_text(report, rules),
            },
        )
    sys.stdout.write(text)
    return trials


def parse_bits(text: str) -> Bits:
    """Read ``'4'`` (weight and activation) or ``'4/8'`` (weight / activation).

    Raises:
        ConfigError: It is neither.
    """
    parts = text.split("/")
    if len(parts) > 2 or not all(part.strip().isdecimal() for part in parts):
        raise ConfigError(f"bits {text!r}: allowed are a number as '4', or weight and activation as '4/8'.")
    return int(parts[0]), int(parts[-1])


def markdown(trials: Sequence[Trial], float_psnr: float) -> str:
    """Return the table: a row per layer, a column of PSNR drops per bit width."""
    pairs = sorted({(trial.weight_bits, trial.act_bits) for trial in trials})
    work = sum({trial.name: trial.macs for trial in trials}.values())
    drops = {(trial.name, trial.weight_bits, trial.act_bits): f"{trial.drop:.3f}" for trial in trials}
    lines = [
        f"Float: {float_psnr:.3f} dB (PSNR-Y). Drop in dB with one layer alone at weight/activation bits:",
        "",
        f"| layer | MACs % | {' | '.join(f'{weight}/{act}' for weight, act in pairs)} |",
        f"|--|--:|{'--:|' * len(pairs)}",
    ]
    for name, macs in {trial.name: trial.macs for trial in trials}.items():
        cells = " | ".join(drops.get((name, *pair), "") for pair in pairs)
        lines.append(f"| {name} | {100 * macs / work:.2f} | {cells} |")
    return "\n".join(lines) + "\n"


def _pair(clip: str, start: int, frames: int, crop: int, degradation: Degradation) -> tuple[Tensor, Tensor]:
    """Return input ``(1, t, 3, h, w)`` and ground truth ``(t, 3, 4h, 4w)``, the middle of the frames."""
    if frames < 2:
        raise ConfigError(f"frames must be 2 or more, got {frames}: a single one has no motion.")
    if crop < 64 or crop % 4:
        raise ConfigError(f"crop must be a multiple of 4 from 64 on, got {crop}.")
    full = load_clip(clip, start=start, stop=start + frames)
    top, left = ((size - min(size, crop)) // 2 for size in full.shape[-2:])
    low, truth = make_pair(full[..., top : top + crop, left : left + crop], degradation)
    return low[None], truth


def _upscale(net: nn.Module, clip: Tensor) -> Tensor:
    with quantize_weights_once():
        return net.upscale(clip)  # type: ignore[operator]


def _allocation_text(report: dict[str, Any]) -> str:
    found = report["allocation"]
    counts = Counter(f"{weight}/{act}" for weight, act in found["bits"].values())
    layers = "layers by bits: " + ", ".join(f"{count} x {bits}" for bits, count in sorted(counts.items()))
    return (
        f"\nWithin {found['budget']:g} BOPs/MAC: {layers}. The whole network: {found['bops_per_mac']:.2f} BOPs/MAC, "
        f"{found['psnr']:.3f} dB ({report['float_psnr'] - found['psnr']:.3f} below float).\n"
    )


def _rules_text(report: dict[str, Any], rules: list[dict[str, Any]]) -> str:
    return (
        f"# Mixed precision within {report['allocation']['budget']:g} BOPs/MAC, from the sensitivity on "
        f"{report['clip']}.\n# In an experiment: add this file to _base_ and set quant=dict(rules=_base_.mixed_rules, "
        f"...).\nmixed_rules = {pprint.pformat(rules, width=110, sort_dicts=False)}\n"
    )


def _draw(pyplot: Any, trials: Sequence[Trial]) -> Any:
    names = list(dict.fromkeys(trial.name for trial in trials))
    figure, axes = pyplot.subplots(figsize=(max(6, 0.12 * len(names)), 4))
    for pair in sorted({(trial.weight_bits, trial.act_bits) for trial in trials if not trial.fixed}):
        found = {t.name: t.drop for t in trials if (t.weight_bits, t.act_bits) == pair}
        where = [index for index, name in enumerate(names) if name in found]
        axes.plot(where, [found[names[index]] for index in where], ".-", label=f"{pair[0]}/{pair[1]} bit")
    axes.set(xlabel="layer, in the order of the table", ylabel="PSNR drop, dB")
    axes.set_yscale("symlog", linthresh=1e-3)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure
