"""Calibrating what may be skipped to a budget of quality, on real clips and with the exported graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine import print_log
from torch import Tensor

from vsrq.datasets.bicubic import matlab_resize
from vsrq.datasets.clips import load_clip, make_pair, to_tensor, to_uint8
from vsrq.demo.assets import ASSETS, fetch
from vsrq.deploy.bundle import Bundle, write_manifest
from vsrq.errors import ConfigError
from vsrq.evaluation.functional import psnr
from vsrq.residual import SkipPolicy
from vsrq.runtime.skip.stats import SkipStats
from vsrq.runtime.upscaler import StepSource, Upscaler

# what is shown may lag by as many levels, which PSNR averages away
TOLERANCES = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
HALOS = (2, 6, 14)  # see SkipPolicy: with 2 pixels of motion windows reach 4, 8 and 16 beyond
FRAMES = 8
# shots of cameras at rest before which something moves: video, first frame, whether its size is halved first
_SHOTS = (("bikes.mp4", 4, False), ("bigbuckbunny.mp4", 112, True))
_MARGIN = 0.97  # of the measured break-even: to be wrong by a little must not cost time
_LEAST_BREAK_EVEN = 0.3
_LEAST_TIMED = 100 * 100  # pixels of a frame that is large enough to measure the break-even on


class Pair(NamedTuple):
    """A clip to calibrate on.

    Attributes:
        low: Frames ``(t, h, w, 3)``, uint8.
        high: Ground truth ``(t, 3, 4h, 4w)`` in [0, 1].
    """

    low: np.ndarray
    high: Tensor

    @classmethod
    def of(cls, low: Tensor, high: Tensor) -> Pair:
        """Take both as tensors ``(t, 3, h, w)`` in [0, 1]."""
        return cls(np.ascontiguousarray(to_uint8(low).permute(0, 2, 3, 1).numpy()), high)


class Costs(NamedTuple):
    """What windows cost besides their pixels; see :class:`vsrq.residual.SkipPolicy`.

    Attributes:
        break_even: Share of the frame from which the whole frame is faster.
        overhead: Pixels that a call costs.
    """

    break_even: float
    overhead: float

    @classmethod
    def through(cls, small: tuple[float, float], large: tuple[float, float]) -> Costs:
        """Take two measurements: pixels of the frame, and pixels that could have been computed in the time lost."""
        rise = (large[1] - small[1]) / (large[0] - small[0])
        rise = min(max(rise, 0.0), small[1] / small[0])  # noise must not make a cost negative
        return cls(min(1.0, 1 - rise), small[1] - rise * small[0])


@dataclass(frozen=True)
class Trial:
    """What a policy reached.

    Attributes:
        policy: The policy.
        loss: dB of PSNR-Y to the ground truth that the worst clip loses, see :func:`calibrate_skip`; negative where
            none does.
        skipped: Share of the tiles that were not computed.
        work: Pixels the network saw over those of the dense runtime, weighed by multiplications.
        costs: See :func:`measured_costs`, of the chosen policy; ``None`` for the others.
    """

    policy: SkipPolicy
    loss: float
    skipped: float
    work: float
    costs: Costs | None = None


def calibrate_skip(
    source: StepSource,
    clips: Mapping[str, Pair],
    budget: float,
    *,
    tolerances: Sequence[float] = TOLERANCES,
    halos: Sequence[int] = HALOS,
    base: SkipPolicy | None = None,
    **settings: Any,
) -> Trial:
    """Return the policy that computes least and loses no more than a budget.

    For each halo the largest tolerance within the budget is found by bisection; the loss is taken to rise with it.
    A clip loses against the dense runtime or the most careful policy, whichever is better: recurrent networks may
    drift at rest, and what skipping gains by stopping that must not pay for what it gets wrong.

    Args:
        source: Step graphs.
        clips: By name.
        budget: In dB, 0 or more.
        tolerances: In grey levels, rising.
        halos: In pixels.
        base: Everything else of the policy.
        **settings: Of :class:`vsrq.runtime.Upscaler`.

    Raises:
        ConfigError: The budget is negative, or no policy meets it; says what the best one loses.
    """
    if not isinstance(budget, (int, float)) or not budget >= 0:
        raise ConfigError(f"a budget for skipping is a loss in dB, 0 or more, got {budget!r}.")
    base = base or SkipPolicy()
    careful = replace(base, halo=max(halos), tolerance=min(tolerances))
    yardsticks = [Upscaler(source, skip=skip, **settings) for skip in (None, careful)]
    best = {name: max(_psnr(upscaler, clip) for upscaler in yardsticks) for name, clip in clips.items()}
    trials: list[Trial] = []

    def attempt(halo: int, tolerance: float) -> Trial:
        policy = replace(base, halo=halo, tolerance=tolerance)
        upscaler = Upscaler(source, skip=policy, **settings)
        losses = [best[name] - _psnr(upscaler, clip) for name, clip in clips.items()]
        stats = _stats(upscaler)
        trial = Trial(policy, max(losses), stats.skip_fraction, stats.work)
        print_log(
            f"halo {halo}, tolerance {tolerance:g}: {trial.loss:+.3f} dB, {trial.skipped:.0%} of the tiles skipped",
            logger="current",
        )
        trials.append(trial)
        return trial

    for halo in halos:
        low, high = 0, len(tolerances)
        while low < high:
            middle = (low + high) // 2
            if attempt(halo, tolerances[middle]).loss <= budget:
                low = middle + 1
            else:
                high = middle
    within = [trial for trial in trials if trial.loss <= budget]
    if not within:
        least = min(trials, key=lambda trial: trial.loss)
        raise ConfigError(
            f"a loss of {budget:g} dB cannot be kept by skipping; the best that was reached is {least.loss:.3f} dB, "
            f"with tolerance {least.policy.tolerance:g} and halo {least.policy.halo}. Allow so much, or no "
            "--skip-budget."
        )
    # a percent of the work is not worth a larger tolerance
    return min(within, key=lambda trial: (round(trial.work, 2), trial.policy.tolerance))


def measured_costs(source: StepSource, clips: Mapping[str, Pair], policy: SkipPolicy, **settings: Any) -> Costs | None:
    """Return from where on whole frames are faster than windows; ``None`` if there was nothing to measure it on.

    Small frames are left out. The others are timed at their size and enlarged to twice of it, which tells what windows
    cost by the frame (copies of results, looking for changes) from what every call costs.

    Args:
        source: Step graphs.
        clips: By name; run twice, for the first time a window has a size it has to be compiled.
        policy: Decides which windows there are.
        **settings: Of :class:`vsrq.runtime.Upscaler`.
    """
    timed = [clip.low for clip in clips.values() if clip.low[0, ..., 0].size >= _LEAST_TIMED]
    always = replace(policy, break_even=1.0, overhead=0)
    small, large = (_excess(Upscaler(source, skip=always, **settings), timed, enlarged) for enlarged in (1, 2))
    return None if small is None or large is None else Costs.through(small, large)


def _excess(upscaler: Upscaler, clips: Sequence[np.ndarray], enlarged: int) -> tuple[float, float] | None:
    """Return pixels of a frame, and those that could have been computed in the time windows lost: means over clips."""
    stats, found = _stats(upscaler), []
    for low in clips:
        frames = low.repeat(enlarged, 1).repeat(enlarged, 2)
        for _ in range(2):
            stats.restart()
            for _frame in upscaler.stream(frames):
                pass
        excess = stats.excess()
        if excess is not None:
            found.append((stats.frame_pixels, excess))
    return (fmean(pixels for pixels, _ in found), fmean(lost for _, lost in found)) if found else None


def calibrate_bundle(path: Path, budget: float, sources: Sequence[str] = (), **settings: Any) -> Trial:
    """Calibrate a bundle and write the policy into its manifest; see :func:`calibrate_skip`.

    Args:
        path: The bundle.
        budget: In dB.
        sources: High-resolution videos or folders; without any, two shots that are fetched.
        **settings: Of :class:`vsrq.runtime.Upscaler`.
    """
    bundle = Bundle(path)
    clips = clips_of(sources)
    found = calibrate_skip(bundle, clips, budget, **settings)
    policy = found.policy
    costs = measured_costs(bundle, clips, policy, **settings)
    if costs is not None:
        share = round(max(_LEAST_BREAK_EVEN, _MARGIN * costs.break_even), 2)
        policy = replace(policy, break_even=share, overhead=max(0, round(costs.overhead)))
    found = replace(found, costs=costs)
    measured = None if costs is None else costs._asdict()
    content = {**asdict(found), "costs": measured, "policy": policy.to_json(), "budget": budget, "clips": list(clips)}
    write_manifest(path, replace(bundle.manifest, skip=content))
    print_log(f"{path}: skips with {policy}, {found.loss:+.3f} dB of {budget:g} dB allowed", logger="current")
    return found


def clips_of(sources: Sequence[str]) -> dict[str, Pair]:
    """Return pairs of the first frames of videos or folders, or of two shots that are fetched where none are named."""
    if sources:
        return {source: Pair.of(*make_pair(load_clip(source)[:FRAMES])) for source in sources}
    files = fetch(Path("data"), tuple(asset for asset in ASSETS if asset.target.endswith(".mp4")))
    return {f"{video} from frame {start}": _shot(files[video], start, halve) for video, start, halve in _SHOTS}


def _shot(video: Path, start: int, halve: bool) -> Pair:
    clip = load_clip(video, start=start, stop=start + FRAMES)
    return Pair.of(*make_pair(matlab_resize(clip, 0.5).clamp(0, 1) if halve else clip))


def _stats(upscaler: Upscaler) -> SkipStats:
    if upscaler.skip_stats is None:  # an upscaler with a policy counts
        raise RuntimeError("skipping was not counted")
    return upscaler.skip_stats


@torch.no_grad()
def _psnr(upscaler: Upscaler, clip: Pair) -> float:
    output = to_tensor(list(upscaler.stream(clip.low)))
    return psnr(output * 255, clip.high * 255, convert_to="Y").mean().item()
