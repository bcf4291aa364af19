"""Load the chosen frames and pack a sample, under mmagic's names."""

from __future__ import annotations

import numpy as np
import torch
from mmagic.datasets import transforms as mmagic_transforms
from mmagic.structures import DataSample
from mmagic.utils import all_to_tensor

from vsrq.datasets.frames import read_frames
from vsrq.errors import ConfigError
from vsrq.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadImageFromFile(mmagic_transforms.LoadImageFromFile):
    """Load one image or the frames of a clip from files, videos or LMDB.

    Arguments and results as in mmagic; the paths are addresses (:mod:`vsrq.datasets.frames`). Unlike mmagic's, it
    refuses truncated images, transparency, more than 8 bits, and frames of different sizes.

    Args:
        key: ``results[f'{key}_path']`` is an address or a list of addresses; the frames go to ``results[key]`` as
            ``(h, w, 3)`` arrays in [0, 255].
        channel_order: ``'bgr'`` or ``'rgb'``.
        use_cache: Keep every decoded frame in memory; for small sets that are read again and again.
        **kwargs: As in mmagic, except that colour images, the strict decoder and addresses are the only choice.

    Raises:
        ConfigError: A value outside of what is described.
        DataError: When called, for frames that cannot be used; the message names the file.
    """

    def __init__(self, key: str, channel_order: str = "bgr", use_cache: bool = False, **kwargs) -> None:
        only = dict(color_type="color", imdecode_backend=None, backend_args=None)
        for name, value in only.items():
            if kwargs.get(name, value) != value:
                raise ConfigError(
                    f"LoadImageFromFile: {name}={kwargs[name]!r} is not supported, only {value!r}; leave it out"
                )
        if channel_order not in ("bgr", "rgb"):
            raise ConfigError(f"LoadImageFromFile: channel_order must be 'bgr' or 'rgb', got {channel_order!r}")
        super().__init__(key, channel_order=channel_order, use_cache=use_cache, **kwargs)

    def transform(self, results: dict) -> dict:
        """Load the frames and note their size and channel order."""
        paths = results[f"{self.key}_path"]
        addresses = [str(path) for path in paths] if isinstance(paths, (list, tuple)) else [str(paths)]
        frames = [self._convert(frame) for frame in self._read(addresses)]
        shapes = [frame.shape for frame in frames]
        single = not isinstance(paths, (list, tuple))
        results[self.key] = frames[0] if single else frames
        results[f"ori_{self.key}_shape"] = shapes[0] if single else shapes
        results[f"{self.key}_channel_order"] = self.channel_order
        results[f"{self.key}_color_type"] = self.color_type
        if self.save_original_img:
            originals = [frame.copy() for frame in frames]
            results[f"ori_{self.key}"] = originals[0] if single else originals
        return results

    def _read(self, addresses: list[str]) -> list[np.ndarray]:
        if not self.use_cache:
            frames = read_frames(addresses)
        else:
            missing = [address for address in addresses if address not in self.cache]
            if missing:
                self.cache.update(zip(missing, read_frames(missing), strict=True))
            frames = [self.cache[address] for address in addresses]
        # Copies: transforms may write in place, a frame may occur twice in a window, and the cache must stay clean.
        return [np.ascontiguousarray(f[..., ::-1]) if self.channel_order == "bgr" else f.copy() for f in frames]


@TRANSFORMS.register_module()
class PackInputs(mmagic_transforms.PackInputs):
    """Pack ``img`` into ``inputs`` and the rest into a ``DataSample``, as mmagic does.

    Lists of frames become ``(t, 3, h, w)`` tensors. mmagic drops the time axis of any list of one frame; here it is
    dropped only for a ground truth that is the centre of several input frames (EDVR, Vimeo-90K), so a clip of
    one frame stays a clip.
    """

    def transform(self, results: dict) -> dict:
        """Stack the frames, then pack them."""
        packed = dict(results)
        img = results.get("img")
        for key in ("img", "gt"):
            frames = results.get(key)
            if not isinstance(frames, list):
                continue
            centre_only = key == "gt" and len(frames) == 1 and isinstance(img, list) and len(img) > 1
            if not centre_only:
                packed[key] = torch.stack([all_to_tensor(frame) for frame in frames])
        return _with_sorted_keys(super().transform(packed))


def _with_sorted_keys(packed: dict) -> dict:
    """Fill the sample anew in the order of its keys' names.

    mmagic compares the key lists of the samples of a batch, which come from sets: their order depends on the order of
    insertion, so that samples of different origin would be refused at random.
    """
    sample = packed["data_samples"]
    metainfo = sample.metainfo
    fresh = DataSample(metainfo={key: metainfo[key] for key in sorted(metainfo)})
    for key in sorted(sample.keys()):
        setattr(fresh, key, getattr(sample, key))
    return {**packed, "data_samples": fresh}
