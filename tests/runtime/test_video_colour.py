import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsrq.errors import DataError
from vsrq.runtime.video import colour
from vsrq.runtime.video.colour import Colour

COEFFICIENTS = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}


def reference_rgb(yuv, bits, full, matrix):
    """The formulas of BT.601, BT.709 and BT.2020, written out."""
    red, blue = COEFFICIENTS[matrix]
    unit = 2 ** (bits - 8)
    if full:
        luma, cb, cr = yuv[0] / (2**bits - 1), *((yuv[1:] - 128 * unit) / (2**bits - 1))
    else:
        luma, cb, cr = (yuv[0] - 16 * unit) / (219 * unit), *((yuv[1:] - 128 * unit) / (224 * unit))
    r, b = luma + 2 * (1 - red) * cr, luma + 2 * (1 - blue) * cb
    return np.stack([r, (luma - red * r - blue * b) / (1 - red - blue), b], -1)


def frame_of(yuv, bits, full, matrix):
    frame = av.VideoFrame(yuv.shape[2], yuv.shape[1], "yuv444p" if bits == 8 else f"yuv444p{bits}le")
    kind = np.uint8 if bits == 8 else np.uint16
    for plane, values in zip(frame.planes, yuv, strict=True):
        rows = np.zeros((plane.height, plane.line_size // np.dtype(kind).itemsize), kind)
        rows[:, : plane.width] = values
        plane.update(rows)
    frame.colorspace, frame.color_range = matrix, 2 if full else 1
    return frame


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", COEFFICIENTS)
def test_rgb_is_that_of_the_standard(bits, full, matrix):
    low, high = (0.2, 0.8) if full else (0.25, 0.75)
    yuv = np.random.default_rng(0).uniform(low, high, (3, 48, 64))
    yuv[1:] = 0.5 + (yuv[1:] - 0.5) * 0.3
    yuv = np.round(yuv * 2**bits)
    frame = frame_of(yuv, bits, full, matrix)
    found = colour.of_frame(frame, "clip")
    assert (found.matrix, found.full_range, found.bits) == (matrix, full, bits)
    rgb = colour.to_rgb(frame, found)
    assert rgb.dtype == (np.uint8 if bits == 8 else np.uint16)
    white = np.iinfo(rgb.dtype).max
    assert np.abs(rgb - np.clip(reference_rgb(yuv, bits, full, matrix), 0, 1) * white).max() <= 0.52


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", COEFFICIENTS)
@settings(max_examples=15, deadline=None)
@given(level=st.tuples(*[st.floats(0.05, 0.95)] * 3))
def test_there_and_back_is_the_same_colour(bits, full, matrix, level):
    kind = np.uint8 if bits == 8 else np.uint16
    image = np.broadcast_to((np.array(level) * np.iinfo(kind).max).astype(kind), (16, 32, 3))
    tags = Colour(matrix, full, 9, 16, bits, rgb=False)
    frame = colour.from_rgb(np.ascontiguousarray(image), tags)
    assert frame.format.name == ("yuv420p" if bits == 8 else "yuv420p10le")
    assert colour.of_frame(frame, "clip") == tags
    back = colour.to_rgb(frame, tags)
    # Half a level of each of Y, Cb and Cr; the largest gain is that of blue, 2 (1 - K_b) * 255/224.
    assert np.abs(back.astype(float) - image).max() / np.iinfo(kind).max < 2.3 / 2**bits


def test_untagged_video_is_read_as_players_do():
    for height, matrix in [(576, 6), (720, 1)]:
        assert colour.of_frame(av.VideoFrame(64, height, "yuv420p"), "clip").matrix == matrix
    assert colour.of_frame(av.VideoFrame(1280, 544, "yuv420p"), "clip").matrix == 1
    assert colour.of_frame(av.VideoFrame(64, 64, "yuvj420p"), "clip").full_range


def test_chroma_of_deep_output_is_sited_left():
    """A ramp of chroma: sample k of a 4:2:0 row lies at pixel 2k."""
    ramp = np.tile(np.arange(64.0), (16, 1))
    sampled = colour._halve(ramp.astype(np.float32))
    assert np.allclose(sampled[:, 1:], 2 * np.arange(1, 32))


def test_unknown_matrices_are_refused():
    frame = av.VideoFrame(64, 64, "yuv420p")
    frame.colorspace = 14
    with pytest.raises(DataError, match=r"colour matrix 14 \(H.273\) is not supported; allowed are BT.601"):
        colour.of_frame(frame, "clip")
