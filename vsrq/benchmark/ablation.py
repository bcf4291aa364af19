"""What each ingredient of fine-tuning is worth: one experiment with one recipe after the other, over several seeds.

Every run is one of ``tools/train.py``; the seed chooses the clips, their crops and their order, and the same seeds are
used for all recipes. Rows are kept in the working folder: an interrupted or time-limited run continues where it
stopped.
"""

from __future__ import annotations

import argparse
import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn

from vsrq.apis import train
from vsrq.apis.config import load_config
from vsrq.apis.exporting import build_model
from vsrq.benchmark.clips import SCORED, data_folders, flow_network
from vsrq.benchmark.row_cache import RowCache
from vsrq.benchmark.tables import known, known_clips, table, write
from vsrq.errors import ConfigError
from vsrq.evaluation.functional import psnr
from vsrq.evaluation.temporal import Motion, clip_motion, warping_error
from vsrq.quant.presets import resolve

VERSION = 1  # of the figures: raise it when a change of the method makes kept rows wrong


@dataclass(frozen=True)
class Recipe:
    """One row.

    Attributes:
        name: As it appears in the table.
        weight: Settings of the weight quantizers beside their bits.
        act: The same of the activations.
        losses: Distillation losses; ``None`` for the experiment's, an empty tuple for the ground truth alone.
    """

    name: str
    weight: Mapping[str, Any]
    act: Mapping[str, Any]
    losses: tuple[Mapping[str, Any], ...] | None = None

    def options(self, bits: int) -> dict[str, Any]:
        """Return what the recipe changes in the config of the experiment."""
        options: dict[str, Any] = {
            "model.quant.weight": dict(_delete_=True, bits=bits, **self.weight),
            "model.quant.act": dict(_delete_=True, bits=bits, **self.act),
        }
        if self.losses is not None:
            options["model.distill"] = dict(losses=list(self.losses)) if self.losses else None
        if self.losses == ():
            options["model.architecture.pixel_loss.loss_weight"] = 1.0
        return options

    def learned(self) -> list[str]:
        """Return globs over the names of what its quantizers learn of their grids."""
        settings = resolve(self.weight, "weight"), resolve(self.act, "act")
        names = {"*quantizer*.factor": "learn", "*quantizer*.offset": "learn_offset"}
        return [pattern for pattern, key in names.items() if any(one.get(key) for one in settings)]


_MSE = dict(observer=dict(type="MSE"))
_CHANNELS = dict(_MSE, axis=0)
_BEST = dict(type="LSQ", **_CHANNELS), dict(type="LSQPlus")
RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("STE, calibrated steps", dict(type="MSE"), dict(type="MSE")),
        Recipe("LSQ as published", dict(type="LSQ"), dict(type="LSQ")),
        Recipe("LSQ, MSE start", dict(type="LSQ", **_MSE), dict(type="LSQ", **_MSE)),
        Recipe("LSQ, MSE start, per channel", dict(type="LSQ", **_CHANNELS), dict(type="LSQ", **_MSE)),
        Recipe("LSQ, LSQ+ activations, per channel", *_BEST),
        Recipe("RLQ as published", dict(type="RLQ"), dict(type="RLQ")),
        Recipe("RLQ, MSE start, per channel", dict(type="RLQ", **_CHANNELS), dict(type="RLQ", **_MSE)),
        Recipe("RLQ without the shift", dict(type="RLQ", **_CHANNELS), dict(type="RLQ", shift=False, **_MSE)),
        Recipe(
            "RLQ without the soft rounding",
            dict(type="RLQ", rounding=None, **_CHANNELS),
            dict(type="RLQ", rounding=None, **_MSE),
        ),
        Recipe("best, output distilled alone", *_BEST, losses=(dict(type="OutputDistillation", eps=1e-4),)),
        Recipe("best, ground truth alone", *_BEST, losses=()),
    )
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("--config", default="configs/quantized/basicvsr-pp_c32n3_w4a4_tuned_vid4.py", help="a fine-tuning experiment")
    add("--bits", type=int, default=4)
    add("--iters", type=int, default=60, help="of each run (default 60)")
    add("--recipes", nargs="+", default=list(RECIPES), help=f"any of: {'; '.join(RECIPES)}")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--clips", nargs="+", default=["calendar", "foliage"], help=f"any of: {', '.join(SCORED)}")
    add("--frames", type=int, default=8)
    add("--crop", type=int, help="edge of the central part to score, in pixels of the ground truth")
    add("--flow-checkpoint", default="data/weights/BasicVSR_REDS4.pth", help="BasicVSR, for E_warp")
    add("--time-limit", type=float, help="minutes after which no new run is begun")
    add("--work-dir", default="work_dirs/benchmark_ablation")
    add("--output", help="folder for the table; the working folder by default")


def main(args: argparse.Namespace) -> int:
    """Train and score what is missing, then write ``ablation.{md,json}`` and print the table."""
    names, clips = known(args.recipes, RECIPES, "recipe"), known_clips(args.clips)
    if args.iters < 1 or args.frames < 2:
        raise ConfigError(f"--iters {args.iters} must be 1 or more, --frames {args.frames} 2 or more.")
    started, scorer = time.monotonic(), Scorer(args, clips)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for seed in args.seeds:  # all recipes of one seed first: a run cut short still compares them
        for name in names:
            inputs = _inputs(args, RECIPES[name], seed)
            row = scorer.cache.get(inputs)
            late = args.time_limit is not None and time.monotonic() - started > 60 * args.time_limit
            if row is None and not late:
                row = scorer.cache.get_or_compute(inputs, lambda: scorer.run(RECIPES[name], seed))  # noqa: B023
            if row is not None:
                rows[name].append(dict(row, seed=seed))
    rows = {name: found for name, found in rows.items() if found}
    write(Path(args.output or args.work_dir), "ablation", markdown(rows, args), rows)
    return 0


def _inputs(args: argparse.Namespace, recipe: Recipe, seed: int) -> dict[str, Any]:
    names = ("config", "bits", "iters", "clips", "frames", "crop")
    return dict(version=VERSION, recipe=asdict(recipe), seed=seed, **{name: getattr(args, name) for name in names})


class Scorer:
    """Trains and scores one recipe after the other.

    Args:
        args: The command's arguments.
        clips: Names of the clips to score on.
    """

    def __init__(self, args: argparse.Namespace, clips: list[str]) -> None:
        self.args, self.clips = args, clips
        self.cache = RowCache(Path(args.work_dir) / "rows")
        self._loaded: dict[str, tuple[Tensor, Tensor, list[Motion]]] = {}

    @cached_property
    def _flow(self) -> nn.Module:
        return flow_network(self.args.flow_checkpoint)

    def run(self, recipe: Recipe, seed: int) -> dict[str, Any]:
        """Train a recipe with one seed and score it; the checkpoint is not kept."""
        args = self.args
        folder = Path(args.work_dir) / "run"
        shutil.rmtree(folder, ignore_errors=True)
        settings = recipe.options(args.bits)
        options = {
            **settings,
            **_schedule(load_config(args.config), args.iters, recipe.learned()),
            "randomness.seed": seed,
            "default_hooks.checkpoint.interval": args.iters,
            # MMEngine keeps one message hub per name, and the default name has a resolution of seconds
            "experiment_name": uuid.uuid4().hex,
        }
        train(args.config, work_dir=str(folder), cfg_options=options)
        model = build_model(load_config(args.config, settings), folder / f"iter_{args.iters}.pth")
        model.to(memory_format=torch.channels_last)
        with torch.no_grad():
            scores = {clip: self._score(model, clip) for clip in self.clips}
        shutil.rmtree(folder)
        return dict(scores=scores)

    def _score(self, model: Any, clip: str) -> dict[str, float]:
        if clip not in self._loaded:
            low, high = SCORED[clip].load(data_folders(), self.args.frames, self.args.crop)
            self._loaded[clip] = low, high, clip_motion(high, self._flow)
        low, high, motions = self._loaded[clip]
        output = model.upscale(low[None])[0].clamp(0, 1)
        score = psnr(output * 255, high * 255, convert_to="Y").mean().item()
        return dict(psnr_y=score, e_warp=warping_error(output, motions))


def _schedule(config: Any, iters: int, learned: list[str]) -> dict[str, Any]:
    """Squeeze the experiment's schedule into ``iters`` steps, so that all of it takes place.

    Hooks that freeze what quantizers learn are kept for what this recipe learns.
    """
    share = iters / config.train_cfg.max_iters

    def squeezed(part: Mapping[str, Any]) -> dict[str, Any]:
        times = {key: max(1, round(share * part[key])) for key in ("begin", "end", "T_max") if part.get(key)}
        return {**part, **times}

    hooks = []
    for hook in map(squeezed, config.custom_hooks):
        if hook["type"] == "FreezeHook":
            hook["freeze"] = [name for name in hook["freeze"] if "quantizer" not in name or name in learned]
            if not hook["freeze"]:
                continue
        hooks.append(hook)
    schedulers = [squeezed(part) for part in config.param_scheduler]
    return {"train_cfg.max_iters": iters, "param_scheduler": schedulers, "custom_hooks": hooks}


def markdown(rows: Mapping[str, list[dict[str, Any]]], args: argparse.Namespace) -> str:
    """Return the table, with how it was made."""
    part = "whole frames" if args.crop is None else f"the central {args.crop} x {args.crop} pixels"
    clips = list(args.clips)
    head = (
        f"{args.config}, {args.bits} bit, {args.iters} iterations; {args.frames} frames, {part}. PSNR-Y in dB, means "
        "over the seeds; the range is that of the mean of the clips between seeds. The change is against the first "
        "row, seed by seed, with its range."
    )
    first = {row["seed"]: _mean_psnr(row) for row in next(iter(rows.values()), [])}
    cells = []
    for name, found in rows.items():
        means = [_mean_psnr(row) for row in found]
        changes = [_mean_psnr(row) - first[row["seed"]] for row in found if row["seed"] in first]
        e_warp = mean(score["e_warp"] for row in found for score in row["scores"].values())
        cells.append(
            [
                name,
                *(f"{mean(row['scores'][clip]['psnr_y'] for row in found):.2f}" for clip in clips),
                f"{mean(means):.2f}",
                f"{max(means) - min(means):.2f}",
                f"{mean(changes):+.2f} ({min(changes):+.2f} to {max(changes):+.2f})" if changes else "",
                f"{1000 * e_warp:.3f}",
                str(len(found)),
            ]
        )
    return f"{head}\n\n{table(['recipe', *clips, 'mean', 'range', 'change', 'E_warp x 1000', 'seeds'], cells)}\n"


def _mean_psnr(row: Mapping[str, Any]) -> float:
    return mean(score["psnr_y"] for score in row["scores"].values())
