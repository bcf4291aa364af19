"""Scores of the three networks, float, quantized after training and fine-tuned: PSNR-Y, SSIM-Y, warping error and bit
operations in one table.

Rows are kept in the working folder: an interrupted or time-limited run continues where it stopped, and writes the
table of all rows there are.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from vsrq.apis.comparison import luma_scores
from vsrq.apis.config import load_config, require_file
from vsrq.apis.exporting import build_model
from vsrq.benchmark.clips import SCORED
from vsrq.benchmark.residual import Benchmark, fast, run_and_count
from vsrq.benchmark.residual_settings import SETTINGS
from vsrq.benchmark.tables import known, write
from vsrq.datasets import matlab_resize, to_uint8
from vsrq.errors import ConfigError
from vsrq.evaluation.temporal import warping_error
from vsrq.models import FloatVSR

VERSION = 2  # of the figures: raise it when a change of the method makes kept rows wrong
NETWORKS = {
    "BasicVSR": ("configs/basicvsr/basicvsr_vid4-bi.py", "data/weights/BasicVSR_Vimeo90K_BIx4.pth"),
    "BasicVSR++ c32n3": ("configs/basicvsr_pp/basicvsr-pp_c32n3_long.py", "weights/basicvsr_pp_c32n3.safetensors"),
    "EDVR c32": ("configs/edvr/edvr_c32_windows.py", "weights/edvr_c32.safetensors"),
}
# fine-tuned: experiment and its weights, by setting and network
TUNED = {
    f"tuned {name}": {
        "BasicVSR": (f"configs/quantized/basicvsr_{stem}_tuned_vid4.py", f"weights/basicvsr_{stem}.safetensors")
    }
    for name, stem in (
        *((f"mixed {budget}", f"mixed-{budget}") for budget in (36, 25, 16, 9)),
        ("W4A4", "w4a4"),
        ("W2A2", "w2a2"),
    )
}
_BICUBIC = "bicubic"
_DEFAULT_SETTINGS = (
    *("float", "W8A8", "W6A6", "W5A5", "W4A4", "W3A3", "W2A2", "res W4A4"),
    *(f"frame mixed {budget}" for budget in (36, 25, 16, 9)),
    "res mixed 16",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), help=f"any of: {'; '.join(NETWORKS)}")
    known_settings = [*SETTINGS, *TUNED]
    default = [*_DEFAULT_SETTINGS, *TUNED]
    parser.add_argument("--settings", nargs="+", default=default, help=f"any of: {'; '.join(known_settings)}")
    parser.add_argument("--clips", nargs="+", default=["calendar", "foliage"], help=f"any of: {', '.join(SCORED)}")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--crop", type=int, help="edge of the central part to score, in pixels of the ground truth")
    parser.add_argument("--flow-checkpoint", default="data/weights/BasicVSR_REDS4.pth", help="BasicVSR, for E_warp")
    parser.add_argument("--calibration-frames", type=int, default=5)
    parser.add_argument("--calibration-crop", type=int, default=256)
    parser.add_argument("--time-limit", type=float, help="minutes after which no new row is begun")
    parser.add_argument("--work-dir", default="work_dirs/benchmark_accuracy")


Rows = dict[tuple[str, str, str], dict[str, Any]]  # by network, setting and clip


def main(args: argparse.Namespace) -> int:
    """Compute the missing rows, then write the table of all rows asked for."""
    if args.frames < 2:
        raise ConfigError(f"--frames must be 2 or more to score consistency in time, got {args.frames}.")
    networks = known(args.networks, NETWORKS, "network")
    settings = known(args.settings, [*SETTINGS, *TUNED], "setting")
    clips = known(args.clips, SCORED, "clip")
    started, loaded, rows = time.monotonic(), {}, {}  # type: ignore[var-annotated]

    def late() -> bool:
        return args.time_limit is not None and time.monotonic() - started > 60 * args.time_limit

    for network in networks:
        config, checkpoint = NETWORKS[network]
        benchmark = Benchmark(argparse.Namespace(**vars(args), config=config, checkpoint=checkpoint), loaded)
        for setting in (_BICUBIC, *(setting for setting in settings if network in TUNED.get(setting, [network]))):
            model = None
            for clip in clips:
                inputs = _inputs(benchmark, network, setting, clip)
                row = benchmark.cache.get(inputs)
                if row is None and not late():
                    with torch.no_grad():
                        if setting != _BICUBIC:
                            model = model or _model(benchmark, network, setting)
                        row = benchmark.cache.get_or_compute(inputs, lambda: _row(benchmark, model, clip))  # noqa: B023
                if row is not None:
                    rows[network, setting, clip] = row
    data = [dict(zip(("network", "setting", "clip"), key, strict=True), **row) for key, row in rows.items()]
    write(Path(args.work_dir), "accuracy", markdown(rows, clips, args), data)
    return 0


def _inputs(benchmark: Benchmark, network: str, setting: str, clip: str) -> dict[str, Any]:
    """Return everything a row depends on."""
    scored = dict(version=VERSION, clip=clip, frames=benchmark.args.frames, crop=benchmark.args.crop)
    if setting == _BICUBIC:  # the same for all networks
        return dict(scored, kind="bicubic")
    if setting in TUNED:
        config, weights = TUNED[setting][network]
        require_file(weights)
        digest = hashlib.sha256(Path(weights).read_bytes()).hexdigest()
        return dict(scored, kind="tuned", config=config, weights=digest)
    return dict(benchmark.inputs(SETTINGS[setting], clip), kind="accuracy", accuracy_version=VERSION)


def _model(benchmark: Benchmark, network: str, setting: str) -> FloatVSR:
    if setting not in TUNED:
        return benchmark.build(SETTINGS[setting])
    config, weights = TUNED[setting][network]
    return fast(build_model(load_config(config), weights))


def _row(benchmark: Benchmark, model: Any, clip: str) -> dict[str, Any]:
    low, high, motions = benchmark.clip(clip)
    if model is None:
        frames, costs = matlab_resize(to_uint8(low), 4.0).float() / 255, {}
    else:
        report, frames = run_and_count(model, low)
        costs = dict(bops_per_mac=report.bops_per_mac(("flow",)))
    return dict(luma_scores(to_uint8(frames), to_uint8(high)), e_warp=warping_error(frames, motions), **costs)


def markdown(rows: Mapping[tuple[str, str, str], Mapping[str, Any]], clips: list[str], args: Any) -> str:
    """Return the table, and how it was made."""
    titles = [f"{clip} PSNR / SSIM" for clip in clips]
    lines = [
        f"| network | setting | {' | '.join(titles)} | mean PSNR | to bicubic | to float | E_warp x 1000 | BOPs/MAC |",
        "|--|--|" + "--:|" * (len(clips) + 5),
    ]
    for network, setting in dict.fromkeys((network, setting) for network, setting, _ in rows):
        found = [rows[network, setting, clip] for clip in clips if (network, setting, clip) in rows]
        if len(found) < len(clips):
            continue
        psnr = _mean(found, "PSNR")
        others = [[rows.get((network, other, clip)) for clip in clips] for other in (_BICUBIC, "float")]
        gaps = [f"{psnr - _mean(other, 'PSNR'):+.2f}" if all(other) else "-" for other in others]
        bops = f"{_mean(found, 'bops_per_mac'):.1f}" if "bops_per_mac" in found[0] else "-"
        cells = [f"{row['PSNR']:.2f} / {row['SSIM']:.4f}" for row in found]
        e_warp = f"{1000 * _mean(found, 'e_warp'):.3f}"
        lines.append(f"| {' | '.join([network, setting, *cells, f'{psnr:.2f}', *gaps, e_warp, bops])} |")
    part = "whole frames" if args.crop is None else f"the central {args.crop} x {args.crop} pixels"
    lines += [
        "",
        f"First {args.frames} frames of each clip, {part}, x4 bicubic, scored on the luma of 8-bit frames. "
        "Post-training quantization, calibrated on other videos; weights per channel in MSE ranges, affine activations "
        "over their extremes (MSE ranges inside residual blocks below 6 bit and everywhere below 4), one grid per "
        "concatenated tensor. "
        "`res`: temporal residuals at the same bits. `mixed`: bits and residuals shared out between layers under a "
        "budget by estimated sensitivity. `tuned`: fine-tuned on other clips. BOPs/MAC are simulated bit operations "
        "without the flow network, which is at 8 bit in all quantized rows.",
    ]
    return "\n".join(lines) + "\n"


def _mean(rows: Sequence[Any], key: str) -> float:
    return sum(float(row[key]) for row in rows) / len(rows)
