"""What skipping saved and what it cost: counted and measured, never derived from one another."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from vsrq.deploy.plan import Plan

STAGES = ("policy", "gather", "compute", "scatter")


@dataclass
class StepStats:
    """Of one step.

    Attributes:
        calls: How often it was called.
        dense: Calls that computed the whole frame.
        windowed: Calls that computed windows.
        skipped: Sum over the calls of the share of tiles that were not computed.
        pixels: Pixels of the frame the network really saw, halos included.
        seconds: By stage; computing whole frames counts as ``compute``.
        dense_seconds: Seconds of the calls that computed the whole frame.
    """

    calls: int = 0
    dense: int = 0
    windowed: int = 0
    skipped: float = 0.0
    pixels: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    dense_seconds: float = 0.0


class SkipStats:
    """Of all steps of a network.

    Args:
        plan: Of the network.

    Attributes:
        steps: By name.
        frame_pixels: Pixels of a (padded) frame.
        activity: For each tile of the upscaled frames ``(rows, columns)``, in how many frames it was computed;
            ``None`` before the first.
        nbytes: Most bytes that were kept from frame to frame at the end of a stretch.
        frame: The last frame that came in, RGB (h, w, 3), or ``None``.
    """

    def __init__(self, plan: Plan) -> None:
        self._macs = {step.name: step.macs for step in plan.steps}
        self._bops = {step.name: step.bops for step in plan.steps}
        self.restart()

    def restart(self) -> None:
        """Forget everything."""
        self.steps: dict[str, StepStats] = defaultdict(StepStats)
        self.frame_pixels = 0
        self.activity: np.ndarray | None = None
        self.frame: np.ndarray | None = None
        self.nbytes = 0

    @contextmanager
    def timed(self, step: str, stage: str) -> Iterator[None]:
        """Add the time the block takes to a stage of a step."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.steps[step].seconds[stage] += time.perf_counter() - start

    def note(self, step: str, tiles: np.ndarray, pixels: int, *, frame_pixels: int) -> None:
        """Add a call that computed some tiles, for which the network saw so many pixels."""
        entry = self.steps[step]
        entry.calls += 1
        entry.dense += pixels == frame_pixels
        entry.windowed += 0 < pixels < frame_pixels
        entry.pixels += pixels
        entry.skipped += 1 - np.count_nonzero(tiles) / tiles.size
        self.frame_pixels = frame_pixels
        if step == "reconstruct":
            fits = self.activity is not None and self.activity.shape == tiles.shape
            self.activity = tiles + (self.activity if fits else np.zeros(tiles.shape, np.int64))

    @property
    def frames(self) -> int:
        """Frames that were upscaled."""
        return self.steps["reconstruct"].calls if "reconstruct" in self.steps else 0

    @property
    def skip_fraction(self) -> float:
        """Share of all tiles of all calls that were not computed."""
        calls = sum(entry.calls for entry in self.steps.values())
        return sum(entry.skipped for entry in self.steps.values()) / calls if calls else 0.0

    @property
    def macs(self) -> float | None:
        """Multiply-accumulates that were executed; ``None`` where the bundle does not say."""
        return self._sum(self._macs, executed=True)

    @property
    def dense_macs(self) -> float | None:
        """What they would have been without skipping."""
        return self._sum(self._macs, executed=False)

    @property
    def bops(self) -> float | None:
        """Bit operations that were executed, float layers counted as 32 x 32; ``None`` likewise."""
        return self._sum(self._bops, executed=True)

    @property
    def dense_bops(self) -> float | None:
        """What they would have been without skipping."""
        return self._sum(self._bops, executed=False)

    @property
    def work(self) -> float:
        """What was executed over what would have been without skipping: of multiplications, or of pixels."""
        executed, dense = self.macs, self.dense_macs
        if executed is None or not dense:
            executed = sum(entry.pixels for entry in self.steps.values())
            dense = sum(entry.calls * self.frame_pixels for entry in self.steps.values())
        return executed / dense if dense else 0.0

    def _sum(self, per_pixel: Mapping[str, float | None], *, executed: bool) -> float | None:
        total = 0.0
        for name, entry in self.steps.items():
            cost = per_pixel.get(name)
            if cost is None:
                return None
            total += cost * (entry.pixels if executed else entry.calls * self.frame_pixels)
        return total

    def excess(self) -> float | None:
        """Return how many pixels of a whole frame take as long as what a call with windows costs besides its pixels.

        All stages count. ``None`` unless a step computed both whole frames and windows.
        """
        seconds = pixel = 0.0
        for entry in self.steps.values():
            if entry.dense_seconds > 0 and entry.windowed:
                each = entry.dense_seconds / (entry.dense * self.frame_pixels)
                windows = entry.pixels - entry.dense * self.frame_pixels
                seconds += sum(entry.seconds.values()) - entry.dense_seconds - each * windows
                pixel += each * entry.windowed
        return seconds / pixel if pixel else None

    def table(self) -> str:
        """Return a line per step and one for all, for people."""
        lines = [f"{'step':22}{'calls':>7}{'dense':>7}{'skipped':>9}" + "".join(f"{stage:>11}" for stage in STAGES)]
        for name, entry in self.steps.items():
            milliseconds = (1e3 * entry.seconds[stage] / max(entry.calls, 1) for stage in STAGES)
            lines.append(
                f"{name:22}{entry.calls:7}{entry.dense:7}{entry.skipped / max(entry.calls, 1):9.1%}"
                + "".join(f"{value:8.1f} ms" for value in milliseconds)
            )
        counted = (("GMAC", self.macs, self.dense_macs), ("GBOP", self.bops, self.dense_bops))
        work = [
            f"{done / 1e9:.1f} of {dense / 1e9:.1f} {unit}"
            for unit, done, dense in counted
            if done is not None and dense is not None
        ]
        executed = f"; {' and '.join(work)} executed" if work else ""
        lines.append(f"{self.skip_fraction:.1%} of all tiles skipped{executed}; times are per call")
        return "\n".join(lines)
