"""Decode one still image strictly: three 8-bit channels, complete, or a clear error."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from vsrq.errors import DataError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm")


def decode_image(content: bytes, name: str) -> np.ndarray:
    """Decode an image file to RGB.

    Grey images are repeated to three channels and an opaque alpha channel is dropped. OpenCV would return the
    readable part of a truncated file; this function does not.

    Args:
        content: The file.
        name: What to call it in error messages.

    Returns:
        ``(h, w, 3)`` ``uint8``, RGB.

    Raises:
        DataError: Empty, truncated or unknown file; transparent pixels; more than 8 bits per channel.
    """
    if not content:
        raise DataError(f"{name}: the file is empty; fetch or extract it again")
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            return _to_rgb(image, content, name)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{name}: truncated or not an image ({error}); fetch or extract it again") from error


def image_size(content: bytes, name: str) -> tuple[int, int]:
    """Return ``(h, w)`` from the header, without decoding the pixels.

    Raises:
        DataError: The header cannot be read.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{name}: not a readable image ({error}); fetch or extract it again") from error


def _to_rgb(image: Image.Image, content: bytes, name: str) -> np.ndarray:
    # Pillow silently keeps the upper byte of 16-bit colour PNGs; byte 24 of a PNG is its bit depth.
    deep_png = content.startswith(b"\x89PNG") and content[24] == 16
    if deep_png or image.mode not in ("1", "L", "P", "RGB", "LA", "PA", "RGBA", "YCbCr"):
        depth = "16 bits per channel" if deep_png else f"pixel format {image.mode!r}"
        raise DataError(f"{name}: {depth} is not supported; allowed is 8-bit grey or RGB: convert the image")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if np.asarray(image.getchannel("A")).min() < 255:
            raise DataError(f"{name}: has transparent pixels; flatten it onto a background or remove the alpha channel")
    return np.array(image.convert("RGB"))
