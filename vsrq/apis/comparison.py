"""A network beside bicubic interpolation: scores per clip and a picture."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import torch
from mmengine.registry import DefaultScope
from torch import Tensor

from vsrq.apis import config as settings
from vsrq.apis.check import check_config
from vsrq.datasets import matlab_resize, to_uint8
from vsrq.errors import ConfigError, DataError
from vsrq.evaluation.functional import psnr, ssim
from vsrq.models import load_weights
from vsrq.registry import DATASETS, MODELS


def compare(
    config: str | Path,
    checkpoint: str | Path,
    *,
    out: str | Path | None = None,
    picture: str | Path | None = None,
    clips: Sequence[str] = (),
    start: int = 0,
    frames: int | None = None,
    crop: int = 96,
) -> list[dict[str, Any]]:
    """Score a network and MATLAB's bicubic interpolation on the luma of the test clips of a config.

    Args:
        config: Path of the config file; its first test set is taken.
        checkpoint: Weights of the network, in any layout vsrq reads.
        out: Write the scores to this JSON file.
        picture: Write crops of each clip's middle frame to this PNG file: bicubic, network, ground truth.
        clips: Names of the clips to take; all by default.
        start: First frame.
        frames: How many frames; all by default.
        crop: Height and width of the crops, in pixels of the output.

    Returns:
        One dict per clip: name, frames, and PSNR in dB and SSIM of both.

    Raises:
        ConfigError: There is no test set, or a clip is not in it.
        DataError: A clip has fewer frames than asked for.
        CheckpointError: The weights cannot be used.
    """
    cfg = settings.load_config(config)
    check_config(cfg)
    if not cfg.get("test_dataloader"):
        raise ConfigError(f"{str(config)!r} has no test set: test_dataloader is needed.")
    loader = cfg.test_dataloader[0] if isinstance(cfg.test_dataloader, list) else cfg.test_dataloader
    settings.expect_checkpoint(cfg)
    with DefaultScope.overwrite_default_scope("vsrq"):
        dataset = DATASETS.build(loader.dataset)
        model = MODELS.build(cfg.model).eval()
    load_weights(model.generator, checkpoint)
    rows, strips = [], []
    for index in _chosen(dataset, clips):
        name = str(dataset.get_data_info(index)["key"])
        sample = dataset[index]
        low, truth = (_part(x, name, start, frames) for x in (sample["inputs"], sample["data_samples"].gt_img))
        with torch.inference_mode():
            upscaled = to_uint8(model.upscale(low[None].float() / 255)[0])
        enlarged = matlab_resize(low, 4.0)
        rows.append(
            {
                "clip": name,
                "frames": len(low),
                **{f"bicubic {key}": value for key, value in luma_scores(enlarged, truth).items()},
                **{f"network {key}": value for key, value in luma_scores(upscaled, truth).items()},
            }
        )
        strips.append(_strip([enlarged, upscaled, truth], crop))
    if out is not None:
        _replace(Path(out), (json.dumps(rows, indent=1) + "\n").encode())
    if picture is not None:
        image = torch.cat(strips, dim=1).permute(1, 2, 0).numpy()
        _replace(Path(picture), cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes())
    return rows


def _chosen(dataset: Any, clips: Sequence[str]) -> list[int]:
    names = [str(dataset.get_data_info(index)["key"]) for index in range(len(dataset))]
    unknown = [clip for clip in clips if clip not in names]
    if unknown:
        raise ConfigError(f"no clip is called {', '.join(unknown)}; the test set holds {', '.join(names)}")
    return [index for index, name in enumerate(names) if not clips or name in clips]


def _part(clip: Tensor, name: str, start: int, frames: int | None) -> Tensor:
    stop = len(clip) if frames is None else start + frames
    if not 0 <= start < stop <= len(clip):
        raise DataError(f"{name}: frames {start}..{stop} asked for, but it has {len(clip)}")
    return clip[start:stop]


def luma_scores(images: Tensor, truth: Tensor) -> dict[str, float]:
    """Return the mean PSNR in dB and SSIM of frames (t, 3, h, w) in 0..255, on the luma."""
    pairs = list(zip(images.float(), truth.float(), strict=True))  # one by one: double precision takes memory
    return {
        "PSNR": sum(float(psnr(a, b, convert_to="Y")) for a, b in pairs) / len(pairs),
        "SSIM": sum(float(ssim(a, b, convert_to="Y")) for a, b in pairs) / len(pairs),
    }


def _strip(versions: Sequence[Tensor], crop: int, zoom: int = 3) -> Tensor:
    """Return crops (3, h, w) of the middle frame side by side, where the last version has most detail."""
    frames = [version[len(version) // 2] for version in versions]
    luma = frames[-1].float().mean(0)
    energy = luma.diff(dim=0)[:, 1:].abs() + luma.diff(dim=1)[1:].abs()
    size = min(crop, *energy.shape)
    pooled = torch.nn.functional.avg_pool2d(energy[None, None], size, stride=8)[0, 0]
    top, left = (8 * int(place) for place in divmod(int(pooled.argmax()), pooled.shape[1]))
    squares = [frame[:, top : top + size, left : left + size] for frame in frames]
    large = [square.repeat_interleave(zoom, 1).repeat_interleave(zoom, 2) for square in squares]
    return torch.cat([torch.nn.functional.pad(square, (2, 2, 2, 2), value=255) for square in large], dim=2)


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_bytes(content)
    os.replace(unfinished, path)
