"""Post-training experiments side by side, by default 4 bit calibrated on real clips and on rendered ones.

Each config is run as ``tools/train.py`` runs it, once per seed; its ``ptq.pth`` is kept in the working folder and
scored. The seed chooses the clips and their crops, so the spread over seeds says what a difference is worth.
"""

from __future__ import annotations

import argparse
import uuid
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from vsrq.apis import train
from vsrq.apis.config import load_config
from vsrq.apis.exporting import build_model
from vsrq.benchmark.clips import SCORED, data_folders
from vsrq.benchmark.tables import known_clips, table, write
from vsrq.errors import ConfigError
from vsrq.evaluation.functional import psnr

CONFIGS = ("configs/quantized/basicvsr_w4a4_ptq_vid4.py", "configs/quantized/basicvsr_w4a4_data-free_vid4.py")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--configs", nargs="+", default=list(CONFIGS), help="experiments with a PTQLoop")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--clips", nargs="+", default=list(SCORED), help=f"any of: {', '.join(SCORED)}")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--crop", type=int, help="edge of the central part to score, in pixels of the ground truth")
    parser.add_argument("--work-dir", default="work_dirs/benchmark_calibration", help="for the calibrated networks")
    parser.add_argument("--output", help="folder for the table; the working folder by default")


def main(args: argparse.Namespace) -> int:
    """Calibrate what is missing, score everything, then write ``calibration.{md,json}`` and print the table."""
    clips = known_clips(args.clips)
    if len({Path(config).stem for config in args.configs}) < len(args.configs):
        raise ConfigError(f"--configs {' '.join(args.configs)}: give each experiment once, under a name of its own.")
    for config in args.configs:
        kind = load_config(config).train_cfg.type
        if kind != "PTQLoop":
            raise ConfigError(f"{config} trains by {kind}; only experiments with a PTQLoop are compared here.")
    pairs = {clip: SCORED[clip].load(data_folders(), args.frames, args.crop) for clip in clips}
    rows = [_row(config, args, pairs) for config in args.configs]
    write(Path(args.output or args.work_dir), "calibration", markdown(rows, args), rows)
    return 0


def _row(config: str, args: argparse.Namespace, pairs: dict[str, Any]) -> dict[str, Any]:
    loaded = load_config(config)
    scores = []
    for seed in args.seeds:
        folder = Path(args.work_dir) / f"{Path(config).stem}_seed{seed}"
        if not (folder / "ptq.pth").is_file():
            _calibrate(config, folder, seed)
        model = build_model(load_config(config), folder / "ptq.pth").to(memory_format=torch.channels_last)
        with torch.no_grad():
            scores.append({clip: _score(model, *pair) for clip, pair in pairs.items()})
    return dict(config=Path(config).stem, data=loaded.train_dataloader.dataset.type, psnr_y=scores)


def _calibrate(config: str, folder: Path, seed: int) -> None:
    options = {
        "randomness.seed": seed,
        "val_dataloader": None,
        "val_evaluator": None,
        "val_cfg": None,
        # MMEngine keeps one message hub per name, and the default name has a resolution of seconds
        "experiment_name": uuid.uuid4().hex,
    }
    train(config, work_dir=str(folder), cfg_options=options)


def _score(model: Any, low: torch.Tensor, high: torch.Tensor) -> float:
    output = model.upscale(low[None])[0].clamp(0, 1)
    return psnr(output * 255, high * 255, convert_to="Y").mean().item()


def markdown(rows: list[dict[str, Any]], args: argparse.Namespace) -> str:
    """Return the table, with how it was made."""
    part = "whole frames" if args.crop is None else f"the central {args.crop} x {args.crop} pixels"
    head = (
        f"{args.frames} frames, {part}; PSNR-Y in dB, means over seeds {', '.join(map(str, args.seeds))}. The spread "
        "between seeds is that of the mean of the clips; the change is against the first row."
    )
    clips = list(rows[0]["psnr_y"][0])
    means = [[mean(scores.values()) for scores in row["psnr_y"]] for row in rows]
    cells = [
        [
            row["config"],
            row["data"],
            *(f"{mean(scores[clip] for scores in row['psnr_y']):.2f}" for clip in clips),
            f"{mean(found):.2f}",
            f"{max(found) - min(found):.2f}",
            f"{mean(found) - mean(means[0]):+.2f}",
        ]
        for row, found in zip(rows, means, strict=True)
    ]
    return f"{head}\n\n{table(['experiment', 'data', *clips, 'mean', 'spread', 'change'], cells)}\n"
