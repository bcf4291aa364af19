"""Time of the simulated residual forward over that of the frame-quantized one.

Times are paired: in every round both networks run the same clip, and the ratio is taken within the round.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from typing import Any

import torch
from torch import Tensor

from vsrq.errors import ConfigError
from vsrq.models import QuantizedVSR
from vsrq.quant import calibrate

NETWORKS = {"basicvsr": "BasicVSRNet", "basicvsr_pp": "BasicVSRPlusPlusNet"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--network", choices=sorted(NETWORKS), default="basicvsr")
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=5, help="residual blocks per branch")
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--height", type=int, default=64, help="of the low-resolution frames")
    parser.add_argument("--width", type=int, default=112)
    parser.add_argument("--rounds", type=int, default=5, help="paired measurements")


def build(args: argparse.Namespace, clip: Tensor, *, with_residuals: bool) -> QuantizedVSR:
    """Return a calibrated network with random weights."""
    torch.manual_seed(0)
    generator = dict(type=NETWORKS[args.network], mid_channels=args.channels, num_blocks=args.blocks)
    architecture = dict(type="FloatVSR", generator=generator, pixel_loss=dict(type="CharbonnierLoss"))
    bits: dict[str, Any] = dict(weight=dict(bits=args.bits), act=dict(bits=args.bits))
    recipe = dict(bits, rules=[dict(pattern="spynet.*", quantize=False)])
    model = (
        QuantizedVSR(architecture, recipe, bits if with_residuals else None)
        .eval()
        .to(memory_format=torch.channels_last)
    )
    calibrate(model, lambda: model.upscale(clip), passes=1)
    return model


@torch.no_grad()
def time_ratios(args: argparse.Namespace) -> list[float]:
    """Return the ratio of each round."""
    clip = torch.rand(1, 1, 3, args.height, args.width) + 0.1 * torch.rand(1, args.frames, 3, args.height, args.width)
    models = [build(args, clip, with_residuals=residual) for residual in (False, True)]
    ratios = []
    for index in range(args.rounds + 1):
        seconds = []
        for model in models if index % 2 else models[::-1]:
            start = time.perf_counter()
            model.upscale(clip)
            seconds.append(time.perf_counter() - start)
        frame, residual = seconds if index % 2 else seconds[::-1]
        ratios.append(residual / frame)
    return ratios[1:]  # the first round warms up


def main(args: argparse.Namespace) -> int:
    """Measure and print the median."""
    if args.rounds < 1:
        raise ConfigError(f"--rounds must be 1 or more, got {args.rounds}.")
    ratios = time_ratios(args)
    sys.stdout.write(
        f"residual / frame, W{args.bits}A{args.bits}, {args.network} {args.channels} channels, {args.blocks} blocks, "
        f"{args.width}x{args.height}: median {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f}, {max(ratios):.2f}) of {args.rounds} paired runs\n"
    )
    return 0
