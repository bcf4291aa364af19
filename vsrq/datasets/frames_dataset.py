"""The data set of clips, under mmagic's name and with its arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmagic.datasets import BasicFramesDataset as MMagicFramesDataset
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from vsrq.datasets.list_file import ListedClip, read_list_file
from vsrq.datasets.sources import ClipSource, open_source
from vsrq.datasets.splits import select_split
from vsrq.datasets.summary import describe, probe_sizes
from vsrq.errors import ConfigError, DataError, check_keys
from vsrq.registry import DATASETS, TRANSFORMS


@DATASETS.register_module()
class BasicFramesDataset(MMagicFramesDataset):
    """Clips from frame folders, video files or LMDB, checked and counted before the run.

    Takes mmagic's arguments and gives its samples, plus ``img_frames`` / ``gt_frames``: the addresses of all frames
    of the clip (:mod:`vsrq.datasets.frames`). With ``depth=1`` a sample is a clip ``root/clip/frame``; with ``depth=2``
    and ``load_frames_list`` a clip ``root/part/clip/frame`` (Vimeo-90K); with ``depth=2`` alone it is one frame, for
    windows around it (EDVR).

    Args:
        ann_file: List file (:func:`vsrq.datasets.list_file.read_list_file`); empty takes every clip found.
        data_root: Joined before relative paths.
        data_prefix: Where the clips are, see :func:`vsrq.datasets.sources.open_source`: ``dict(img=.., gt=..)``
            for pairs, ``dict(gt=..)`` for high-resolution clips that the pipeline degrades.
        pipeline: Transforms, looked up in vsrq first, then in mmagic and MMEngine.
        filename_tmpl: As in mmagic, applied to the names in ``load_frames_list``.
        split: ``'reds4_train'`` or ``'reds4_val'`` instead of a list file.
        **kwargs: The other arguments of mmagic's class.

    Raises:
        ConfigError: Unknown argument, ``ann_file`` and ``split`` together, or remote storage.
        DataError: Missing folders or clips, empty or too short clips, differing frame counts or sizes that do
            not fit; the message names them.
    """

    def __init__(
        self,
        ann_file: str = "",
        metainfo: dict | None = None,
        data_root: str | None = None,
        data_prefix: dict | None = None,
        pipeline: Sequence[dict | Callable] = (),
        filename_tmpl: dict | None = None,
        split: str | None = None,
        **kwargs: Any,
    ) -> None:
        own = inspect.signature(BasicFramesDataset).parameters
        inherited = {**inspect.signature(MMagicFramesDataset).parameters, **inspect.signature(BaseDataset).parameters}
        check_keys(kwargs, (set(own) | set(inherited)) - {"kwargs"}, type(self).__name__)
        if ann_file and split:
            raise ConfigError(f"ann_file {ann_file!r} and split {split!r} exclude each other; give one of them")
        if (kwargs.get("backend_args") or {}).get("backend", "local") != "local":
            raise ConfigError(
                f"backend_args={kwargs['backend_args']}: only local paths are read; for LMDB give data_prefix a "
                "folder that ends in .lmdb"
            )
        self.split = split
        self._frames: dict[str, dict[str, list[str]]] = {}
        super().__init__(
            ann_file=ann_file,
            metainfo=metainfo,
            data_root=data_root or "",
            data_prefix=dict(data_prefix or dict(img="", gt="")),
            # Built here, so that vsrq's transforms are found whatever the default scope is.
            pipeline=[TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline],
            filename_tmpl=dict(filename_tmpl or {}),  # mmagic writes into this argument
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """Find, check and count the clips, log what was found, and return the samples."""
        single_frames = self.depth > 1 and not self.load_frames_list
        clip_depth = self.depth - 1 if single_frames else self.depth
        sources = {key: open_source(str(prefix)) for key, prefix in self.data_prefix.items()}
        wanted = self._wanted_clips(sources[self.search_key], clip_depth)
        clips = self._find_frames(sources, [clip.name for clip in wanted])
        self._check_counts(wanted, clips, single_frames)
        found = list(clips.values())
        location = ", ".join(f"{key}={prefix}" for key, prefix in self.data_prefix.items())
        print_log(f"{type(self).__name__} [{location}]: {describe(found, probe_sizes(found))}", logger="current")
        if not self.load_frames_list:
            self._frames = clips
        samples = [sample for clip in wanted for sample in self._samples(clip, clips[clip.name], single_frames)]
        self._check_pipeline(samples)
        return samples

    def get_data_info(self, idx: int) -> dict:
        """Return the ``idx``-th sample as a new dict."""
        return self._with_frames(super().get_data_info(idx))

    def _wanted_clips(self, source: ClipSource, clip_depth: int) -> list[ListedClip]:
        if self.ann_file:
            return read_list_file(self.ann_file, clip_depth)
        names = source.names(clip_depth)
        if not names:
            raise DataError(
                f"{self.data_prefix[self.search_key]}: no clip found, neither a folder of frames nor a video file"
            )
        if self.split:
            names = select_split(names, self.split)
        return [ListedClip(name, None, ()) for name in names]

    def _find_frames(self, sources: dict[str, ClipSource], names: list[str]) -> dict[str, dict[str, list[str]]]:
        clips: dict[str, dict[str, list[str]]] = {}
        problems = []
        for name in names:
            try:
                clips[name] = {key: self._pick(key, name, source.frames(name)) for key, source in sources.items()}
            except DataError as error:
                problems.append(str(error))
        _raise_all(problems, "clips cannot be used")
        return clips

    def _pick(self, key: str, clip: str, frames: list[str]) -> list[str]:
        """Keep the frames that ``load_frames_list`` names for this key, in its order."""
        if key not in self.load_frames_list or "all" in self.load_frames_list[key]:
            return frames
        by_stem = {Path(frame).stem: frame for frame in frames}
        template = self.filename_tmpl[key]
        stems = [Path(template.format(name)).stem for name in self.load_frames_list[key]]
        missing = [stem for stem in stems if stem not in by_stem]
        if missing:
            raise DataError(
                f"{self.data_prefix[key]}/{clip}: frames {', '.join(missing)} of load_frames_list are missing"
            )
        return [by_stem[stem] for stem in stems]

    def _check_counts(
        self, wanted: list[ListedClip], clips: dict[str, dict[str, list[str]]], single_frames: bool
    ) -> None:
        problems = []
        needed = self.seq_lens["fixed_seq_len"] or (0 if single_frames else self.num_input_frames) or 1
        for listed in wanted:
            counts = {key: len(frames) for key, frames in clips[listed.name].items()}
            count = counts[self.search_key]
            if not self.load_frames_list and len(set(counts.values())) > 1:
                unequal = ", ".join(f"{number} {key}" for key, number in counts.items())
                problems.append(f"{listed.name}: {unequal} frames, must be equal")
            elif listed.declared not in (None, count):
                problems.append(f"{listed.name}: {count} frames, but the list file declares {listed.declared}")
            elif not self.load_frames_list and count < needed:
                problems.append(f"{listed.name}: {count} frames, but {needed} are needed")
        _raise_all(problems, "clips have wrong frame counts")

    def _samples(self, listed: ListedClip, frames: dict[str, list[str]], single_frames: bool) -> list[dict]:
        count = len(frames[self.search_key])
        base = dict(
            clip=listed.name,
            num_input_frames=self.num_input_frames,
            num_output_frames=self.num_output_frames,
            sequence_length=self.seq_lens["fixed_seq_len"] or count,
            **{f"{key}_path": prefix for key, prefix in self.data_prefix.items()},
        )
        if self.load_frames_list:
            base.update({f"{key}_path": addresses for key, addresses in frames.items()}, sequence_length=None)
            base.update(num_input_frames=len(frames["img"]) if "img" in frames else self.num_input_frames)
            base.update(num_output_frames=len(frames["gt"]) if "gt" in frames else self.num_output_frames)
        if not single_frames:
            return [dict(base, key=listed.name)]
        stems = [Path(address).stem for address in frames[self.search_key]]
        unknown = [stem for stem in listed.frames if stem not in stems]
        if unknown:
            raise DataError(f"{listed.name}: the list file names frames that do not exist: {', '.join(unknown[:5])}")
        return [
            dict(base, key=f"{listed.name}/{stem}", frame_index=stems.index(stem)) for stem in listed.frames or stems
        ]

    def _check_pipeline(self, samples: list[dict]) -> None:
        """Let the transforms that pick frames say now, not at iteration 7000, that a clip does not suit them."""
        checks = [step.check_sample for step in self.pipeline.transforms if hasattr(step, "check_sample")]
        problems = []
        for sample in {sample["clip"]: sample for sample in samples}.values():
            try:
                for check in checks:
                    check(self._with_frames(dict(sample)))
            except DataError as error:
                problems.append(str(error))
        _raise_all(problems, "clips do not suit the pipeline")

    def _with_frames(self, sample: dict) -> dict:
        frames = self._frames.get(sample["clip"], {})
        sample.update({f"{key}_frames": addresses for key, addresses in frames.items()})
        return sample


def _raise_all(problems: list[str], what: str) -> None:
    """Raise one DataError that names the first problems and counts the others."""
    if len(problems) == 1:
        raise DataError(problems[0])
    if problems:
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise DataError(f"{len(problems)} {what}: {'; '.join(problems[:5])}{more}")
