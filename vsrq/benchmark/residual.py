"""Quality, consistency, bit operations and memory of temporal residuals beside frame quantization.

Rows are kept in the working folder: an interrupted or time-limited run continues where it stopped, and writes the
table of all rows there are.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from vsrq.apis.config import load_config
from vsrq.benchmark.clips import CALIBRATION, SCORED, data_folders, flow_network
from vsrq.benchmark.residual_report import write_report
from vsrq.benchmark.residual_settings import SETTINGS, Setting
from vsrq.benchmark.row_cache import RowCache
from vsrq.benchmark.tables import known
from vsrq.errors import ConfigError
from vsrq.evaluation.functional import psnr
from vsrq.evaluation.temporal import Motion, clip_motion, flow_error, warping_error
from vsrq.models import FloatVSR, QuantizedVSR
from vsrq.quant import calibrate, cost
from vsrq.quant.calibrate import Signals
from vsrq.quant.rules import first_match
from vsrq.residual import Option, allocate, allocation_rules, fit_coarseness, measure_options

VERSION = 2  # of the figures: raise it when a change of the method makes kept rows wrong
# weights and activations; noise comes from activations more than from weights, so these are never the narrower ones
BITS = (
    *((bits, bits) for bits in (2, 3, 4, 5, 6, 8)),
    *((2, 3), (2, 4), (3, 4), (3, 5), (3, 6), (4, 5), (4, 6), (4, 8), (5, 6), (5, 8), (6, 8)),
)
_CLIPPED_BELOW = 6  # bits of activations in residual blocks
_ALL_CLIPPED_BELOW = 4  # bits of activations anywhere; over their extremes most values would round to zero
_FLOAT_SIGNALS_BELOW = 3, 16  # bits, shared-out BOPs/MAC: the quantized recurrence amplifies its errors without bound
FLOW = dict(pattern="spynet.*", weight=dict(bits=8), act=dict(bits=8, type="MinMax"))
COARSE_FLOW = dict(pattern="spynet.basic_module.[01].*", quantize=False)  # whole layers are zero there


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--config", default="configs/basicvsr/basicvsr_vid4-bi.py", help="a float experiment")
    parser.add_argument("--checkpoint", default="data/weights/BasicVSR_Vimeo90K_BIx4.pth")
    parser.add_argument("--flow-checkpoint", default="data/weights/BasicVSR_REDS4.pth", help="BasicVSR, for E_warp")
    parser.add_argument("--clips", nargs="+", default=list(SCORED), help=f"any of: {', '.join(SCORED)}")
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), help=f"any of: {'; '.join(SETTINGS)}")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--crop", type=int, help="edge of the central part to score, in pixels of the ground truth")
    parser.add_argument("--calibration-frames", type=int, default=5)
    parser.add_argument("--calibration-crop", type=int, default=256)
    parser.add_argument("--time-limit", type=float, help="minutes after which no new row is begun")
    parser.add_argument("--work-dir", default="work_dirs/benchmark_residual")
    parser.add_argument("--output", help="folder for the table and the plots; the working folder by default")


class Benchmark:
    """One network, its calibration clips and its rows.

    Args:
        args: The command's arguments.
        clips: Clips and their motion that another network has loaded already; filled further.
    """

    def __init__(self, args: argparse.Namespace, clips: dict[tuple[str, int], Any] | None = None) -> None:
        self.args = args
        self.architecture = dict(load_config(args.config).model)
        self.cache = RowCache(Path(args.work_dir) / "rows")
        self._clips = {} if clips is None else clips
        has_flow = any(name.startswith("spynet.") for name, _ in self.float_net.generator.named_modules())
        self.fixed = [COARSE_FLOW, FLOW] if has_flow else []
        self.residual_fixed = [dict(pattern="spynet.*", residual=False)] if has_flow else []

    @cached_property
    def float_net(self) -> FloatVSR:
        """The float network."""
        arguments = {key: value for key, value in self.architecture.items() if key not in ("type", "float_checkpoint")}
        return fast(FloatVSR(**arguments, float_checkpoint=self.args.checkpoint))

    @cached_property
    def flow(self) -> nn.Module:
        """The flow network of the temporal scores."""
        return flow_network(self.args.flow_checkpoint)

    @cached_property
    def calibration(self) -> list[Tensor]:
        """Low-resolution clips ``(1, t, 3, h, w)`` to calibrate on."""
        args = self.args
        frames, crop = args.calibration_frames, args.calibration_crop
        return [clip.load(data_folders(), frames, crop)[0][None] for clip in CALIBRATION]

    def inputs(self, setting: Setting, clip: str) -> dict[str, Any]:
        """Return everything a row depends on."""
        args = self.args
        names = ("config", "checkpoint", "frames", "crop", "calibration_frames", "calibration_crop")
        return dict(
            version=VERSION, setting=asdict(setting), clip=clip, **{name: getattr(args, name) for name in names}
        )

    def row(self, setting: Setting, clip: str, model: FloatVSR) -> dict[str, Any]:
        """Score one setting on one clip."""
        low, high, motions = self.clip(clip)
        report, frames = run_and_count(model, low)
        return dict(
            psnr_y=psnr(frames * 255, high * 255, convert_to="Y").mean().item(),
            e_warp=warping_error(frames, motions),
            tof=flow_error(frames, motions, self.flow),
            bops_per_mac=report.bops_per_mac(("flow",)),
            peak_bops_per_mac=report.peak_bops_per_mac(("flow",)),
            gbops_per_frame=report.average_bops / 1e9,
            state_mb=report.state_bytes / 1e6,
        )

    def build(self, setting: Setting) -> FloatVSR:
        """Return the calibrated network of a setting."""
        if setting.bits == 32:
            return self.float_net
        quant_rules, residual_rules = self._rules(setting)
        act = dict(bits=setting.bits, type=_range(False, setting.bits))
        recipe = dict(weight=dict(bits=setting.bits), act=act, rules=[*self.fixed, *quant_rules])
        residual = None
        if setting.residual is not None:
            residual = dict(setting.residual, rules=[*residual_rules, *self.residual_fixed])
        model = QuantizedVSR(self.architecture, recipe, residual, float_checkpoint=self.args.checkpoint)
        model = fast(model)
        passes = 1 if residual is None else 2
        bits, budget = _FLOAT_SIGNALS_BELOW
        unstable = setting.bits < bits or (setting.budget is not None and setting.budget < budget)
        signals: Signals = "float" if unstable else "quantized"
        calibrate(model, lambda: [model.upscale(clip) for clip in self.calibration], passes=passes, signals=signals)
        if setting.tile_budget is not None:
            clip = self.calibration[0]
            fit_coarseness(model, lambda: model.cost(clip)[0].bops_per_mac(("flow",)), setting.tile_budget)
        return model

    def _rules(self, setting: Setting) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Share a budget out between the layers."""
        net = self.float_net.generator
        if setting.budget is None:
            return [dict(pattern=f"{trunk}.*", act=dict(type=_range(True, setting.bits))) for trunk in net.trunks], []
        options = {
            name: [option for option in choices if option.mode in setting.modes]
            for name, choices in self._options().items()
        }
        quant_rules, residual_rules = allocation_rules(allocate(options, setting.budget))
        for rule in quant_rules:
            rule["act"] = dict(rule["act"], type=_range(_in_trunk(net, rule["pattern"]), rule["act"]["bits"]))
        return quant_rules, residual_rules

    def _options(self) -> dict[str, list[Option]]:
        args = self.args
        names = ("config", "checkpoint", "calibration_frames", "calibration_crop")
        inputs = dict(version=VERSION, options=BITS, **{name: getattr(args, name) for name in names})

        def compute() -> dict[str, Any]:
            # one clip: what is wanted is how layers compare, and every input of every layer is kept meanwhile
            clip = self.calibration[0][..., :48, :48]
            net = self.float_net.generator
            found: dict[str, list[Option]] = {}
            for trunk in (False, True):
                others = [name for name, _ in net.named_modules() if _in_trunk(net, name) != trunk]
                act = dict(type="MSE" if trunk else "MinMax")
                found |= measure_options(
                    net, lambda: net.upscale(clip), bits=BITS, act=act, exclude=["spynet.*", *others]
                )
            return {name: [asdict(option) for option in choices] for name, choices in found.items()}

        kept = self.cache.get_or_compute(inputs, compute)
        return {name: [Option(**option) for option in choices] for name, choices in kept.items()}

    def clip(self, name: str) -> tuple[Tensor, Tensor, list[Motion]]:
        """Return input, ground truth and its motion of a scored clip."""
        key = name, self.args.frames
        if key not in self._clips:
            low, high = SCORED[name].load(data_folders(), self.args.frames, self.args.crop)
            self._clips[key] = low, high, clip_motion(high, self.flow)
        return self._clips[key]


def _in_trunk(net: Any, name: str) -> bool:
    return first_match(name, [f"{trunk}.*" for trunk in net.trunks]) is not None


def _range(trunk: bool, bits: int) -> str:
    """Return the type of an activation's range: clipping pays at few bits, earliest where an identity runs beside."""
    return "MSE" if bits < (_CLIPPED_BELOW if trunk else _ALL_CLIPPED_BELOW) else "MinMax"


def run_and_count(model: FloatVSR, clip: Tensor) -> tuple[cost.CostReport, Tensor]:
    """Upscale a clip ``(t, 3, h, w)`` and count what it costs; the output is clipped to [0, 1]."""
    if isinstance(model, QuantizedVSR):
        report, output = model.cost(clip[None])
    else:
        outputs: list[Tensor] = []
        roles = model.generator.roles
        report = cost.measure(model.generator, clip[None], run=lambda x: outputs.append(model.upscale(x)), roles=roles)
        output = outputs[0]
    return report, output[0].clamp(0, 1)


def fast(model: Any) -> Any:
    """Lay the weights out channels last: convolutions take half the time, results differ by float rounding only."""
    return model.eval().to(memory_format=torch.channels_last)


def main(args: argparse.Namespace) -> int:
    """Compute the missing rows, then write the table and the plots of all rows asked for."""
    clips, names = known(args.clips, SCORED, "clip"), known(args.settings, SETTINGS, "setting")
    if args.frames < 2:
        raise ConfigError(f"--frames must be 2 or more to score consistency in time, got {args.frames}.")
    started = time.monotonic()
    benchmark = Benchmark(args)
    rows: dict[str, dict[str, dict[str, Any]]] = {clip: {} for clip in clips}
    for name in names:
        setting = SETTINGS[name]
        model = None
        for clip in clips:
            inputs = benchmark.inputs(setting, clip)
            row = benchmark.cache.get(inputs)
            late = args.time_limit is not None and time.monotonic() - started > 60 * args.time_limit
            if row is None and not late:
                with torch.no_grad():
                    model = model or benchmark.build(setting)
                    row = benchmark.cache.get_or_compute(
                        inputs,
                        lambda: benchmark.row(setting, clip, cast(FloatVSR, model)),  # noqa: B023
                    )
            if row is not None:
                rows[clip][name] = row
    write_report(rows, args, Path(args.output or args.work_dir))
    return 0
