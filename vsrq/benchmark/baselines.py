"""Post-training quantization of one network by vsrq's presets and by other toolkits, in one table: the same clips to
calibrate on, the same clips and scores as ``accuracy``.

Toolkits that are not installed are left out, and one that cannot take the network says why below the table. Rows are
kept in the working folder: an interrupted or time-limited run continues where it stopped.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import vsrq
from vsrq.apis.comparison import luma_scores
from vsrq.benchmark.baselines_table import markdown
from vsrq.benchmark.clips import SCORED
from vsrq.benchmark.residual import Benchmark, fast
from vsrq.benchmark.tables import known, known_clips, write
from vsrq.benchmark.toolkits import INSTALL, TOOLKITS, Quantized
from vsrq.datasets import to_uint8
from vsrq.errors import ConfigError
from vsrq.evaluation.functional import psnr
from vsrq.evaluation.temporal import warping_error
from vsrq.models import QuantizedVSR
from vsrq.quant import calibrate, cost

VERSION = 1  # of the figures: raise it when a change of the method makes kept rows wrong
PRESETS = ("MinMax", "Percentile", "MSE", "LSQ")
FLOAT = "float"
_TOOLKIT_BITS = 8


class Method(NamedTuple):
    """One row of the table.

    Attributes:
        name: ``float``, one of ``PRESETS`` or a key of ``TOOLKITS``.
        bits: Of weights and activations; 32 for float.
    """

    name: str
    bits: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    methods = [*PRESETS, *TOOLKITS]
    parser.add_argument("--config", default="configs/basicvsr/basicvsr_vid4-bi.py", help="a float experiment")
    parser.add_argument("--checkpoint", default="data/weights/BasicVSR_Vimeo90K_BIx4.pth")
    parser.add_argument("--flow-checkpoint", default="data/weights/BasicVSR_REDS4.pth", help="BasicVSR, for E_warp")
    parser.add_argument("--methods", nargs="+", default=methods, help=f"any of: {', '.join(methods)}")
    parser.add_argument("--bits", nargs="+", type=int, default=[8], help="of vsrq's presets; toolkits have 8")
    parser.add_argument("--clips", nargs="+", default=["calendar", "foliage"], help=f"any of: {', '.join(SCORED)}")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--crop", type=int, help="edge of the central part to score, in pixels of the ground truth")
    parser.add_argument("--calibration-frames", type=int, default=5)
    parser.add_argument("--calibration-crop", type=int, default=256)
    parser.add_argument("--time-limit", type=float, help="minutes after which no new row is begun")
    parser.add_argument("--work-dir", default="work_dirs/benchmark_baselines")


def main(args: argparse.Namespace) -> int:
    """Compute the missing rows, then write the table of all rows asked for."""
    if args.frames < 2:
        raise ConfigError(f"--frames must be 2 or more to score consistency in time, got {args.frames}.")
    names, clips = known(args.methods, [*PRESETS, *TOOLKITS], "method"), known_clips(args.clips)
    wrong = [width for width in args.bits if not 2 <= width <= 8]
    if wrong:
        raise ConfigError(f"--bits must be 2 to 8, got {wrong[0]}.")
    started, contest = time.monotonic(), Contest(args)
    rows: dict[tuple[Method, str], dict[str, Any]] = {}
    problems: dict[str, str] = {}  # by method

    def late() -> bool:
        return args.time_limit is not None and time.monotonic() - started > 60 * args.time_limit

    for method in _methods(names, args.bits):
        missing = TOOLKITS[method.name].missing() if method.name in TOOLKITS else []
        if missing:
            problems[method.name] = f"{', '.join(missing)} not installed: {INSTALL}"
            continue
        try:
            for clip in clips:
                row = contest.row(method, clip, compute=not late())
                if row is not None:
                    rows[method, clip] = row
        except RefusedError as error:
            problems[method.name] = f"cannot take the network ({error})"
    data = [dict(method._asdict(), clip=clip, **row) for (method, clip), row in rows.items()]
    write(Path(args.work_dir), "baselines", markdown(rows, clips, args, problems), data)
    return 0


def _methods(names: Sequence[str], bits: Sequence[int]) -> list[Method]:
    methods = [Method(FLOAT, 32)]
    for name in names:
        methods += [Method(name, width) for width in ([_TOOLKIT_BITS] if name in TOOLKITS else bits)]
    return list(dict.fromkeys(methods))


class RefusedError(Exception):
    """A toolkit cannot take the network; the message is the first line of what it raised."""


class Contest:
    """The network, quantized by each method in turn.

    Args:
        args: The command's arguments.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self._benchmark = Benchmark(args)
        self._built: tuple[Method, Quantized] | None = None  # the latest alone: networks take memory
        self._float: dict[str, tuple[Tensor, dict[str, int]]] = {}

    def row(self, method: Method, clip: str, *, compute: bool) -> dict[str, Any] | None:
        """Return a kept row or, if it may be computed, a new one; else ``None``."""
        inputs = self._inputs(method, clip)
        if not compute:
            return self._benchmark.cache.get(inputs)
        with torch.no_grad():
            return self._benchmark.cache.get_or_compute(inputs, partial(self._row, method, clip))

    def _inputs(self, method: Method, clip: str) -> dict[str, Any]:
        names = ("config", "checkpoint", "flow_checkpoint", "frames", "crop", "calibration_frames", "calibration_crop")
        versions = TOOLKITS[method.name].versions() if method.name in TOOLKITS else {"vsrq": vsrq.__version__}
        given = {name: getattr(self._benchmark.args, name) for name in names}
        return dict(given, kind="baselines", version=VERSION, clip=clip, versions=versions, **method._asdict())

    def _row(self, method: Method, clip: str) -> dict[str, Any]:
        low, high, motions = self._benchmark.clip(clip)
        reference, macs = self._reference(clip)
        row: dict[str, Any] = dict(psnr_to_float=None, quantized_macs=0.0)
        frames = reference
        if method.name != FLOAT:
            frames, layers = self._quantized(method, low)
            row["psnr_to_float"] = psnr(frames * 255, reference * 255, rounding=False).mean().item()
            row["quantized_macs"] = share(layers, macs)
        return dict(row, **luma_scores(to_uint8(frames), to_uint8(high)), e_warp=warping_error(frames, motions))

    def _reference(self, clip: str) -> tuple[Tensor, dict[str, int]]:
        """Return the float network's output, clipped, and the multiply-accumulates of its layers."""
        if clip not in self._float:
            model = self._benchmark.float_net
            outputs: list[Tensor] = []
            low = self._benchmark.clip(clip)[0][None]
            report = cost.measure(model.generator, low, run=lambda x: outputs.append(model.upscale(x)))
            self._float[clip] = outputs[0][0].clamp(0, 1), {layer.name: layer.macs for layer in report.layers}
        return self._float[clip]

    def _quantized(self, method: Method, low: Tensor) -> tuple[Tensor, frozenset[str] | None]:
        """Return the output of a method, clipped, and the layers it quantizes."""
        clips = [clip[0] for clip in self._benchmark.calibration]  # outside of try: their errors are no toolkit's
        try:
            if self._built is None or self._built[0] != method:
                self._built = method, self._build(method, clips)
            quantized = self._built[1]
            return quantized.upscale(low).clamp(0, 1), quantized.layers
        except Exception as error:
            if method.name not in TOOLKITS:
                raise
            first = f"{type(error).__name__}: {str(error).strip()}".splitlines()[0]
            raise RefusedError(first) from error

    def _build(self, method: Method, clips: list[Tensor]) -> Quantized:
        benchmark = self._benchmark
        if method.name in TOOLKITS:
            net = copy.deepcopy(benchmark.float_net.generator)
            return TOOLKITS[method.name].quantize(net, clips, Path(benchmark.args.work_dir) / "toolkits")
        quantizer = dict(type=method.name, bits=method.bits)
        recipe = dict(weight=quantizer, act=quantizer, rules=benchmark.fixed)
        model = fast(QuantizedVSR(benchmark.architecture, recipe, float_checkpoint=benchmark.args.checkpoint))
        calibrate(model, lambda: [model.upscale(clip[None]) for clip in clips])
        layers = frozenset(row.name for row in model.layer_table if row.act_bits < 32)
        return Quantized(lambda clip: model.upscale(clip[None])[0], layers)


def share(layers: frozenset[str] | None, macs: Mapping[str, int]) -> float | None:
    """Return the share of the multiply-accumulates in some layers; ``None`` for unknown layers.

    Args:
        layers: Their names.
        macs: Of all layers, by name.
    """
    if layers is None:
        return None
    return sum(count for name, count in macs.items() if name in layers) / max(sum(macs.values()), 1)
