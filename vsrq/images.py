"""Still images: decoded strictly (three channels, complete, or a clear error) and put in order by name."""

from __future__ import annotations

import io
import re

import cv2
import numpy as np
from PIL import Image

from vsrq.errors import DataError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm")


def decode_image(content: bytes, name: str, *, deep: bool = False) -> np.ndarray:
    """Decode an image file to RGB.

    Grey images are repeated to three channels and an opaque alpha channel is dropped. OpenCV would return the
    readable part of a truncated file; this function does not.

    Args:
        content: The file.
        name: What to call it in error messages.
        deep: Return 16-bit images as ``uint16`` instead of refusing them.

    Returns:
        ``(h, w, 3)`` ``uint8``, RGB; with ``deep`` and more than 8 bits per channel ``uint16``, 65535 is white.

    Raises:
        DataError: Empty, truncated or unknown file; transparent pixels; more than 8 bits per channel.
    """
    if not content:
        raise DataError(f"{name}: the file is empty; fetch or extract it again")
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            if deep and _is_deep(image, content):
                return _deep_to_rgb(content, name)
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


def natural_order(name: str) -> list[str | tuple[int, str]]:
    """Sort key that puts ``2.png`` before ``10.png``."""
    parts = re.split(r"(\d+)", str(name))
    return [(int(part), part) if position % 2 else part for position, part in enumerate(parts)]


def _to_rgb(image: Image.Image, content: bytes, name: str) -> np.ndarray:
    if _is_deep(image, content) or image.mode not in ("1", "L", "P", "RGB", "LA", "PA", "RGBA", "YCbCr"):
        depth = "16 bits per channel" if _is_deep(image, content) else f"pixel format {image.mode!r}"
        raise DataError(f"{name}: {depth} is not supported; allowed is 8-bit grey or RGB: convert the image")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if np.asarray(image.getchannel("A")).min() < 255:
            raise DataError(f"{name}: has transparent pixels; flatten it onto a background or remove the alpha channel")
    return np.array(image.convert("RGB"))


def _is_deep(image: Image.Image, content: bytes) -> bool:
    # Pillow silently keeps the upper byte of 16-bit colour PNGs; byte 24 of a PNG is its bit depth.
    return image.mode.startswith("I;16") or (content.startswith(b"\x89PNG") and content[24] == 16)


def _deep_to_rgb(content: bytes, name: str) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype != np.uint16:
        raise DataError(f"{name}: this kind of 16-bit image is not supported; convert it to PNG")
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    if image.shape[2] == 4 and image[..., 3].min() < 65535:
        raise DataError(f"{name}: has transparent pixels; flatten it onto a background or remove the alpha channel")
    return cv2.cvtColor(image[..., :3], cv2.COLOR_BGR2RGB)
