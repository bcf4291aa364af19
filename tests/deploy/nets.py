"""Tiny networks for the tests of deployment, float and quantized."""

import functools

import torch

from tests.models.test_quantized_vsr import clip, float_model, quantized, rules
from vsrq.quant import calibrate

__all__ = ["NAMES", "clip", "float_net", "noisy", "quantized_net"]

NAMES = ("basicvsr", "basicvsr_pp", "edvr")


def float_net(name):
    """Always the same network, of its own for each caller."""
    torch.manual_seed(1)
    return float_model(name).generator


@functools.cache
def _calibrated(name, bits):
    torch.manual_seed(1)
    model = quantized(name, quant=dict(weight=dict(bits=bits), act=dict(bits=bits), rules=rules(name)))
    calibrate(model, lambda: model.upscale(clip(3)))
    return model.generator.eval()


def quantized_net(name, bits):
    """A calibrated network, shared by those that only look at it."""
    return _calibrated(name, bits)


def noisy(frames, height=64, width=64, seed=0):
    """Frames (t, h, w, 3) of a moving texture in 8 bits."""
    return (
        (clip(frames, seed=seed, size=max(height, width))[0][..., :height, :width] * 255)
        .round()
        .byte()
        .permute(0, 2, 3, 1)
        .contiguous()
        .numpy()
    )
