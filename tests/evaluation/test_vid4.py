"""The published float scores, end to end: data set, network, official weights, metrics."""

import os
from pathlib import Path

import pytest
import torch
from mmagic.structures import DataSample
from mmengine.evaluator import Evaluator

from vsrq.models import BasicVSRNet, load_weights
from vsrq.registry import DATASETS

WEIGHTS = "BasicVSR_Vimeo90K_BIx4.pth"
LOAD = [dict(type="LoadImageFromFile", key=key, channel_order="rgb") for key in ("img", "gt")]
# Measured with the weights' original code on the full low-resolution clips, first 31 frames scored.
EXPECTED = {"calendar": 23.91, "foliage": 26.64}


def find_weights(data_root):
    folders = [Path(os.environ["VSRQ_WEIGHTS"])] if "VSRQ_WEIGHTS" in os.environ else []
    for folder in (*folders, data_root, Path("data")):
        for path in sorted(folder.rglob(WEIGHTS)):
            return path
    pytest.skip(f"no {WEIGHTS} below $VSRQ_WEIGHTS, $VSRQ_DATA or data/: run 'make demo' once, it fetches them")


@pytest.mark.slow
@pytest.mark.golden
def test_basicvsr_scores_on_vid4(data_root):
    if not (data_root / "Vid4" / "BIx4").is_dir():
        pytest.skip(f"no clips at {data_root / 'Vid4'}: set VSRQ_DATA to the folder that holds Vid4/GT and Vid4/BIx4")
    net = BasicVSRNet(mid_channels=64, num_blocks=30).eval().to(memory_format=torch.channels_last)  # 1.5 times faster
    load_weights(net, find_weights(data_root))
    dataset = DATASETS.build(
        dict(
            type="BasicFramesDataset",
            data_root=str(data_root / "Vid4"),
            data_prefix=dict(img="BIx4", gt="GT"),
            pipeline=[dict(type="GenerateSegmentIndices", interval_list=[1]), *LOAD, dict(type="PackInputs")],
        )
    )
    metrics = [dict(type=name, convert_to="Y", prefix="VID4-BIx4-Y", channel_order="RGB") for name in ("PSNR", "SSIM")]
    evaluator = Evaluator([dict(metric, _scope_="vsrq", per_clip=True) for metric in metrics])
    for sample in dataset:
        data = sample["data_samples"]
        with torch.inference_mode():
            output = net.upscale(sample["inputs"][None].float() / 255)[0]
        data.output = DataSample(pred_img=output * 255)
        evaluator.process([data])
    scores = evaluator.evaluate(len(dataset))
    for clip, expected in EXPECTED.items():
        assert scores[f"VID4-BIx4-Y/PSNR/{clip}"] == pytest.approx(expected, abs=0.05)
    assert 0.75 < scores["VID4-BIx4-Y/SSIM"] < 0.9
