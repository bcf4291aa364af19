"""Between the video's YUV and the network's RGB: range, matrix, bit depth.

Transfer function and primaries are carried over, never converted: the network works on the coded values.
8-bit frames go through swscale, which is exact to half a level. Deeper ones do not, because swscale's 16-bit RGB
is short of white by 0.4 %.

Reference: ITU-R BT.601-7, BT.709-6, BT.2020-2 (matrix coefficients, limited and full range).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np

from vsrq.errors import DataError
from vsrq.runtime.video import pyav

BT709, UNSPECIFIED, SRGB = 1, 2, 13  # code points of H.273
_RGB = 0
# code point of H.273 -> (swscale's name, K_r, K_b)
_MATRICES = {
    1: ("ITU709", 0.2126, 0.0722),
    4: ("FCC", 0.30, 0.11),
    5: ("ITU601", 0.299, 0.114),
    6: ("ITU601", 0.299, 0.114),
    7: ("SMPTE240M", 0.212, 0.087),
    9: ("BT2020", 0.2627, 0.0593),
}
_LIMITED, _FULL = 1, 2  # AVColorRange


class Colour(NamedTuple):
    """How the frames of a video code colour; what the output is tagged with.

    Attributes:
        matrix: Code point of H.273; a source that does not say is read by the convention of players
            (BT.601 below 720 lines, BT.709 from there on), and the output says which.
        full_range: Black is 0 rather than 16 (at 8 bit).
        primaries: Code point of H.273, carried over.
        transfer: Code point of H.273, carried over.
        bits: Bits per component, 8 to 16.
        rgb: The source holds RGB.
    """

    matrix: int = BT709
    full_range: bool = False
    primaries: int = BT709
    transfer: int = SRGB
    bits: int = 8
    rgb: bool = True

    @property
    def dtype(self) -> type:
        """``uint8``, or ``uint16`` (65535 is white) above 8 bit."""
        return np.uint8 if self.bits == 8 else np.uint16


def of_frame(frame: Any, name: str) -> Colour:
    """Return how a decoded frame codes colour.

    Raises:
        DataError: A matrix that is not supported (YCgCo, ICtCp, ...).
    """
    components = frame.format.components
    bits = min(16, max(8, *(component.bits for component in components)))
    if frame.format.is_rgb or frame.format.has_palette:
        return Colour(primaries=frame.color_primaries, transfer=frame.color_trc, bits=bits)
    matrix = frame.colorspace
    if matrix in (UNSPECIFIED, 3):
        matrix = BT709 if frame.height >= 720 or frame.width >= 1280 else 6
    if matrix not in _MATRICES:
        raise DataError(
            f"{name}: colour matrix {matrix} (H.273) is not supported; allowed are BT.601, BT.709, BT.2020, FCC and "
            "SMPTE 240M: convert the video to one of them"
        )
    full = frame.color_range == _FULL or frame.format.name.startswith("yuvj")
    return Colour(matrix, full, frame.color_primaries, frame.color_trc, bits, rgb=False)


def to_rgb(frame: Any, colour: Colour) -> np.ndarray:
    """Return a decoded frame as RGB.

    Args:
        frame: An ``av.VideoFrame``.
        colour: What :func:`of_frame` found.

    Returns:
        ``(h, w, 3)``, ``uint8`` or ``uint16`` as ``colour.dtype`` says.
    """
    if colour.rgb:
        return frame.reformat(format="rgb24" if colour.bits == 8 else "rgb48le").to_ndarray()
    matrix = _MATRICES[colour.matrix][0]
    coded = _FULL if colour.full_range else _LIMITED
    if colour.bits == 8:
        return frame.reformat(
            format="rgb24", src_colorspace=matrix, src_color_range=coded, dst_color_range=_FULL, interpolation=_filter()
        ).to_ndarray()
    planar = frame.reformat(
        format=f"yuv444p{_container_bits(colour.bits)}le",
        src_colorspace=matrix,
        dst_colorspace=matrix,
        src_color_range=coded,
        dst_color_range=coded,
        interpolation=_filter(),
    )
    yuv = cv2.merge([_plane(plane).astype(np.float32) for plane in planar.planes])
    to_yuv, offset = _affine(colour, _container_bits(colour.bits))
    inverse = np.linalg.inv(to_yuv)
    transform = np.hstack([inverse, -inverse @ offset[:, None]]) * 65535
    return np.rint(np.clip(cv2.transform(yuv, transform), 0, 65535)).astype(np.uint16)


def from_rgb(image: np.ndarray, colour: Colour) -> Any:
    """Return a frame to encode: 4:2:0, 8 bit from ``uint8`` and 10 bit from ``uint16``.

    The output has several times the source's resolution, so that 4:2:0 still holds more chroma than a 4:4:4 source.

    Args:
        image: ``(h, w, 3)`` RGB with even sizes.
        colour: Matrix, range and tags of the result.

    Returns:
        An ``av.VideoFrame``.
    """
    av = pyav.load()
    if image.dtype == np.uint8:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24").reformat(
            format="yuv420p",
            dst_colorspace=_MATRICES[colour.matrix][0],
            src_color_range=_FULL,
            dst_color_range=_FULL if colour.full_range else _LIMITED,
            interpolation=_filter(),
        )
    else:
        transform, offset = _affine(colour, 10)
        yuv = cv2.transform(image.astype(np.float32), np.hstack([transform / 65535, offset[:, None]]))
        luma, *chroma = cv2.split(yuv)
        frame = av.VideoFrame(image.shape[1], image.shape[0], "yuv420p10le")
        for plane, values in zip(frame.planes, [luma, *map(_halve, chroma)], strict=True):
            rows = np.zeros((plane.height, plane.line_size // 2), np.uint16)
            rows[:, : plane.width] = np.rint(np.clip(values, 0, 1023))
            plane.update(rows)
    frame.colorspace = colour.matrix
    frame.color_range = _FULL if colour.full_range else _LIMITED
    frame.color_primaries, frame.color_trc = colour.primaries, colour.transfer
    return frame


def tag(context: Any, colour: Colour) -> None:
    """Write the colour into an encoder, so that the container and the bitstream tell it."""
    context.color_range = _FULL if colour.full_range else _LIMITED
    context.colorspace = colour.matrix
    context.color_primaries, context.color_trc = colour.primaries, colour.transfer


def _affine(colour: Colour, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ``A (3, 3), b (3,)`` with ``yuv = A rgb + b``, RGB in [0, 1], YUV in integer levels."""
    _, red, blue = _MATRICES[colour.matrix]
    luma = np.array([red, 1 - red - blue, blue])
    rows = np.stack(
        [luma, (np.array([0, 0, 1]) - luma) / (2 * (1 - blue)), (np.array([1, 0, 0]) - luma) / (2 * (1 - red))]
    )
    unit = 2 ** (bits - 8)
    if colour.full_range:
        return rows * (2**bits - 1), np.array([0, 128 * unit, 128 * unit])
    return rows * np.array([[219], [224], [224]]) * unit, np.array([16, 128, 128]) * unit


def _halve(chroma: np.ndarray) -> np.ndarray:
    """Halve both sides, sited left as H.264 and H.265 assume: at even columns, between two rows."""
    rows = (chroma[0::2] + chroma[1::2]) / 2
    blurred = cv2.filter2D(rows, -1, np.array([[0.25, 0.5, 0.25]], np.float32), borderType=cv2.BORDER_REPLICATE)
    return blurred[:, ::2]


def _container_bits(bits: int) -> int:
    """Take the next depth of swscale's planar formats: 9, 10, 12, 14 and 16 bit."""
    return next(depth for depth in (9, 10, 12, 14, 16) if depth >= bits)


def _plane(plane: Any) -> np.ndarray:
    return np.frombuffer(plane, np.uint16).reshape(plane.height, -1)[:, : plane.width]


def _filter() -> Any:
    """Bicubic, with exact rounding and full chroma resolution."""
    kind = pyav.load().video.reformatter.Interpolation
    return kind.BICUBIC | kind.ACCURATE_RND | kind.FULL_CHR_H_INT | kind.FULL_CHR_H_INP
