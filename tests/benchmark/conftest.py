import cv2
import numpy as np
import pytest

from vsrq.benchmark.clips import CALIBRATION, SCORED


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A data folder with a rendered clip under the names of one to score and of those to calibrate on."""
    texture = np.random.default_rng(0).integers(0, 255, (16, 24, 3), dtype=np.uint8)
    texture = cv2.resize(texture, (192, 160), interpolation=cv2.INTER_CUBIC)
    for clip in (SCORED["calendar"], *CALIBRATION):
        folder = tmp_path / clip.path
        folder.mkdir(parents=True)
        for index in range(clip.start + 4):
            image = np.roll(texture, 3 * index, axis=1) if index >= clip.start else texture[:8, :8]
            cv2.imwrite(str(folder / f"{index:08d}.png"), image)
    monkeypatch.setenv("VSRQ_DATA", str(tmp_path))
    return tmp_path
