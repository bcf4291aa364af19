"""Clips from frame folders, video files and LMDB, and the degradations that make their low-resolution half."""

from vsrq.compat import ensure_mmagic

ensure_mmagic()

from vsrq.datasets.bicubic import matlab_resize  # noqa: E402
from vsrq.datasets.centre import CentreGroundTruth  # noqa: E402
from vsrq.datasets.clips import degrade, load_clip, make_pair, to_uint8  # noqa: E402
from vsrq.datasets.crop import RandomClipCrop  # noqa: E402
from vsrq.datasets.degradations import GaussianDownsampling, MATLABBicubic  # noqa: E402
from vsrq.datasets.frame_indices import (  # noqa: E402
    GenerateFrameIndices,
    GenerateFrameIndiceswithPadding,
    GenerateSegmentIndices,
)
from vsrq.datasets.frames_dataset import BasicFramesDataset  # noqa: E402
from vsrq.datasets.gaussian import gaussian_downsample  # noqa: E402
from vsrq.datasets.loading import LoadImageFromFile, PackInputs  # noqa: E402
from vsrq.datasets.synthetic import SyntheticClips  # noqa: E402
from vsrq.datasets.video import read_video  # noqa: E402

__all__ = [
    "BasicFramesDataset",
    "CentreGroundTruth",
    "GaussianDownsampling",
    "GenerateFrameIndices",
    "GenerateFrameIndiceswithPadding",
    "GenerateSegmentIndices",
    "LoadImageFromFile",
    "MATLABBicubic",
    "PackInputs",
    "RandomClipCrop",
    "SyntheticClips",
    "degrade",
    "gaussian_downsample",
    "load_clip",
    "make_pair",
    "matlab_resize",
    "read_video",
    "to_uint8",
]
