"""What the processes of the distributed test run; imported by freshly started interpreters."""

import os

import torch
import torch.distributed as dist

from vsrq.evaluation.metrics import PSNR


def clip(seed, frames=2, height=14, width=16):
    """A prediction and its ground truth, (t, 3, h, w) RGB; larger seeds are worse."""
    generator = torch.Generator().manual_seed(seed)
    gt = torch.randint(0, 256, (frames, 3, height, width), generator=generator).float()
    return gt + (seed + 1) * 4 * torch.randn(gt.shape, generator=generator), gt


def score_three_clips(rank, folder):
    """Score clips 0, 1, 2 on two ranks: the sampler hands clip 0 out a second time to fill up."""
    from mmengine.evaluator import Evaluator  # imports torchvision, which vsrq.compat must have prepared

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
