"""The table of the baselines, and how it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

import vsrq
from vsrq.benchmark.tables import table
from vsrq.benchmark.toolkits import TOOLKITS


def markdown(
    rows: Mapping[Any, Mapping[str, Any]], clips: Sequence[str], args: Any, problems: Mapping[str, str]
) -> str:
    """Return the table of the methods that have a row for every clip, and its notes.

    Args:
        rows: By method (its name and its bits) and clip.
        clips: In the order of the columns.
        args: The command's arguments.
        problems: Why a method has no rows, by its name.
    """
    titles = ["method", "bits", *(f"{clip} PSNR / SSIM" for clip in clips)]
    titles += ["mean PSNR", "to float", "PSNR to float output", "E_warp x 1000", "MACs quantized"]
    lines, names, reference = [], [], None
    for method in dict.fromkeys(method for method, _ in rows):
        found = [rows[method, clip] for clip in clips if (method, clip) in rows]
        if len(found) < len(clips):
            continue
        mean = _mean(found, "PSNR")
        if method.name == "float":
            reference = mean
        gap = "-" if method.name == "float" or reference is None else f"{mean - reference:+.2f}"
        cells = [f"{row['PSNR']:.2f} / {row['SSIM']:.4f}" for row in found]
        macs = _format(found, "quantized_macs", lambda value: f"{100 * value:.1f} %")
        to_float = _format(found, "psnr_to_float", lambda value: f"{value:.2f}")
        e_warp = f"{1000 * _mean(found, 'e_warp'):.3f}"
        lines.append([method.name, str(method.bits), *cells, f"{mean:.2f}", gap, to_float, e_warp, macs])
        names.append(method.name)
    return "\n".join([table(titles, lines), "", *_notes(names, args, problems)]) + "\n"


def _notes(names: Sequence[str], args: Any, problems: Mapping[str, str]) -> list[str]:
    part = "whole frames" if args.crop is None else f"the central {args.crop} x {args.crop} pixels"
    notes = [
        f"First {args.frames} frames of each clip, {part}, x4 bicubic, scored on the luma of 8-bit frames; PSNR to the "
        f"float output over all colours, not rounded. All calibrated on the same {args.calibration_frames} frames of "
        "other videos, without training. MACs quantized: those in layers of which weights and input are quantized. "
        f"PyTorch {torch.__version__}.",
        "",
        f"- vsrq {vsrq.__version__}: MinMax, Percentile and MSE have weights symmetric per channel and inputs affine "
        "per tensor; LSQ both symmetric per tensor, its steps as calibrated. Ranges by the rule in the name, taken in "
        "the quantized recurrence. The flow network is at 8 bit at all bits. Float: its two coarsest levels, biases, "
        "what lies between the layers.",
    ]
    for name, toolkit in TOOLKITS.items():
        if name in names:
            versions = ", ".join(" ".join(item) for item in toolkit.versions().items())
            notes.append(f"- {name} ({versions}): {toolkit.recipe}. Ranges from the float recurrence.")
    return notes + [f"- {name}: {problem}" for name, problem in problems.items()]


def _mean(rows: Sequence[Mapping[str, Any]], key: str) -> float:
    return sum(float(row[key]) for row in rows) / len(rows)


def _format(rows: Sequence[Mapping[str, Any]], key: str, show: Any) -> str:
    return "-" if any(row[key] is None for row in rows) else show(_mean(rows, key))
