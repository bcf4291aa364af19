"""Rendered textures: dead leaves, stripes, writing and noise, with natural and with man-made edges."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[Any]
"""``(size, size, 3)`` ``uint8``, RGB; OpenCV's stubs know only arrays of any integers or floats."""

_GLYPHS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789&%?!/"
_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
)


def texture(rng: np.random.Generator, size: int) -> Image:
    """Render one texture of a random kind.

    Args:
        rng: Decides everything about it.
        size: Height and width in pixels.

    Returns:
        ``(size, size, 3)`` ``uint8``, RGB.
    """
    kinds = (dead_leaves, dead_leaves, writing, stripes, noise)
    image: Image = kinds[rng.integers(len(kinds))](rng, size)
    # photographs vary less in colour than in brightness
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    saturation = float(rng.beta(1, 2))
    return cv2.addWeighted(image, saturation, grey, 1 - saturation, 0)


def dead_leaves(rng: np.random.Generator, size: int) -> Image:
    """Cover the plane with opaque shapes whose radii follow a power law of exponent -3.

    Such images share the scale invariance and the edge statistics of photographs.

    Reference: Lee, Mumford, Huang, Occlusion models for natural images (IJCV 2001).
    """
    image = noise(rng, size)
    smallest, largest = size / 250, size / 4
    u = rng.random(size * 3)
    # inverse of the distribution function of r^-3 between the two radii
    radii = 1 / np.sqrt(smallest**-2 - u * (smallest**-2 - largest**-2))
    tint, spread = rng.integers(40, 216, 3), rng.uniform(20, 110)
    # large ones first: the small ones stay visible, as details of surfaces do
    for radius in np.sort(radii)[::-1]:
        centre = rng.uniform(0, size, 2)
        colour = np.clip(tint + rng.normal(0, spread, 3), 0, 255).tolist()
        kind = rng.integers(4)
        if kind == 0:
            cv2.circle(image, _point(centre), max(1, int(radius)), colour, -1, cv2.LINE_AA)
        elif kind == 1:
            axes = (max(1, int(radius)), max(1, int(radius * rng.uniform(0.15, 1))))
            cv2.ellipse(image, _point(centre), axes, rng.uniform(0, 180), 0, 360, colour, -1, cv2.LINE_AA)
        else:
            corners = int(rng.integers(3, 6))
            angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
            offsets = np.stack([np.cos(angles), np.sin(angles)], 1) * radius * rng.uniform(0.4, 1.4, (corners, 1))
            cv2.fillPoly(image, [np.round(centre + offsets).astype(np.int32)], colour, cv2.LINE_AA)
    return image


def writing(rng: np.random.Generator, size: int) -> Image:
    """Fill a plain or shaded page with lines of random letters and with rules."""
    dark, light = rng.integers(0, 90, 3), rng.integers(140, 256, 3)
    ink, paper = (dark, light) if rng.random() < 0.6 else (light, dark)
    image: Image = np.empty((size, size, 3), np.uint8)
    image[:] = paper
    if rng.random() < 0.5:
        image = cv2.addWeighted(image, 0.75, noise(rng, size), 0.25, 0)
    y = 0
    while y < size:
        height = int(rng.uniform(size / 45, size / 9))
        y += int(height * rng.uniform(1.3, 2))
        font, thickness = int(rng.choice(_FONTS)), max(1, height // 12)
        scale = height / 22
        text = "".join(rng.choice(list(_GLYPHS + "   "), 200))
        colour = np.clip(ink + rng.normal(0, 25, 3), 0, 255).tolist()
        cv2.putText(image, text, (-int(rng.integers(60)), y), font, scale, colour, thickness, cv2.LINE_AA)
        if rng.random() < 0.3:
            cv2.line(image, (0, y + height // 3), (size, y + height // 3), colour, thickness, cv2.LINE_AA)
    return _rotated(rng, image) if rng.random() < 0.3 else image


def stripes(rng: np.random.Generator, size: int) -> Image:
    """Draw one or two gratings, smooth or hard, with a slowly varying contrast."""
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    pattern = np.ones((size, size), np.float32)
    for _ in range(rng.integers(1, 3)):
        angle, period = rng.uniform(0, np.pi), size / rng.uniform(12, 90)
        wave = np.sin(2 * np.pi * (columns * np.cos(angle) + rows * np.sin(angle)) / period)
        sharpness = rng.choice([1.0, 3.0, 20.0])
        pattern *= np.tanh(sharpness * wave) / np.tanh(sharpness)
    a, b = rng.integers(0, 256, (2, 3)).astype(np.float32)
    weight = (0.5 + 0.5 * pattern)[..., None]
    mixed = (weight * a + (1 - weight) * b).astype(np.uint8)
    return cv2.addWeighted(mixed, 0.8, noise(rng, size), 0.2, 0)


def noise(rng: np.random.Generator, size: int) -> Image:
    """Return coloured noise whose amplitude falls with frequency as 1 / f^a, a between 0.9 and 1.6."""
    decay = rng.uniform(0.9, 1.6)
    # half the size is enough: oversampling leaves nothing of the finest octave
    half = max(size // 2, 2)
    frequency = np.hypot(np.fft.fftfreq(half)[:, None], np.fft.rfftfreq(half)[None])
    frequency[0, 0] = np.inf
    spectrum = rng.normal(size=(3, *frequency.shape)) + 1j * rng.normal(size=(3, *frequency.shape))
    field = np.fft.irfft2(spectrum / frequency**decay, s=(half, half))
    field = np.tensordot(rng.dirichlet([1, 1, 1], 3), field / field.std(), axes=1)
    image = rng.integers(60, 196, 3)[:, None, None] + rng.uniform(15, 60) * field
    small = np.ascontiguousarray(np.clip(image, 0, 255).astype(np.uint8).transpose(1, 2, 0))
    return cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)


def _rotated(rng: np.random.Generator, image: Image) -> Image:
    size = image.shape[0]
    matrix = cv2.getRotationMatrix2D((size / 2, size / 2), rng.uniform(0, 360), 1.42)
    return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def _point(position: NDArray[np.floating]) -> tuple[int, int]:
    return int(position[0]), int(position[1])
