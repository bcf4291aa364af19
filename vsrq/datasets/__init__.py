"""Clips from frame folders, video files and LMDB, and the degradations that make their low-resolution half."""

from vsrq.datasets.bicubic import matlab_resize
from vsrq.datasets.clips import degrade, load_clip, make_pair, to_uint8
from vsrq.datasets.degradations import GaussianDownsampling, MATLABBicubic
from vsrq.datasets.frame_indices import (
    GenerateFrameIndices,
    GenerateFrameIndiceswithPadding,
    GenerateSegmentIndices,
)
from vsrq.datasets.frames_dataset import BasicFramesDataset
from vsrq.datasets.gaussian import gaussian_downsample
from vsrq.datasets.loading import LoadImageFromFile, PackInputs
from vsrq.datasets.video import read_video

__all__ = [
    "BasicFramesDataset",
    "GaussianDownsampling",
    "GenerateFrameIndices",
    "GenerateFrameIndiceswithPadding",
    "GenerateSegmentIndices",
    "LoadImageFromFile",
    "MATLABBicubic",
    "PackInputs",
    "degrade",
    "gaussian_downsample",
    "load_clip",
    "make_pair",
    "matlab_resize",
    "read_video",
    "to_uint8",
]
