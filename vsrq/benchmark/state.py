"""What it costs to store recurrent features in few bits: PSNR against the frame index, and the bytes saved.

Every row is a network of its own, calibrated with its recurrence stored as it is when it is scored. Rows are kept in
the working folder, so an interrupted run continues where it stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from vsrq.apis.config import load_config
from vsrq.benchmark.clips import CALIBRATION, SCORED, data_folders
from vsrq.benchmark.residual import COARSE_FLOW, FLOW
from vsrq.benchmark.row_cache import RowCache
from vsrq.benchmark.tables import known, known_clips, plot, table, write
from vsrq.evaluation.functional import psnr
from vsrq.models import QuantizedVSR
from vsrq.quant import calibrate
from vsrq.quant.quantizer import FLOAT_BITS

VERSION = 1  # of the figures: raise it when a change of the method makes kept rows wrong
FORMS: dict[str, dict[str, Any] | None] = {
    "32": None,
    **{f"{bits}/{kind}": dict(bits=bits, granularity=kind) for bits in (8, 4) for kind in ("frame", "pixel")},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--config", default="configs/basicvsr/basicvsr_vid4-bi.py", help="a float experiment")
    parser.add_argument("--checkpoint", default="data/weights/BasicVSR_Vimeo90K_BIx4.pth")
    parser.add_argument("--bits", type=int, default=8, help="of weights and activations, 32 for a float network")
    parser.add_argument("--forms", nargs="+", default=list(FORMS), help=f"bits/scales, any of: {', '.join(FORMS)}")
    parser.add_argument("--clips", nargs="+", default=list(SCORED), help=f"any of: {', '.join(SCORED)}")
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--crop", type=int, help="edge of the central part to score, in pixels of the ground truth")
    parser.add_argument("--calibration-frames", type=int, default=5)
    parser.add_argument("--calibration-crop", type=int, default=256)
    parser.add_argument("--work-dir", default="work_dirs/benchmark_state")
    parser.add_argument("--output", help="folder for table and plot; the working folder by default")


def main(args: argparse.Namespace) -> int:
    """Compute the missing rows, then write ``state.{md,json,png}`` and print the tables."""
    clips, forms = known_clips(args.clips), known(args.forms, FORMS, "form of the state")
    cache = RowCache(Path(args.work_dir) / "rows")
    keys = ("config", "checkpoint", "bits", "frames", "crop", "calibration_frames", "calibration_crop")
    rows: dict[str, dict[str, Any]] = {clip: {} for clip in clips}
    for form in forms:
        model = None
        for clip in clips:
            inputs = dict(version=VERSION, form=form, clip=clip, **{key: getattr(args, key) for key in keys})
            row = cache.get(inputs)
            if row is None:
                model = model or _build(args, form)
                row = cache.get_or_compute(inputs, lambda: _row(model, clip, args))  # noqa: B023
            rows[clip][_name(args, form)] = row
    folder = Path(args.output or args.work_dir)
    write(folder, "state", markdown(rows, args), rows)
    panels = {
        clip: {name: list(enumerate(row["psnr_y"])) for name, row in found.items()} for clip, found in rows.items()
    }
    plot(folder / "state.png", panels, x="frame", y="PSNR-Y, dB")
    return 0


def _name(args: argparse.Namespace, form: str) -> str:
    return f"{args.bits}-{args.bits}-{form}"


def _build(args: argparse.Namespace, form: str) -> QuantizedVSR:
    """Return the network, calibrated with its recurrence stored in this form."""
    rules = [] if args.bits == FLOAT_BITS else [COARSE_FLOW, FLOW]
    model = QuantizedVSR(
        dict(load_config(args.config).model),
        quant=dict(weight=dict(bits=args.bits), act=dict(bits=args.bits), rules=rules),
        state=FORMS[form],
        float_checkpoint=args.checkpoint,
    )
    # convolutions take half the time, results differ by float rounding only
    model = model.eval().to(memory_format=torch.channels_last)
    if args.bits != FLOAT_BITS:
        size = args.calibration_frames, args.calibration_crop
        clips = [clip.load(data_folders(), *size)[0][None] for clip in CALIBRATION]
        calibrate(model, lambda: [model.upscale(clip) for clip in clips])
    return model


@torch.no_grad()
def _row(model: QuantizedVSR, clip: str, args: argparse.Namespace) -> dict[str, Any]:
    low, high = SCORED[clip].load(data_folders(), args.frames, args.crop)
    report, output = model.cost(low[None])
    scores = psnr(output[0].clamp(0, 1) * 255, high * 255, convert_to="Y")
    return dict(psnr_y=scores.tolist(), hidden_state_bytes=report.hidden_state_bytes)


def markdown(rows: dict[str, dict[str, Any]], args: argparse.Namespace) -> str:
    """Return two tables per clip: what is lost and saved on the whole, and PSNR frame by frame."""
    part = "whole frames" if args.crop is None else f"the central {args.crop} x {args.crop} pixels"
    parts = [
        f"{args.frames} frames, {part}; `{args.config}` with `{Path(args.checkpoint).name}`. Rows are W-A-H: bits of "
        "weights, activations and stored recurrent features, with a scale per frame or per pixel. Changes are "
        "PSNR-Y in dB against the first row; hidden state is the most that is stored at a time."
    ]
    for clip, found in rows.items():
        base = next(iter(found.values()))
        cells = []
        for name, row in found.items():
            changes = [a - b for a, b in zip(row["psnr_y"], base["psnr_y"], strict=True)]
            figures = (mean(changes), changes[0], changes[-1], min(changes))
            cells.append(
                [
                    name,
                    f"{mean(row['psnr_y']):.3f}",
                    *(f"{value:+.3f}" for value in figures),
                    f"{row['hidden_state_bytes'] / 1e6:.2f}",
                ]
            )
        titles = ["W-A-H", "PSNR-Y", "change", "first frame", "last frame", "worst frame", "hidden state MB"]
        frames = [
            [str(index), *(f"{score:.3f}" for score in scores)]
            for index, scores in enumerate(zip(*(row["psnr_y"] for row in found.values()), strict=True))
        ]
        parts += [f"### {clip}", table(titles, cells), table(["frame", *found], frames)]
    return "\n\n".join(parts) + "\n"
