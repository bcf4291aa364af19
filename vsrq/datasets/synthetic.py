"""Rendered clips: several textured layers, each with its own motion, before a moving camera."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.dataset import Compose
from torch.utils.data import Dataset

from vsrq.datasets.textures import Image, texture
from vsrq.errors import ConfigError, DataError
from vsrq.images import IMAGE_SUFFIXES, decode_image
from vsrq.registry import DATASETS, TRANSFORMS

_OVERSAMPLING = 2  # each frame is rendered this much larger and averaged, which antialiases every motion
_POOL = 48  # textures of a data set; clips differ by their choice, place, size, rotation and motion


@DATASETS.register_module()
class SyntheticClips(Dataset):
    """Clips rendered on demand; no files are needed.

    Clip ``i`` depends on ``seed`` and ``i`` alone. A background and up to ``max_layers`` masked foreground layers
    move linearly with a small acceleration; the camera adds a motion common to all. Motions are translation,
    rotation and zoom. Rendered frames go through ``pipeline`` under the key ``gt``.

    Args:
        num_clips: Length of the data set.
        num_frames: Frames per clip.
        size: Height and width of the rendered frames, at least 32.
        pipeline: Transforms; ``MATLABBicubic`` makes the low-resolution half.
        seed: Another seed is another data set.
        max_layers: Most foreground layers.
        max_speed: Standard deviation of the translation of camera and layers, in pixels per frame.
        static_camera: Share of the clips whose camera rests.
        stills: Folder of photographs that make up half of the textures; None renders all of them.

    Raises:
        ConfigError: A value is out of range.
        DataError: ``stills`` is no folder of images.
    """

    def __init__(
        self,
        num_clips: int = 1000,
        num_frames: int = 7,
        size: int = 256,
        pipeline: Sequence[dict[str, Any]] = (),
        seed: int = 0,
        max_layers: int = 3,
        max_speed: float = 4.0,
        static_camera: float = 0.2,
        stills: str | None = None,
    ) -> None:
        for name, value, least in (("num_clips", num_clips, 1), ("num_frames", num_frames, 1), ("size", size, 32)):
            if not isinstance(value, int) or value < least:
                raise ConfigError(f"SyntheticClips: {name} must be a whole number of at least {least}, got {value!r}")
        if max_layers < 0 or max_speed < 0 or not 0 <= static_camera <= 1:
            raise ConfigError(
                f"SyntheticClips: max_layers={max_layers} and max_speed={max_speed} must not be negative, "
                f"static_camera={static_camera} must lie in 0..1"
            )
        self.num_clips = num_clips
        self.num_frames = num_frames
        self.size = size
        self.seed = seed
        self.max_layers = max_layers
        self.max_speed = max_speed
        self.static_camera = static_camera
        self.stills = () if stills is None else _find_images(stills)
        # Built here, so that vsrq's transforms are found whatever the default scope is.
        self.pipeline = Compose([TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline])
        self.metainfo = dict(dataset_type="synthetic", task_name="vsr")

    def full_init(self) -> None:
        """Nothing to load; MMEngine's wrappers ask for it."""

    def get_data_info(self, index: int) -> dict:
        """Return what is known of a clip without rendering it; the keys that loaded clips have, to share batches."""
        key = f"{index:06d}"
        return dict(
            key=key,
            sample_idx=index,
            gt_path=[f"rendered/{key}#{frame}" for frame in range(self.num_frames)],
            gt_channel_order="rgb",
            gt_color_type="color",
            ori_gt_shape=[(self.size, self.size, 3)] * self.num_frames,
            num_input_frames=self.num_frames,
            num_output_frames=self.num_frames,
        )

    def __len__(self) -> int:
        return self.num_clips

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < self.num_clips:
            raise IndexError(f"clip {index} of {self.num_clips}")
        return self.pipeline({**self.get_data_info(index), "gt": self.render(index)})

    def render(self, index: int) -> list[Image]:
        """Return the frames ``(size, size, 3)`` ``uint8`` RGB of one clip."""
        rng = np.random.default_rng([self.seed, 1, index])
        side = self.size * _OVERSAMPLING
        canvas = 2 * side
        camera = _Motion.draw(rng, 0.0 if rng.random() < self.static_camera else self.max_speed)
        layers = []
        for number in range(rng.integers(0, self.max_layers + 1) + 1):
            image = _pooled(self.seed, int(rng.integers(_POOL)), canvas, self.stills)
            mask = None if number == 0 else _blob(rng, canvas)
            speed = 0.0 if number == 0 else self.max_speed * rng.uniform(0, 1)
            zoom = rng.uniform(0.7, 1.4)
            layers.append((image, mask, _Motion.draw(rng, speed), zoom, rng.uniform(0, 360)))
        return [self._frame(layers, camera, t - (self.num_frames - 1) / 2, side) for t in range(self.num_frames)]

    def _frame(self, layers: list, camera: _Motion, time: float, side: int) -> Image:
        frame: Image = np.zeros((side, side, 3), np.uint8)
        for image, mask, motion, zoom, angle in layers:
            matrix = _placement(image.shape[0], side, zoom, angle, camera.at(time), motion.at(time))
            layer = cv2.warpAffine(image, matrix, (side, side), borderMode=cv2.BORDER_REFLECT)
            if mask is None:
                frame = layer
                continue
            inside = cv2.warpAffine(mask, matrix, (side, side)) > 127
            np.copyto(frame, layer, where=inside[..., None])
        return cv2.resize(frame, (self.size, self.size), interpolation=cv2.INTER_AREA)


class _Motion:
    """Translation in pixels, rotation in degrees and logarithmic zoom, quadratic in time."""

    def __init__(self, rate: np.ndarray, acceleration: np.ndarray) -> None:
        self.rate = rate
        self.acceleration = acceleration

    @classmethod
    def draw(cls, rng: np.random.Generator, speed: float) -> _Motion:
        """Draw a motion; ``speed`` is the standard deviation of the translation per frame."""
        share = 1.0 if speed else 0.0
        scale = np.array([speed, speed, 0.4 * share, 0.006 * share])
        return cls(rng.normal(0, 1, 4) * scale, rng.normal(0, 0.05, 4) * scale)

    def at(self, time: float) -> np.ndarray:
        """Return the displacement from time 0: x, y, degrees, log zoom."""
        return self.rate * time + 0.5 * self.acceleration * time * abs(time)


def _placement(canvas: int, side: int, zoom: float, angle: float, *moves: np.ndarray) -> np.ndarray:
    """Return the matrix that maps a canvas onto a frame, both oversampled."""
    x, y, turn, log_zoom = np.sum(moves, axis=0)
    matrix = cv2.getRotationMatrix2D((canvas / 2, canvas / 2), angle + turn, zoom * float(np.exp(log_zoom)))
    shift = np.array([[0, 0, x], [0, 0, y]]) * _OVERSAMPLING
    shift[:, 2] += side / 2 - canvas / 2
    return np.asarray(matrix) + shift


@lru_cache(maxsize=2 * _POOL)
def _pooled(seed: int, number: int, size: int, stills: tuple[str, ...]) -> Image:
    rng = np.random.default_rng([seed, 0, number])
    if not stills or number % 2:
        return texture(rng, size)
    path = stills[number // 2 % len(stills)]
    image = decode_image(Path(path).read_bytes(), path)
    zoom = _OVERSAMPLING  # a pixel of the photograph becomes about one of the frame
    large = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    top, left = (int(rng.integers(max(0, length - size) + 1)) for length in large.shape[:2])
    square = large[top : top + size, left : left + size]
    below, right = size - square.shape[0], size - square.shape[1]
    return cv2.copyMakeBorder(square, 0, below, 0, right, cv2.BORDER_REFLECT)


def _find_images(folder: str) -> tuple[str, ...]:
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"stills: {folder} is no folder; give a folder of photographs, or None")
    found = sorted(str(path) for path in root.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise DataError(f"stills: {folder} holds no image ending in {', '.join(IMAGE_SUFFIXES)}")
    return tuple(found)


def _blob(rng: np.random.Generator, size: int) -> Image:
    """Return the mask of one irregular region: low-frequency noise above a threshold, or a plain shape."""
    if rng.random() < 0.4:
        mask = np.zeros((size, size), np.uint8)
        centre = tuple(int(v) for v in rng.uniform(0.3, 0.7, 2) * size)
        axes = tuple(int(v) for v in rng.uniform(0.05, 0.25, 2) * size)
        if rng.random() < 0.5:
            cv2.ellipse(mask, centre, axes, rng.uniform(0, 180), 0, 360, 255, -1)
        else:
            cv2.rectangle(
                mask, (centre[0] - axes[0], centre[1] - axes[1]), (centre[0] + axes[0], centre[1] + axes[1]), 255, -1
            )
        return mask
    coarse = rng.normal(size=(int(rng.integers(6, 20)),) * 2).astype(np.float32)
    field = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return ((field > np.quantile(field, rng.uniform(0.55, 0.85))) * 255).astype(np.uint8)
