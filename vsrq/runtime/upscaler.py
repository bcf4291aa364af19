"""Frames in, frames out: any length, in bounded memory."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import cv2
import numpy as np

from vsrq.deploy.bundle import Bundle
from vsrq.deploy.driver import Driver, StepGraph, StepRunner, make_driver
from vsrq.deploy.plan import Plan
from vsrq.errors import ConfigError, DataError
from vsrq.residual.skip_policy import SkipPolicy
from vsrq.runtime.memory import available_bytes, fixed_bytes, longest_stretch, skip_bytes
from vsrq.runtime.scenes import SceneCuts
from vsrq.runtime.skip.graphs import GraphSource, WindowGraphs
from vsrq.runtime.skip.runner import SkipRunner
from vsrq.runtime.skip.stats import SkipStats
from vsrq.runtime.tiles import TileGrid, make_grid

DEFAULT_MEMORY = 2 * 2**30
DEFAULT_LOOKAHEAD = 3
_DTYPES = (np.uint8, np.uint16)
_STRIP = 32  # rows that are converted together, so that they stay in the cache


class StepSource(Protocol):
    """Where step graphs come from: a bundle, or a network in memory."""

    @property
    def plan(self) -> Plan:
        """How the steps belong together."""

    def load(self, height: int, width: int, **options: object) -> dict[str, StepGraph]:
        """Return the graphs for frames of one padded size."""


class Upscaler:
    """Upscales a stream of frames with step graphs.

    Scenes are found and upscaled each on its own, in stretches: forward branches carry their memory through the whole
    scene, backward branches start ``lookahead`` frames beyond the end of a stretch. The result depends on
    the arguments and the frames alone.

    Args:
        source: Folder of a bundle, a :class:`vsrq.deploy.bundle.Bundle`, or
            :class:`vsrq.deploy.torch_backend.TorchSteps`.
        backend: Must be the bundle's own if it is given.
        lookahead: Frames beyond a stretch that backward branches see; ignored by sliding windows, which see all
            they need.
        stretch: Frames finished at a time; ``None`` takes what ``memory`` allows, 60 at most.
        scene_threshold: See :class:`vsrq.runtime.scenes.SceneCuts`; 0 takes everything for one scene.
        tile: Height and width of tiles, for frames that need too much memory at once; ``None`` for none, or for
            those that a bundle fixed to one size needs.
        tile_overlap: Pixels neighbouring tiles share and fade over.
        memory: Bytes to stay below, about. What a stream took stays with the upscaler, for its next stream.
        threads: Of the backend; default: all cores the process may use.
        skip: Compute only what changed: a :class:`vsrq.residual.SkipPolicy`, a dict of its arguments, or ``True``
            for what the bundle was calibrated to (the policy's defaults where it was not). Default: everything is
            computed.

    Attributes:
        scale: Output size over input size.
        skip: The policy, or ``None``.
        skip_stats: What was skipped in all streams so far, or ``None`` without a policy.
        context: Frames before a frame that are enough to start from there when a run is resumed.

    Raises:
        CheckpointError: The bundle is missing, changed, or of another version.
        ConfigError: An argument is out of range.
    """

    def __init__(
        self,
        source: str | Path | StepSource,
        *,
        backend: str | None = None,
        lookahead: int = DEFAULT_LOOKAHEAD,
        stretch: int | None = None,
        scene_threshold: float = 0.1,
        tile: tuple[int, int] | None = None,
        tile_overlap: int = 16,
        memory: int = DEFAULT_MEMORY,
        threads: int | None = None,
        skip: SkipPolicy | Mapping[str, Any] | bool | None = None,
    ) -> None:
        if lookahead < 0 or (stretch is not None and stretch < 1) or memory < 1 or scene_threshold < 0:
            raise ConfigError(
                f"lookahead={lookahead} and scene_threshold={scene_threshold} must not be negative, stretch={stretch} "
                f"and memory={memory} must be 1 or more."
            )
        self._source: StepSource = Bundle(source) if isinstance(source, (str, Path)) else source
        if backend is not None and isinstance(self._source, Bundle) and backend != self._source.manifest.backend:
            raise ConfigError(
                f"the bundle {self._source.path} is for {self._source.manifest.backend}, not for {backend}; export it "
                f"again with --backend {backend}."
            )
        self.plan = self._source.plan
        self.scale = self.plan.scale
        self.context = 2 * lookahead
        self._lookahead, self._stretch, self._memory = lookahead, stretch, memory
        self._scene_threshold = scene_threshold
        self._tile, self._tile_overlap = tile, tile_overlap
        self._options = {} if threads is None else {"threads": threads}
        self._compiled: _Compiled | None = None
        self.skip = self._policy(skip)
        self.skip_stats = None if self.skip is None else SkipStats(self.plan)

    def stream(self, frames: Iterable[np.ndarray]) -> Generator[np.ndarray, None, None]:
        """Upscale frames one after the other. Streams of one upscaler know nothing of each other.

        Args:
            frames: RGB (h, w, 3), uint8 or uint16 over its full range, all of one size and type.

        Yields:
            For each frame, in order, RGB (scale * h, scale * w, 3) of the same type. The first one comes when a
            stretch and its lookahead have been read.

        Raises:
            DataError: A frame has another shape or type than the first, or needs too much memory.
        """
        cuts = SceneCuts(self._scene_threshold)
        pending: list[np.ndarray] = []
        engine: _Engine | None = None
        first: np.ndarray | None = None
        for frame in frames:
            if first is None or engine is None:
                first, engine = frame, self._engine_for(frame)
            _check_same(frame, first)
            if cuts.starts_scene(frame):
                yield from engine.run(pending, len(pending))
                engine.reset()
                pending = []
            pending.append(frame)
            if self.skip_stats is not None:
                self.skip_stats.frame = frame
            if len(pending) == engine.stretch + engine.lookahead:
                yield from engine.run(pending, engine.stretch)
                pending = pending[engine.stretch :]
        if engine is not None and pending:
            yield from engine.run(pending, len(pending))

    def __call__(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """See :meth:`stream`."""
        return self.stream(frames)

    def _engine_for(self, frame: np.ndarray) -> _Engine:
        """Return drivers for a stream of such frames; the compiled graphs are kept for the next stream of that size."""
        _check_frame(frame)
        height, width = frame.shape[:2]
        if self._compiled is None or self._compiled.size != (height, width):
            self._compiled = self._compile(height, width)
        compiled = self._compiled
        steps = self._runner(compiled)
        drivers = [
            make_driver(self.plan, compiled.graphs, lookahead=self._lookahead, steps=steps)
            for _ in compiled.grid.corners
        ]
        kept = 0 if self.skip is None else len(drivers) * skip_bytes(self.plan, *compiled.padded)
        canvas = _canvas_bytes(self.scale, height, width)
        stretch = self._stretch or longest_stretch(
            self.plan,
            *compiled.padded,
            lookahead=drivers[0].lookahead,
            budget=self._memory - kept,
            canvas=canvas,
            tiled=len(drivers) > 1,
        )
        return _Engine(drivers, compiled.grid, (height, width), compiled.padded, self.scale, stretch, self.skip_stats)

    def _compile(self, height: int, width: int) -> _Compiled:
        tile = self._tile or self._fixed_tile(height, width)
        grid = make_grid(height, width, tile or (height, width), self._tile_overlap if tile else 0)
        padded = self._fixed_size() or self.plan.padded(grid.height, grid.width)
        if grid.height > padded[0] or grid.width > padded[1]:
            raise ConfigError(
                f"tile {grid.height}x{grid.width} is larger than the {padded[0]}x{padded[1]} pixels the bundle is "
                "fixed to; leave tile out, or choose a smaller one."
            )
        _check_memory(self.plan, *padded)
        graphs = self._source.load(*padded, **self._options)
        windows = None if self.skip is None else WindowGraphs(cast(GraphSource, self._source), dict(self._options))
        return _Compiled(graphs, windows, grid, (height, width), padded)

    def _policy(self, skip: SkipPolicy | Mapping[str, Any] | bool | None) -> SkipPolicy | None:
        if skip is None or skip is False:
            return None
        if self._fixed_size() is not None or not hasattr(self._source, "load_step"):
            raise ConfigError(
                "skip needs graphs that take frames of any size, and the bundle is fixed to one: export it again "
                "without --size, or leave skip out."
            )
        if self.plan.schedules:
            raise ConfigError(
                f"skip does not go with residual layers ({', '.join(self.plan.schedules)}), whose state covers whole "
                "frames: export a network without residual=, or leave skip out."
            )
        if isinstance(skip, SkipPolicy):
            return skip
        calibrated = self._source.manifest.skip if isinstance(self._source, Bundle) else None
        base = (calibrated or {}).get("policy", {})
        return SkipPolicy.build({**base, **(skip if isinstance(skip, Mapping) else {})})

    def _runner(self, compiled: _Compiled) -> StepRunner | None:
        if self.skip is None or self.skip_stats is None or compiled.windows is None:
            return None
        return SkipRunner(self.plan, compiled.graphs, compiled.windows, self.skip, compiled.padded, self.skip_stats)

    def _fixed_size(self) -> tuple[int, int] | None:
        return self._source.manifest.frame_size if isinstance(self._source, Bundle) else None

    def _fixed_tile(self, height: int, width: int) -> tuple[int, int] | None:
        """Return the size a bundle is fixed to where a frame is larger."""
        size = self._fixed_size()
        return size if size is not None and (height > size[0] or width > size[1]) else None


class _Compiled(NamedTuple):
    """Graphs for frames of one size."""

    graphs: dict[str, StepGraph]
    windows: WindowGraphs | None
    grid: TileGrid
    size: tuple[int, int]
    padded: tuple[int, int]


class _Engine:
    """Drivers for the tiles of frames of one size."""

    def __init__(
        self,
        drivers: Sequence[Driver],
        grid: TileGrid,
        size: tuple[int, int],
        padded: tuple[int, int],
        scale: int,
        stretch: int,
        stats: SkipStats | None,
    ) -> None:
        self.stats = stats
        self.drivers, self.grid, self.size, self.padded, self.scale = drivers, grid, size, padded, scale
        self.stretch, self.lookahead = stretch, drivers[0].lookahead

    def reset(self) -> None:
        """Forget the scene."""
        for driver in self.drivers:
            driver.reset()

    def run(self, frames: Sequence[np.ndarray], count: int) -> Iterator[np.ndarray]:
        """Upscale the first ``count`` of the frames of a scene."""
        yield from self._run(frames, count)
        if self.stats is not None:
            self.stats.nbytes = max(self.stats.nbytes, sum(driver.state_nbytes for driver in self.drivers))

    def _run(self, frames: Sequence[np.ndarray], count: int) -> Iterator[np.ndarray]:
        if not count:
            return
        dtype = frames[0].dtype
        tensors = [_to_tensor(frame) for frame in frames]
        if len(self.drivers) == 1:
            # no loop: its variable would hold a frame while the next one is made, which then could not begin with it
            upscaled = self.drivers[0].run([self._pad(tensor) for tensor in tensors], count)
            yield from map(partial(self._finish, dtype=dtype), upscaled)
            return
        weights, normalizer = self.grid.weights(self.scale), self.grid.normalizer(*self.size, self.scale)
        canvas = np.zeros((count, 3, *normalizer.shape), np.float32)
        height, width = weights.shape
        for index, driver in enumerate(self.drivers):
            tiles = [self._pad(self.grid.cut(tensor)[index]) for tensor in tensors]
            for target, out in zip(canvas, driver.run(tiles, count), strict=True):
                self.grid.paste(target, out[0][:, :height, :width] * weights, index, self.scale)
        for target in canvas:
            yield _to_frame(target / normalizer, dtype)

    def _finish(self, out: np.ndarray, dtype: np.dtype) -> np.ndarray:
        return _to_frame(out[0][:, : self.scale * self.size[0], : self.scale * self.size[1]], dtype)

    def _pad(self, tensor: np.ndarray) -> np.ndarray:
        """Repeat the last row and column until the tensor (1, 3, h, w) has the size the graphs take."""
        below, right = (full - size for full, size in zip(self.padded, tensor.shape[-2:], strict=True))
        if below or right:
            tensor = np.pad(tensor, ((0, 0), (0, 0), (0, below), (0, right)), mode="edge")
        return np.ascontiguousarray(tensor)


def _canvas_bytes(scale: int, height: int, width: int) -> int:
    """Return what it takes to blend the tiles of one frame."""
    return 3 * 4 * scale**2 * height * width


def _to_tensor(frame: np.ndarray) -> np.ndarray:
    """Turn (h, w, 3) into float32 (1, 3, h, w) in [0, 1]."""
    planes = np.ascontiguousarray(frame.transpose(2, 0, 1))[None].astype(np.float32)
    planes *= np.float32(1 / np.iinfo(frame.dtype).max)
    return planes


def _to_frame(planes: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Turn (3, h, w) in [0, 1] into (h, w, 3), rounded and clipped."""
    full = np.iinfo(dtype).max
    frame = np.empty((*planes.shape[1:], 3), dtype)
    for top in range(0, len(frame), _STRIP):
        rows = slice(top, top + _STRIP)
        levels = planes[:, rows] * np.float32(full)
        np.rint(levels, out=levels)
        np.clip(levels, 0, full, out=levels)
        cv2.merge(list(levels.astype(dtype)), frame[rows])
    return frame


def _check_frame(frame: np.ndarray) -> None:
    if not isinstance(frame, np.ndarray):
        raise DataError(f"a frame is a numpy array of shape (h, w, 3), got {type(frame).__name__}.")
    if frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape or frame.dtype not in _DTYPES:
        raise DataError(
            f"a frame has shape (h, w, 3) and type uint8 or uint16, got {frame.dtype} {frame.shape}; convert it to RGB."
        )


def _check_same(frame: np.ndarray, first: np.ndarray) -> None:
    if not isinstance(frame, np.ndarray):
        _check_frame(frame)
    if frame.shape != first.shape or frame.dtype != first.dtype:
        raise DataError(
            f"a frame is {frame.dtype} {frame.shape}, the first one was {first.dtype} {first.shape}; all frames of a "
            "stream must be alike."
        )


def _check_memory(plan: Plan, height: int, width: int) -> None:
    """Raise before the backend takes more memory than there is."""
    available, needed = available_bytes(), fixed_bytes(plan, height, width)
    if available is not None and needed > available:
        share = (available / needed) ** 0.5
        raise DataError(
            f"frames of {width}x{height} pixels need about {needed / 2**30:.1f} GiB, {available / 2**30:.1f} GiB are "
            f"free. Tiles of {int(width * share)}x{int(height * share)} pixels fit: pass tile=(height, width)."
        )
