import math
import os

import mmagic.evaluation
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmagic.structures import DataSample
from mmengine.evaluator import Evaluator

from vsrq.errors import ConfigError, DataError
from vsrq.evaluation.functional import psnr, ssim
from vsrq.evaluation.metrics import PSNR, SSIM
from vsrq.registry import METRICS


def clip(seed, frames=2, height=14, width=16):
    """A prediction and its ground truth, (t, 3, h, w) RGB; larger seeds are worse."""
    generator = torch.Generator().manual_seed(seed)
    gt = torch.randint(0, 256, (frames, 3, height, width), generator=generator).float()
    return gt + (seed + 1) * 4 * torch.randn(gt.shape, generator=generator), gt


def sample(pred, gt, folder=None):
    """What a model hands over: BGR, as mmagic's data preprocessor leaves it."""
    data = DataSample(gt_img=gt.flip(-3), output=DataSample(pred_img=pred.flip(-3)))
    if folder is not None:
        data.set_metainfo(dict(gt_path=[f"{folder}/{n:08d}.png" for n in range(len(gt))]))
    return data


def evaluate(samples, *metrics):
    evaluator = Evaluator(list(metrics))
    for data in samples:
        evaluator.process([data])
    return evaluator.evaluate(len(samples))


def test_keys_and_means_over_frames_then_clips():
    # Clips of different lengths: the mean of clip means differs from the mean of all frames.
    clips = {"data/GT/calendar": clip(0, frames=3), "data/GT/walk": clip(3, frames=1)}
    kwargs = dict(convert_to="Y", prefix="VID4-BIx4-Y", per_clip=True)
    result = evaluate([sample(*pair, name) for name, pair in clips.items()], PSNR(**kwargs), SSIM(**kwargs))
    for key, score in (("PSNR", psnr), ("SSIM", ssim)):
        means = [score(*pair, convert_to="Y").mean().item() for pair in clips.values()]
        assert result[f"VID4-BIx4-Y/{key}"] == pytest.approx(sum(means) / 2, abs=1e-12)
        assert result[f"VID4-BIx4-Y/{key}/calendar"] == pytest.approx(means[0], abs=1e-12)
        assert result[f"VID4-BIx4-Y/{key}/walk"] == pytest.approx(means[1], abs=1e-12)
    assert len(result) == 6


def test_single_frames_are_gathered_into_their_clips():
    long, short = clip(0, frames=3), clip(3, frames=1)
    whole = evaluate([sample(*long, "gt/a"), sample(*short, "gt/b")], PSNR())
    singles = [sample(long[0][i], long[1][i]) for i in range(3)] + [sample(short[0][0], short[1][0])]
    for number, data in enumerate(singles):
        data.set_metainfo(dict(gt_path=[f"gt/{'a' if number < 3 else 'b'}/{number:08d}.png"]))
    assert evaluate(singles, PSNR())["PSNR"] == pytest.approx(whole["PSNR"], abs=1e-12)


def test_frames_of_one_video_are_one_clip():
    long, short = clip(0, frames=2), clip(3, frames=1)
    videos = [sample(*long), sample(*short), sample(*short)]
    for data, path in zip(videos, ("v/a.mp4#0", "v/b.mp4#0", "v/b.mp4#1"), strict=True):
        data.set_metainfo(dict(gt_path=[path]))
    result = evaluate(videos, PSNR(per_clip=True))
    assert set(result) == {"PSNR", "PSNR/a.mp4", "PSNR/b.mp4"}
    assert result["PSNR/b.mp4"] == pytest.approx(psnr(*short).item(), abs=1e-12)


def test_samples_without_a_path_are_clips_of_their_own():
    pairs = [clip(0, frames=3), clip(3, frames=1)]
    expected = sum(psnr(*pair).mean().item() for pair in pairs) / 2
    assert evaluate([sample(*pair) for pair in pairs], PSNR())["PSNR"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["PSNR", "SSIM"])
@pytest.mark.parametrize("convert_to", [None, "Y"])
def test_unrounded_scores_equal_mmagics(name, convert_to):
    pred, gt = clip(1)
    samples = [sample(pred.clamp(0, 255), gt, "gt/a")]
    theirs = getattr(mmagic.evaluation, name)(convert_to=convert_to)
    theirs.size = 1
    theirs.process(None, [samples[0].to_dict()])
    ours = evaluate(samples, METRICS.build(dict(type=name, convert_to=convert_to, rounding=False)))
    assert ours[name] == pytest.approx(theirs.evaluate()[name], abs=2e-4)


def test_rounding_is_on_unless_switched_off():
    gt = clip(0)[1]
    assert evaluate([sample(gt + 0.3, gt)], PSNR())["PSNR"] == math.inf
    assert evaluate([sample(gt + 0.3, gt)], PSNR(rounding=False))["PSNR"] < 60


def test_colour_order_matters_for_luma_only():
    pred, gt = clip(2)
    swapped = sample(pred.flip(-3), gt.flip(-3))
    bgr, rgb = (evaluate([sample(pred, gt)], PSNR(convert_to="Y", channel_order=order)) for order in ("BGR", "RGB"))
    assert abs(bgr["PSNR"] - rgb["PSNR"]) > 1e-3
    assert evaluate([swapped], PSNR(convert_to="Y", channel_order="RGB")) == bgr


def test_metric_can_be_used_again_and_by_mmagics_loops():
    metric = PSNR()
    first = evaluate([sample(*clip(0))], metric)
    assert evaluate([sample(*clip(0))], metric) == first
    metric.size = 1  # what mmagic's loops do through prepare()
    metric.process(None, [sample(*clip(0)).to_dict()])
    assert metric.evaluate() == first


def test_bad_settings_and_samples_are_named():
    with pytest.raises(ConfigError, match="PSNR: unknown convert_to 'YCbCr'"):
        PSNR(convert_to="YCbCr")
    with pytest.raises(ConfigError, match="SSIM: crop_border must be"):
        SSIM(crop_border=-4)
    with pytest.raises(ConfigError, match="channel_order must be 'BGR' or 'RGB', got 'bgr'"):
        PSNR(channel_order="bgr")
    pred, gt = clip(0)
    with pytest.raises(
        DataError, match=r"pred_img \(2, 3, 7, 8\) and gt_img .* differ in shape for gt/a; check the scale"
    ):
        evaluate([sample(pred[..., ::2, ::2], gt, "gt/a")], PSNR())
    with pytest.raises(DataError, match="no sample was scored"):
        PSNR().evaluate(0)


def score_three_clips(rank, folder):
    """Score clips 0, 1, 2 on two ranks: the sampler hands clip 0 out a second time to fill up."""
    os.chdir(folder)  # MMEngine exchanges results through a folder below the current one
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    evaluator = Evaluator([PSNR(prefix="X")])
    for seed in ((0, 2), (1, 0))[rank]:
        pred, gt = (images.flip(-3) for images in clip(seed, frames=seed + 1))
        evaluator.process([dict(gt_img=gt, gt_path=[f"gt/{seed}/0.png"], output=dict(pred_img=pred))])
    result = evaluator.evaluate(3)
    dist.destroy_process_group()
    with open(f"{folder}/{rank}.txt", "w") as file:
        file.write(repr(result["X/PSNR"]))


def test_two_processes_score_as_one_and_padding_counts_once(tmp_path):
    # Forking saves two imports; safe because the tests run torch with one thread.
    mp.start_processes(score_three_clips, args=(str(tmp_path),), nprocs=2, start_method="fork")
    alone = evaluate([sample(*clip(seed, frames=seed + 1), f"gt/{seed}") for seed in range(3)], PSNR())["PSNR"]
    padded = evaluate([sample(*clip(seed, frames=seed + 1)) for seed in (0, 1, 2, 0)], PSNR())["PSNR"]
    assert abs(alone - padded) > 0.01
    for rank in range(2):
        assert float((tmp_path / f"{rank}.txt").read_text()) == pytest.approx(alone, abs=1e-9)
