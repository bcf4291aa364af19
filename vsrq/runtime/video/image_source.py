"""Images of a folder as the frames of a clip with a constant rate."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from vsrq.errors import DataError
from vsrq.images import decode_image
from vsrq.runtime.video.colour import Colour
from vsrq.runtime.video.source import SourceFrame, SourceInfo
from vsrq.runtime.video.timing import Selection


class ImageSource:
    """Grey images are repeated to RGB, an opaque alpha channel is dropped, transparent pixels are refused.

    Args:
        name: What to call the source in messages.
        files: Images in temporal order.
        selection: The part to read.
        rate: Frames per second.

    Raises:
        DataError: Nothing is selected, or the first image is unreadable.
    """

    def __init__(self, name: str, files: Sequence[Path], selection: Selection, rate: Fraction) -> None:
        first = -(-(selection.start or 0) * rate // 1)  # rounded up
        last = len(files) if selection.end is None else min(len(files), -(-selection.end * rate // 1))
        self._files = list(files[int(first) : int(last)])
        if not self._files:
            raise DataError(f"{name}: zero frames between --start and --end; it lasts {len(files) / float(rate):g} s")
        image = self._read(self._files[0])
        self._distinct = len({file.stem for file in self._files}) == len(self._files)
        colour = Colour()
        self.info = SourceInfo(
            name=name,
            size=image.shape[:2],
            colour=colour if image.dtype == np.uint8 else colour._replace(bits=16),
            time_base=1 / rate,
            rate=rate,
            pixel_aspect=Fraction(1),
            frames=len(self._files),
        )

    def frames(self, skip: int = 0) -> Iterator[SourceFrame]:
        """Yield the images.

        Raises:
            DataError: An image is unreadable, or its size or depth differs from the first one's.
        """
        for index, file in enumerate(self._files):
            image = None if index < skip else self._read(file)
            if image is not None and image.shape[:2] != self.info.size:
                height, width = self.info.size
                raise DataError(
                    f"{file}: is {image.shape[1]}x{image.shape[0]}, the first frame is {width}x{height}; "
                    "resize or remove the odd ones"
                )
            if image is not None and image.dtype != self.info.colour.dtype:
                raise DataError(f"{file}: 8-bit and 16-bit images are mixed; convert them to one depth")
            yield SourceFrame(index, index, 1, image, file.stem if self._distinct else None)

    def fingerprint(self) -> dict[str, object]:
        """Return names and sizes of the files, hashed."""
        listing = "\n".join(f"{file.name} {file.stat().st_size}" for file in self._files)
        return {"frames": len(self._files), "files": hashlib.sha256(listing.encode()).hexdigest()}

    def close(self) -> None:
        """Nothing stays open."""

    @staticmethod
    def _read(file: Path) -> np.ndarray:
        try:
            content = file.read_bytes()
        except OSError as error:
            raise DataError(f"{file}: cannot be read ({error.strerror}); check the path") from error
        return decode_image(content, str(file), deep=True)
