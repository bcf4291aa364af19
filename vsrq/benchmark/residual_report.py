"""The residual benchmark's table and plots."""

from __future__ import annotations

import argparse
import os
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vsrq.benchmark.residual_settings import SETTINGS

Rows = Mapping[str, Mapping[str, Mapping[str, Any]]]

COLUMNS = (
    ("PSNR-Y", "psnr_y", "{:.2f}"),
    ("E_warp x 1000", "e_warp_1000", "{:.3f}"),
    ("tOF", "tof", "{:.3f}"),
    ("BOPs/MAC", "bops_per_mac", "{:.1f}"),
    ("peak", "peak_bops_per_mac", "{:.1f}"),
    ("state MB", "state_mb", "{:.1f}"),
)


def markdown(rows: Rows, args: argparse.Namespace) -> str:
    """Return one table per clip, with how it was made."""
    part = "whole frames" if args.crop is None else f"the central {args.crop} x {args.crop} pixels"
    parts = [
        f"{args.frames} frames, {part}; `{args.config}` with `{Path(args.checkpoint).name}`, x4 bicubic. Post-training "
        "quantization, calibrated on other videos. BOPs/MAC are simulated bit operations, amortized over the clip, "
        "without the flow network, which is at 8 bit in all quantized rows; the peak is the dearest frame."
    ]
    for clip, settings in rows.items():
        titles = ["setting", *(title for title, _, _ in COLUMNS)]
        lines = [f"### {clip}", "", f"| {' | '.join(titles)} |", f"|--|{'--:|' * len(COLUMNS)}"]
        for name, row in settings.items():
            values = {**row, "e_warp_1000": 1000 * row["e_warp"]}
            cells = [form.format(values[key]) for _, key, form in COLUMNS]
            lines.append(f"| {' | '.join([name, *cells])} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def curves(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Return PSNR-Y over BOPs/MAC by family of settings, float left out, points in rising cost."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for name, row in settings.items():
        if SETTINGS[name].bits != 32:
            found[SETTINGS[name].family].append((row["bops_per_mac"], row["psnr_y"]))
    return {family: sorted(points) for family, points in found.items()}


def write_report(rows: Rows, args: argparse.Namespace, folder: Path) -> None:
    """Write ``residual.md`` and, where matplotlib is installed, ``residual_<clip>.png``; print the tables."""
    folder.mkdir(parents=True, exist_ok=True)
    text = markdown(rows, args)
    partial = folder / "residual.md.partial"
    partial.write_text(text)
    os.replace(partial, folder / "residual.md")
    sys.stdout.write(text)
    try:
        import matplotlib
    except ImportError:
        sys.stdout.write("\nmatplotlib is not installed: no plots.\n")
        return
    matplotlib.use("Agg")
    for clip, settings in rows.items():
        if len(settings) > 1:
            _plot(clip, settings, folder / f"residual_{clip}.png")


def _plot(clip: str, settings: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    for family, points in curves(settings).items():
        axes.plot(*zip(*points, strict=True), marker="o", label=family, linestyle="-" if len(points) > 1 else "")
    if "float" in settings:
        axes.axhline(settings["float"]["psnr_y"], color="grey", linestyle=":", label="float")
    axes.set(title=clip, xlabel="BOPs/MAC, amortized", ylabel="PSNR-Y, dB")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    partial = path.with_name(f"{path.name}.partial.png")
    figure.savefig(partial, dpi=100)
    os.replace(partial, path)
    pyplot.close(figure)
