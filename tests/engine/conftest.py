import uuid

import cv2
import numpy as np
import pytest

from vsrq.apis import train
from vsrq.engine import IterBasedTrainLoop

CONFIGS = "configs/tiny"


def write_clips(root, clips=3, frames=5, height=96, width=112):
    """Write textures that move by (3, 2) pixels per frame, and their x4 averages."""
    rng = np.random.default_rng(0)
    for clip in range(clips):
        noise = rng.integers(0, 256, (height + 40, width + 40, 3)).astype(np.float32)
        texture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 1.5), None, 0, 255, cv2.NORM_MINMAX)
        for t in range(frames):
            sharp = texture[2 * t : 2 * t + height, 3 * t : 3 * t + width].astype(np.uint8)
            small = cv2.resize(sharp, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
            for name, image in (("GT", sharp), ("BIx4", small)):
                folder = root / name / f"{clip:03d}"
                folder.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(folder / f"{t:08d}.png"), image)


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    root = tmp_path_factory.mktemp("clips")
    write_clips(root)
    return root


@pytest.fixture(autouse=True)
def _clips_as_data(clips, monkeypatch):
    monkeypatch.setenv("VSRQ_DATA", str(clips))


class Interrupted(Exception):
    pass


@pytest.fixture
def fit(monkeypatch):
    """Train a tiny config without validation; ``stop_before=k`` interrupts before iteration ``k``."""

    def run(network, work_dir, *, iters=4, stop_before=None, resume=None, options=None):
        changes = {
            "train_cfg.max_iters": iters,
            "val_dataloader": None,
            "val_evaluator": None,
            "val_cfg": None,
            # MMEngine keeps one message hub per name, and the default name has a resolution of seconds.
            "experiment_name": uuid.uuid4().hex,
            **(options or {}),
        }
        with monkeypatch.context() as patch:
            if stop_before is not None:
                original = IterBasedTrainLoop.run_iter

                def run_iter(loop, batch):
                    if loop.iter == stop_before:
                        raise Interrupted
                    original(loop, batch)

                patch.setattr(IterBasedTrainLoop, "run_iter", run_iter)
            return train(f"{CONFIGS}/{network}.py", work_dir=str(work_dir), resume=resume, cfg_options=changes)

    return run
