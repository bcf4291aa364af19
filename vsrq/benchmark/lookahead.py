"""What upscaling in stretches costs: PSNR against the number of frames the backward branches look ahead."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from vsrq.datasets.clips import load_clip, make_pair, to_tensor, to_uint8
from vsrq.errors import DataError
from vsrq.evaluation.functional import psnr
from vsrq.runtime import Upscaler


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--bundle", metavar="DIR", help="default: official BasicVSR weights at 8 bit")
    parser.add_argument("--truth", nargs="+", metavar="CLIP", help="high-resolution clips; default: Vid4 in $VSRQ_DATA")
    parser.add_argument("--frames", type=int, default=31, help="of each clip")
    parser.add_argument("--stretch", type=int, default=10, help="frames finished at a time")
    parser.add_argument("--lookaheads", type=int, nargs="+", default=[0, 1, 2, 3, 5, 8])


def main(args: argparse.Namespace) -> int:
    """Print a Markdown table: one row per setting, one column per clip."""
    from vsrq.apis.exporting import default_bundle

    bundle = args.bundle or default_bundle()
    root = Path(os.environ.get("VSRQ_DATA", "data")) / "Vid4" / "GT"
    clips = [Path(clip) for clip in args.truth or (root / "calendar", root / "foliage")]
    for clip in clips:
        if not clip.exists():
            raise DataError(
                f"{clip} is missing; set VSRQ_DATA to the folder that holds Vid4, or name clips by --truth."
            )
    names = [clip.stem for clip in clips]
    lines = [f"| setting | {' | '.join(names)} | mean |", "|--" * (len(names) + 2) + "|"]
    settings = [("whole clip", 0, args.frames)]
    settings += [(f"{args.stretch} frames, {n} ahead", n, args.stretch) for n in args.lookaheads]
    for name, lookahead, stretch in settings:
        upscaler = Upscaler(bundle, lookahead=lookahead, stretch=stretch, scene_threshold=0)
        scores = [score(upscaler, clip, args.frames) for clip in clips]
        cells = " | ".join(f"{value:.3f}" for value in (*scores, sum(scores) / len(scores)))
        lines.append(f"| {name} | {cells} |")
        sys.stderr.write(lines[-1] + "\n")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def score(upscaler: Upscaler, clip: Path, frames: int) -> float:
    """Return the mean PSNR in dB (luma) of a clip, reduced four times (BI) and upscaled again."""
    low, high = make_pair(load_clip(clip)[:frames])
    output = to_tensor(list(upscaler.stream(to_uint8(low).permute(0, 2, 3, 1).contiguous().numpy())))
    return psnr(output * 255, high * 255, convert_to="Y").mean().item()
