"""Skipping of unchanged tiles: measured time and quality beside the dense integer runtime and mmagic's PyTorch.

All three run one after the other in every round, in one process, each of them first in turn; a ratio is taken within
its round. What has been measured is kept in ``--out``: the same command goes on where an earlier one stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vsrq.apis.export_command import parse_size
from vsrq.apis.skip_budget import Pair, calibrate_bundle
from vsrq.benchmark import machine
from vsrq.benchmark.bundles import Workshop, code_version
from vsrq.benchmark.clips import flow_network
from vsrq.benchmark.contestants import CONTESTANTS, REFERENCE, Running, start
from vsrq.benchmark.networks import GENERATORS, Subject
from vsrq.benchmark.rounds import Record, in_turn
from vsrq.benchmark.skip_clips import LOADERS, load
from vsrq.benchmark.skip_table import report
from vsrq.datasets.clips import to_tensor
from vsrq.deploy.bundle import Bundle
from vsrq.errors import ConfigError
from vsrq.evaluation.functional import psnr
from vsrq.evaluation.temporal import clip_motion, warping_error
from vsrq.residual import SkipPolicy
from vsrq.runtime import Upscaler
from vsrq.runtime.skip.picture import write_picture

DENSE, SKIP = "dense", "skip"
_KIND = "openvino-w8a8"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("--network", choices=sorted(GENERATORS), default="basicvsr")
    add("--checkpoint", metavar="FILE", help="float weights; default: official ones for basicvsr, random ones else")
    add("--bundle", type=Path, metavar="DIR",
        help="an exported bundle instead, with the policy it was calibrated to; without mmagic's network")  # fmt: skip
    add("--channels", type=int, help="instead of the network's own, for a quick look")
    add("--blocks", type=int, help="residual blocks instead of the network's own")
    add("--clips", nargs="+", default=list(LOADERS), choices=list(LOADERS), metavar="NAME",
        help=f"of {', '.join(LOADERS)} (default: all)")  # fmt: skip
    add("--size", default="180x320", metavar="HxW", help="most of the low-resolution frames (default 180x320)")
    add("--frames", type=int, default=8, help="of a run (default 8)")
    add("--rounds", type=int, default=5, help="paired runs (default 5)")
    add("--threads", type=int, default=2)
    add("--budget", type=float, metavar="DB", help="calibrate the policy to this loss first, as export does")
    add("--tile", type=int, help="of the policy, instead of the bundle's or the default; likewise what follows")
    add("--tolerance", type=float)
    add("--halo", type=lambda text: text if text == "full" else int(text))
    add("--no-mmagic", action="store_true", help="leave mmagic's slow network out")
    add("--flow-checkpoint", default="data/weights/BasicVSR_REDS4.pth", help="BasicVSR, for E_warp")
    add("--minutes", type=float, default=60, help="start nothing new after it (default 60)")
    add("--out", type=Path, default=Path("work_dirs/benchmark/skip"), help="folder of results, pictures and graphs")
    add("--fresh", action="store_true", help="forget what was measured before")


def main(args: argparse.Namespace) -> int:
    """Measure what is missing, then print and write the report."""
    size = parse_size(args.size)
    if size is None or min(args.rounds, args.threads) < 1 or args.frames < 2:
        raise ConfigError(
            f"--rounds {args.rounds} and --threads {args.threads} must be 1 or more, --frames {args.frames} 2 or more."
        )
    if args.bundle is not None and args.budget is not None:
        raise ConfigError(
            "--budget calibrates the benchmark's own network; calibrate a bundle with tools/export.py --skip-budget."
        )
    args.out.mkdir(parents=True, exist_ok=True)
    text = Benchmark(args, size).run()
    sys.stdout.write(text)
    partial = args.out / "skip.md.partial"
    partial.write_text(text, "utf-8")
    partial.replace(args.out / "skip.md")
    return 0


class Benchmark:
    """One call of the command.

    Args:
        args: Its arguments.
        size: Most height and width of the frames.
    """

    def __init__(self, args: argparse.Namespace, size: tuple[int, int]) -> None:
        self.args, self.size = args, size
        self.subject = Subject(args.network, args.channels, args.blocks, args.checkpoint)
        self.workshop = Workshop(self.subject, args.out, code_version())
        self._deadline = time.monotonic() + 60 * args.minutes
        torch.set_num_threads(args.threads)

    def run(self) -> str:
        """Return the report on everything that has been measured."""
        self.bundle = Bundle(self._own_bundle() if self.args.bundle is None else self.args.bundle)
        own = {name: getattr(self.args, name) for name in ("tile", "tolerance", "halo")}
        chosen = {name: value for name, value in own.items() if value is not None}
        policy = Upscaler(self.bundle, skip=chosen).skip
        if policy is None:
            raise RuntimeError("an upscaler that skips has a policy")
        records = {name: self._measure(name, policy) for name in self.args.clips}
        return report(records)

    def _own_bundle(self) -> Path:
        self.workshop.prepare(_KIND)
        folder = self.workshop.bundle(_KIND)
        if self.args.budget is not None and (Bundle(folder).manifest.skip or {}).get("budget") != self.args.budget:
            calibrate_bundle(folder, self.args.budget, threads=self.args.threads)
        return folder

    def _subject(self) -> dict[str, Any]:
        """Return what is measured, for the record."""
        if self.args.bundle is None:
            subject = self.subject
            return dict(network=subject.network, generator=subject.generator, weights=subject.weights)
        content = hashlib.sha256(json.dumps(self.bundle.manifest.files, sort_keys=True).encode()).hexdigest()
        return dict(network=self.bundle.path.resolve().name, generator=content, weights="of the bundle")

    def _measure(self, name: str, policy: SkipPolicy) -> Record:
        subject = self._subject()
        settings = dict(
            **subject,
            clip=name,
            version=self.workshop.version,
            policy=policy.to_json(),
            size=self.size,
            frames=self.args.frames,
            threads=self.args.threads,
            machine=machine.describe(),
        )
        file = self.args.out / f"{name}-{subject['network']}.json"
        record = Record(settings) if self.args.fresh else Record.resume(file, settings)
        if len(record.rounds) >= self.args.rounds or self._late():
            return record
        low, high = load(name, self.args.frames, self.size)
        frames = Pair.of(low, high).low
        running = self._contestants(policy)
        outputs = {key: np.stack(list(one.stream(frames))) for key, one in running.items()}  # warms up, too
        record.contestants = self._scores(outputs, high)
        skipping = running[SKIP]
        if isinstance(skipping, Upscaler) and skipping.skip_stats is not None:
            write_picture(self.args.out / f"{name}.png", skipping.skip_stats, policy.tile)
        while len(record.rounds) < self.args.rounds and not self._late():
            order = in_turn(list(running), len(record.rounds))
            record.rounds.append({key: _seconds(running[key], frames) / len(frames) for key in order})
            if isinstance(skipping, Upscaler):
                record.of(SKIP).update(_counted(skipping))
            record.save(file)
        return record

    def _contestants(self, policy: SkipPolicy) -> dict[str, Running | Upscaler]:
        running: dict[str, Running | Upscaler] = {}
        if not self.args.no_mmagic and self.args.bundle is None:
            running[REFERENCE] = start(CONTESTANTS[REFERENCE], self.workshop, self.args.threads)
        for key, skip in ((DENSE, None), (SKIP, policy)):
            running[key] = Upscaler(self.bundle, threads=self.args.threads, skip=skip)
        return running

    def _scores(self, outputs: dict[str, np.ndarray], high: Tensor) -> dict[str, dict[str, Any]]:
        flow = self._flow()
        motions = None if flow is None else clip_motion(high, flow)
        dense, scores = to_tensor(outputs[DENSE]), {}
        for key, frames in outputs.items():
            clip = to_tensor(frames)
            scores[key] = {
                "psnr": psnr(clip * 255, high * 255, convert_to="Y").mean().item(),
                # equal frames have no PSNR
                "psnr_dense": min(200.0, psnr(clip * 255, dense * 255, convert_to="Y").min().item()),
                "e_warp": None if motions is None else warping_error(clip, motions),
            }
        return scores

    def _flow(self) -> Any:
        path = Path(self.args.flow_checkpoint)
        return flow_network(path) if path.is_file() else None

    def _late(self) -> bool:
        return time.monotonic() > self._deadline


def _seconds(running: Running | Upscaler, frames: np.ndarray) -> float:
    if isinstance(running, Upscaler) and running.skip_stats is not None:
        running.skip_stats.restart()
    begin = time.perf_counter()
    for _ in _each(running, frames):
        pass
    return time.perf_counter() - begin


def _each(running: Running | Upscaler, frames: np.ndarray) -> Iterator[np.ndarray]:
    return iter(running.stream(list(frames)))


def _counted(upscaler: Upscaler) -> dict[str, Any]:
    """Return what was skipped in the last run."""
    stats = upscaler.skip_stats
    if stats is None:
        return {}
    steps = {
        name: {
            "calls": entry.calls,
            "dense": entry.dense,
            "skipped": entry.skipped / entry.calls,
            "milliseconds": {stage: 1e3 * seconds / stats.frames for stage, seconds in entry.seconds.items()},
        }
        for name, entry in stats.steps.items()
    }
    per_frame = {"gmacs": stats.macs, "gbops": stats.bops, "dense_gbops": stats.dense_bops}
    costs = {name: None if total is None else total / stats.frames / 1e9 for name, total in per_frame.items()}
    return {"skipped": stats.skip_fraction, "work": stats.work, "state": stats.nbytes, "steps": steps, **costs}
