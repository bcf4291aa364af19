"""Time and memory of a quantized training step beside the float step.

Times are paired: in every round each variant runs one step, and the ratio is taken within the round, so that a busy
machine slows both. Memory is the growth of a fresh process over one step, or the allocator's peak on a GPU.
"""

from __future__ import annotations

import argparse
import copy
import gc
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vsrq.errors import ConfigError
from vsrq.models import FloatVSR, QuantizedVSR
from vsrq.quant import calibrate

NETWORKS = {"basicvsr": "BasicVSRNet", "basicvsr_pp": "BasicVSRPlusPlusNet"}
FLOAT = "float"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--network", choices=sorted(NETWORKS), default="basicvsr")
    parser.add_argument("--types", nargs="+", default=["MSE", "LSQ", "RLQ"], help="quantizers, see vsrq.quant.presets")
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=5, help="residual blocks per branch")
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--size", type=int, default=64, help="height and width of the low-resolution frames")
    parser.add_argument("--rounds", type=int, default=5, help="paired measurements")
    parser.add_argument("--device", default="cpu")


def build(args: argparse.Namespace, kind: str) -> tuple[FloatVSR, Tensor, Tensor]:
    """Return a model ready to train, a clip and its ground truth.

    Args:
        args: The command's arguments.
        kind: ``'float'``, or the type of the quantizers.
    """
    torch.manual_seed(0)
    architecture: dict[str, Any] = dict(
        generator=dict(type=NETWORKS[args.network], mid_channels=args.channels, num_blocks=args.blocks),
        pixel_loss=dict(type="CharbonnierLoss"),
    )
    clip = torch.rand(1, args.frames, 3, args.size, args.size, device=args.device)
    target = torch.rand(1, args.frames, 3, 4 * args.size, 4 * args.size, device=args.device)
    if kind == FLOAT:
        return FloatVSR(**copy.deepcopy(architecture)).to(args.device).train(), clip, target
    recipe = dict(type=kind, bits=args.bits)
    rules = [dict(pattern="spynet.*", quantize=False)]
    model = QuantizedVSR(dict(type="FloatVSR", **architecture), quant=dict(weight=recipe, act=recipe, rules=rules)).to(
        args.device
    )
    calibrate(model, lambda: model.upscale(clip))
    return model.train(), clip, target


def step(model: FloatVSR, clip: Tensor, target: Tensor) -> None:
    """Run forward and backward pass; the optimizer's work is the same for all variants."""
    model.zero_grad(set_to_none=True)
    model.pixel_loss(model.forward_tensor(clip), target).backward()


def _seconds(run: Callable[[], None], device: str) -> float:
    if device != "cpu":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def time_ratios(args: argparse.Namespace) -> dict[str, list[float]]:
    """Return the time of each variant's step over the float step's, one ratio per round."""
    variants = {kind: build(args, kind) for kind in (FLOAT, *args.types)}
    ratios: dict[str, list[float]] = {kind: [] for kind in variants}
    for index in range(args.rounds + 1):
        seconds = {kind: _seconds(partial(step, *variant), args.device) for kind, variant in variants.items()}
        if index:  # the first round warms up
            for kind in variants:
                ratios[kind].append(seconds[kind] / seconds[FLOAT])
    return ratios


def fresh_peak(args: argparse.Namespace, kind: str) -> int:
    """Return by how much memory grows during one step in a new process, where none is left over from before."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_peak_bytes, args, kind).result()


def _peak_bytes(args: argparse.Namespace, kind: str) -> int:
    variant = build(args, kind)
    gc.collect()
    if args.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(*variant)
        return torch.cuda.max_memory_allocated() - before
    before = _resident("VmRSS")
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # start the peak anew
    step(*variant)
    return _resident("VmHWM") - before


def _resident(field: str) -> int:
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith(field))
    return int(line.split()[1]) * 1024


def memory_ratios(args: argparse.Namespace) -> dict[str, float]:
    """Return the peak memory of each variant's step over the float step's.

    Raises:
        ConfigError: The operating system does not tell a process's peak memory.
    """
    if args.device == "cpu" and sys.platform != "linux":
        raise ConfigError("peak memory on the CPU is read from /proc, which only Linux has; use --device cuda.")
    peaks = {kind: fresh_peak(args, kind) for kind in (FLOAT, *args.types)}
    return {kind: peak / peaks[FLOAT] for kind, peak in peaks.items()}


def main(args: argparse.Namespace) -> int:
    """Measure and print one line per variant."""
    if args.rounds < 1:
        raise ConfigError(f"--rounds must be 1 or more, got {args.rounds}.")
    times, memory = time_ratios(args), memory_ratios(args)
    lines = ["| training step | time / float, median (lowest, highest) | peak memory / float |", "|--|--:|--:|"]
    for kind, ratios in times.items():
        spread = f"({min(ratios):.2f}, {max(ratios):.2f})"
        name = kind if kind == FLOAT else f"{kind} W{args.bits}A{args.bits}"
        lines.append(f"| {name} | {statistics.median(ratios):.2f} {spread} | {memory[kind]:.2f} |")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0
