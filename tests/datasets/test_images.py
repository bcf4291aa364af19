import io

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.datasets.conftest import noise
from vsrq.datasets.images import decode_image, image_size
from vsrq.errors import DataError


def encode(array, suffix="png", mode=None):
    buffer = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(buffer, suffix)
    return buffer.getvalue()


RGB = noise(1, 24, 20)[0]


def test_colour_is_returned_as_it_is():
    assert np.array_equal(decode_image(encode(RGB), "a.png"), RGB)
    assert image_size(encode(RGB), "a.png") == (24, 20)


def test_grey_is_repeated_to_three_channels():
    grey = RGB[..., 0].copy()
    assert np.array_equal(decode_image(encode(grey), "a.png"), np.stack([grey] * 3, axis=-1))


def test_a_palette_is_looked_up():
    image = encode(RGB // 128 * 128, mode="P")
    assert decode_image(image, "a.png").shape == (24, 20, 3)


@pytest.mark.parametrize("channels", [2, 4])
def test_opaque_alpha_is_dropped_and_transparency_refused(channels):
    image = np.concatenate([RGB[..., : channels - 1], np.full((24, 20, 1), 255, np.uint8)], axis=-1)
    expected = RGB if channels == 4 else np.repeat(RGB[..., :1], 3, axis=-1)
    assert np.array_equal(decode_image(encode(image), "a.png"), expected)
    image[3, 4, -1] = 254
    with pytest.raises(DataError, match=r"clip/a\.png: has transparent pixels; flatten"):
        decode_image(encode(image), "clip/a.png")


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_refused(channels):
    deep = cv2.imencode(".png", np.full((24, 20, channels), 40000, np.uint16))[1].tobytes()
    with pytest.raises(DataError, match="is not supported; allowed is 8-bit"):
        decode_image(deep, "a.png")


@pytest.mark.parametrize("suffix", ["png", "jpeg", "bmp"])
@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_truncated_files_are_refused_with_their_name(suffix, kept):
    content = encode(RGB, suffix)
    with pytest.raises(DataError, match="clip/a: truncated or not an image"):
        decode_image(content[: int(len(content) * kept)], "clip/a")


@pytest.mark.parametrize("content", [b"", b"not an image"])
def test_other_files_are_refused(content):
    with pytest.raises(DataError, match=r"a\.png: (the file is empty|truncated or not an image)"):
        decode_image(content, "a.png")
    with pytest.raises(DataError, match=r"a\.png: not a readable image"):
        image_size(content, "a.png")
