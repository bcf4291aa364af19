"""Transforms that choose which frames of a clip make a sample, under mmagic's names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmcv.transforms import BaseTransform

from vsrq.errors import ConfigError, DataError
from vsrq.registry import TRANSFORMS

PADDINGS = ("replicate", "reflection", "reflection_circle", "circle")


@TRANSFORMS.register_module()
class GenerateSegmentIndices(BaseTransform):
    """Choose a run of frames from a clip, beginning anywhere.

    Like mmagic's, but the frames are those that were found, so names, numbering and storage do not matter, and a
    clip needs no low-resolution counterpart. Turns ``img_path`` and ``gt_path`` into lists of addresses.

    Args:
        interval_list: One of these steps between frames is drawn per sample.
        start_idx: Number of the first frame in the file names; only with ``filename_tmpl``.
        filename_tmpl: File name of a frame by its number, such as ``'{:08d}.png'``; ``None`` takes all frames
            found, sorted by name.
        random_start: ``False`` always begins with the first frame, for evaluation on the head of long clips.

    Raises:
        ConfigError: An interval is below 1, or ``start_idx`` stands without ``filename_tmpl``.
    """

    def __init__(
        self,
        interval_list: Sequence[int],
        start_idx: int = 0,
        filename_tmpl: str | None = None,
        random_start: bool = True,
    ) -> None:
        self.interval_list = _check_intervals(interval_list)
        if start_idx and filename_tmpl is None:
            raise ConfigError(f"start_idx={start_idx} numbers file names; give filename_tmpl, or leave both out")
        self.start_idx = start_idx
        self.filename_tmpl = filename_tmpl
        self.random_start = random_start

    def check_sample(self, sample: dict) -> None:
        """Raise :class:`DataError` if the clip is too short or a file the template names is missing."""
        count, length = self._lengths(sample)
        _check_span(sample["clip"], length, count, max(self.interval_list))
        for key in _keys(sample):
            self._addresses(sample, key, range(length))

    def transform(self, results: dict) -> dict:
        """Add the addresses of the chosen frames."""
        count, length = self._lengths(results)
        interval = int(np.random.choice(self.interval_list))
        _check_span(results["clip"], length, count, interval)
        last_start = length - ((count - 1) * interval + 1)
        start = int(np.random.randint(0, last_start + 1)) if self.random_start else 0
        chosen = range(start, start + count * interval, interval)
        for key in _keys(results):
            results[f"{key}_path"] = self._addresses(results, key, chosen)
        results["interval"] = interval
        return results

    def _addresses(self, sample: dict, key: str, numbers: Sequence[int]) -> list[str]:
        frames = sample[f"{key}_frames"]
        if self.filename_tmpl is None:
            return [frames[number] for number in numbers]
        by_name = {Path(frame).name: frame for frame in frames}
        names = [self.filename_tmpl.format(number + self.start_idx) for number in numbers]
        for name in names:
            if name not in by_name:
                raise DataError(
                    f"clip {sample['clip']}: no frame {name!r} (filename_tmpl {self.filename_tmpl!r}, start_idx "
                    f"{self.start_idx}), the first found is {Path(frames[0]).name!r}; leave filename_tmpl out to "
                    "take the frames as they are"
                )
        return [by_name[name] for name in names]

    @staticmethod
    def _lengths(sample: dict) -> tuple[int, int]:
        length = sample["sequence_length"]
        return sample.get("num_input_frames") or length, length

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(interval_list={self.interval_list}, start_idx={self.start_idx}, "
            f"filename_tmpl={self.filename_tmpl!r}, random_start={self.random_start})"
        )


@TRANSFORMS.register_module()
class GenerateFrameIndices(BaseTransform):
    """Choose a window of input frames and its centre as ground truth; for training EDVR.

    Args:
        interval_list: One of these steps between frames is drawn per sample.
        frames_per_clip: Largest frame number used, as in mmagic; clips may be shorter.

    Raises:
        ConfigError: An interval is below 1.
    """

    def __init__(self, interval_list: Sequence[int], frames_per_clip: int = 99) -> None:
        self.interval_list = _check_intervals(interval_list)
        self.frames_per_clip = frames_per_clip

    def check_sample(self, sample: dict) -> None:
        """Raise :class:`DataError` if no window of the widest interval fits the clip."""
        length = min(self.frames_per_clip + 1, sample["sequence_length"])
        _check_span(sample["clip"], length, _window(sample), max(self.interval_list))

    def transform(self, results: dict) -> dict:
        """Add the addresses of the window; a centre too near the border is drawn anew, as in mmagic."""
        window = _window(results)
        length = min(self.frames_per_clip + 1, results["sequence_length"])
        interval = int(np.random.choice(self.interval_list))
        _check_span(results["clip"], length, window, interval)
        reach = window // 2 * interval
        centre = results["frame_index"]
        if not reach <= centre < length - reach:
            centre = int(np.random.randint(reach, length - reach))
        results["interval"] = interval
        return _set_window(results, range(centre - reach, centre + reach + 1, interval), centre)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(interval_list={self.interval_list}, frames_per_clip={self.frames_per_clip})"


@TRANSFORMS.register_module()
class GenerateFrameIndiceswithPadding(BaseTransform):
    """Choose the window around every frame, filled up at the ends of the clip; for testing EDVR.

    Args:
        padding: For frame 0 and a window of 5: ``'replicate'`` [0 0 0 1 2], ``'reflection'`` [2 1 0 1 2],
            ``'reflection_circle'`` [4 3 0 1 2], ``'circle'`` [3 4 0 1 2].
        filename_tmpl: Accepted for mmagic's configs; the frames found are used whatever their names.

    Raises:
        ConfigError: Unknown ``padding``.
    """

    def __init__(self, padding: str, filename_tmpl: str | None = None) -> None:
        if padding not in PADDINGS:
            raise ConfigError(f"unknown padding {padding!r}; allowed are {', '.join(PADDINGS)}")
        self.padding = padding

    def check_sample(self, sample: dict) -> None:
        """Raise :class:`DataError` if the clip is shorter than the window."""
        _check_span(sample["clip"], sample["sequence_length"], _window(sample), 1)

    def transform(self, results: dict) -> dict:
        """Add the addresses of the window."""
        self.check_sample(results)
        centre, last, window = results["frame_index"], results["sequence_length"] - 1, _window(results)
        half = window // 2
        chosen = []
        for number in range(centre - half, centre + half + 1):
            if number < 0:
                number = {
                    "replicate": 0,
                    "reflection": -number,
                    "reflection_circle": centre + half - number,
                    "circle": window + number,
                }[self.padding]
            elif number > last:
                number = {
                    "replicate": last,
                    "reflection": 2 * last - number,
                    "reflection_circle": centre - half - (number - last),
                    "circle": number - window,
                }[self.padding]
            chosen.append(number)
        return _set_window(results, chosen, centre)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(padding={self.padding!r})"


def _check_intervals(intervals: Sequence[int]) -> list[int]:
    intervals = list(intervals)
    if not intervals or any(not isinstance(value, int) or value < 1 for value in intervals):
        raise ConfigError(f"interval_list must hold whole numbers of at least 1, got {intervals}")
    return intervals


def _check_span(clip: str, length: int, count: int, interval: int) -> None:
    span = (count - 1) * interval + 1
    if span > length:
        raise DataError(
            f"clip {clip}: {length} frames, but {count} frames at interval {interval} span {span}; "
            "lower num_input_frames or the interval, or leave the clip out"
        )


def _window(sample: dict) -> int:
    window = sample["num_input_frames"]
    if "frame_index" not in sample or not window or window % 2 == 0:
        raise ConfigError(
            f"windows need depth=2 and an odd num_input_frames in BasicFramesDataset, got num_input_frames={window}"
        )
    return window


def _set_window(results: dict, chosen: Sequence[int], centre: int) -> dict:
    for key in _keys(results):
        frames = results[f"{key}_frames"]
        results[f"{key}_path"] = [frames[centre]] if key == "gt" else [frames[number] for number in chosen]
    return results


def _keys(sample: dict) -> list[str]:
    return [name.removesuffix("_frames") for name in sample if name.endswith("_frames") and not name.startswith("num_")]
