"""Statistics of residual layers on a clip: table, JSON and plot."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import DefaultScope

from vsrq.apis.config import load_config
from vsrq.apis.reports import write_plot, write_texts
from vsrq.datasets.clips import load_clip
from vsrq.errors import ConfigError
from vsrq.models import QuantizedVSR, load_weights
from vsrq.registry import MODELS
from vsrq.residual import LayerStats, residual_stats

COLUMNS = (
    ("calls", "calls", "d"),
    ("a", "coefficient", ".3f"),
    ("rho", "rho", ".3f"),
    ("var(res)/var(x)", "variance_ratio", ".3f"),
    ("clipped %", "clip_percent", ".2f"),
    ("bits", "act_bits", "d"),
    ("res. bits", "residual_bits", "d"),
    ("SQNR frame dB", "sqnr_frame", ".1f"),
    ("SQNR res. dB", "sqnr_residual", ".1f"),
    ("gain dB", "gain", "+.1f"),
)


def measure(config: str, checkpoint: str, clip: str, *, start: int, frames: int, out: str) -> list[LayerStats]:
    """Run a clip through a calibrated network and write the statistics of its residual layers.

    Args:
        config: Config file of an experiment with residual layers.
        checkpoint: Its calibrated weights.
        clip: Folder of low-resolution frames, or a video.
        start: First frame.
        frames: How many frames; the first calls of each layer are key frames and do not count.
        out: Folder for ``residual_stats.{md,json,png}``.

    Raises:
        ConfigError: The config is no quantized experiment with residuals.
        CheckpointError: The checkpoint is broken or does not fit.
        DataError: The clip is missing or too short.
    """
    loaded = load_config(config)
    with DefaultScope.overwrite_default_scope("vsrq"):
        model = MODELS.build(loaded.model)
    if not isinstance(model, QuantizedVSR) or not model.residual_table:
        raise ConfigError(f"{config} has no residual layers; use an experiment with residual=dict(...).")
    load_weights(model.generator, checkpoint)
    inputs = load_clip(clip, start=start, stop=start + frames)[None]
    model.eval()
    with torch.no_grad(), residual_stats(model.generator) as stats:
        model.upscale(inputs)
    rows = stats.rows()
    if not rows:
        raise ConfigError(f"{frames} frames of {clip} are all key frames; give a longer clip or a lower warmup.")
    write(rows, Path(out))
    return rows


def markdown(rows: Sequence[LayerStats]) -> str:
    """Return the table."""
    lines = [f"| layer | {' | '.join(title for title, _, _ in COLUMNS)} |", f"|--|{'--:|' * len(COLUMNS)}"]
    for row in rows:
        values = dict(asdict(row), gain=row.gain, clip_percent=100 * row.clip_rate)
        lines.append(f"| {row.name} | {' | '.join(format(values[key], form) for _, key, form in COLUMNS)} |")
    return "\n".join(lines) + "\n"


def write(rows: Sequence[LayerStats], folder: Path) -> None:
    """Write table and JSON and, where matplotlib is installed, a plot; print the table."""
    text = markdown(rows)
    sys.stdout.write(text)
    content = {"residual_stats.md": text, "residual_stats.json": json.dumps([asdict(row) for row in rows], indent=1)}
    write_texts(folder, content)
    write_plot(folder / "residual_stats.png", lambda pyplot: _draw(pyplot, rows))


def _draw(pyplot: Any, rows: Sequence[LayerStats]) -> Any:
    figure, (upper, lower) = pyplot.subplots(2, 1, sharex=True, figsize=(8, 5))
    upper.plot([row.rho for row in rows], label="rho")
    upper.plot([row.variance_ratio for row in rows], label="var(residual) / var(input)")
    upper.plot([row.coefficient for row in rows], label="coefficient a")
    lower.bar(range(len(rows)), [row.gain for row in rows])
    upper.legend(fontsize=8)
    upper.grid(alpha=0.3)
    lower.set(xlabel="layer, in the order of the table", ylabel="noise saved, dB")
    lower.grid(alpha=0.3)
    return figure
