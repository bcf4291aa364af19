"""Accuracy and cost of a depth-dynamic network at each of its depths, from one checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from vsrq.apis.config import load_config
from vsrq.apis.exporting import build_model
from vsrq.benchmark.clips import SCORED, data_folders
from vsrq.benchmark.tables import known_clips, plot, table, write
from vsrq.errors import ConfigError
from vsrq.evaluation.functional import psnr
from vsrq.models import QuantizedVSR
from vsrq.models.depth import DynamicDepth


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--config", default="configs/quantized/basicvsr_dqa-rlq-w4a4_qat_vid4.py")
    parser.add_argument("--checkpoint", required=True, help="the trained network")
    parser.add_argument("--depths", nargs="+", help="names; by default all that the config has")
    parser.add_argument("--clips", nargs="+", default=list(SCORED), help=f"any of: {', '.join(SCORED)}")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--crop", type=int, help="edge of the central part to score, in pixels of the ground truth")
    parser.add_argument("--output", default="work_dirs/benchmark_depth", help="folder for table and plot")


def main(args: argparse.Namespace) -> int:
    """Write ``depth.{md,json,png}`` and print the table."""
    clips = known_clips(args.clips)
    model = build_model(load_config(args.config), args.checkpoint)
    if not isinstance(model, QuantizedVSR) or model.depth is None:
        raise ConfigError(f"{args.config} has one depth only; use an experiment with model.depth=dict(...).")
    depth = model.depth
    names = list(args.depths or depth.shares)
    depth.check(names)
    pairs = {clip: SCORED[clip].load(data_folders(), args.frames, args.crop) for clip in clips}
    rows = {name: _row(model, depth, name, pairs) for name in names}
    write(Path(args.output), "depth", markdown(rows, args), rows)
    points = {clip: [(row["gbops_per_frame"], row["psnr_y"][clip]) for row in rows.values()] for clip in clips}
    lines = {clip: sorted(line) for clip, line in points.items()}
    plot(Path(args.output) / "depth.png", {"depths": lines}, x="GBOPs per frame, mean of the clips", y="PSNR-Y, dB")
    return 0


@torch.no_grad()
def _row(model: QuantizedVSR, depth: DynamicDepth, name: str, pairs: dict[str, Any]) -> dict[str, Any]:
    """Score and price one depth, all layers counted."""
    depth.set(name)
    scores, reports = {}, []
    for clip, (low, high) in pairs.items():
        report, output = model.cost(low[None])
        scores[clip] = psnr(output[0].clamp(0, 1) * 255, high * 255, convert_to="Y").mean().item()
        reports.append(report)
    kept = depth.kept(name)
    return dict(
        blocks=sum(map(len, kept.values())),
        all_blocks=sum(map(len, depth.blocks.values())),
        kept=kept,
        psnr_y=scores,
        gmacs_per_frame=sum(report.macs() / report.frames for report in reports) / len(reports) / 1e9,
        gbops_per_frame=sum(report.average_bops for report in reports) / len(reports) / 1e9,
        bops_per_mac=sum(report.bops_per_mac() for report in reports) / len(reports),
        storage_mb=reports[0].storage_bits / 8e6,
    )


def markdown(rows: dict[str, dict[str, Any]], args: argparse.Namespace) -> str:
    """Return the table, with how it was made."""
    clips = list(next(iter(rows.values()))["psnr_y"])
    titles = ["depth", "blocks", *(f"PSNR-Y {clip}" for clip in clips), "mean"]
    titles += ["GMACs/frame", "BOPs/MAC", "GBOPs/frame", "of the dearest", "stored MB"]
    dearest = max(row["gbops_per_frame"] for row in rows.values())
    cells = []
    for name, row in rows.items():
        scores = [row["psnr_y"][clip] for clip in clips]
        cells.append(
            [
                name,
                f"{row['blocks']} of {row['all_blocks']}",
                *(f"{score:.2f}" for score in (*scores, sum(scores) / len(scores))),
                f"{row['gmacs_per_frame']:.2f}",
                f"{row['bops_per_mac']:.1f}",
                f"{row['gbops_per_frame']:.1f}",
                f"{row['gbops_per_frame'] / dearest:.0%}",
                f"{row['storage_mb']:.2f}",
            ]
        )
    part = "whole frames" if args.crop is None else f"the central {args.crop} x {args.crop} pixels"
    head = (
        f"{args.frames} frames, {part}; `{args.config}` with `{Path(args.checkpoint).name}`, one checkpoint for all "
        "depths. Costs are simulated, means over the clips, all layers counted; stored is what this depth needs."
    )
    return f"{head}\n\n{table(titles, cells)}\n"
