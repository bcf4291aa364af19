import argparse
import sys

import pytest
import torch

from vsrq.benchmark import train_step
from vsrq.errors import ConfigError


def arguments(*given):
    parser = argparse.ArgumentParser()
    train_step.add_arguments(parser)
    return parser.parse_args(["--channels", "16", "--blocks", "1", "--frames", "2", "--size", "32", *given])


def test_ratios_are_paired_with_the_float_step():
    ratios = train_step.time_ratios(arguments("--types", "LSQ", "--rounds", "2"))
    assert ratios["float"] == [1.0, 1.0]
    assert all(0.2 < ratio < 10 for ratio in ratios["LSQ"])


def kept_for_backward(kind):
    """Bytes of everything that the forward pass of a training step leaves behind."""
    model, clip, target = train_step.build(arguments("--size", "64"), kind)
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes(), tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.pixel_loss(model.forward_tensor(clip), target)
    return sum(size for size, _ in kept.values())


def test_quantized_training_keeps_hardly_more_than_float_training():
    reference = kept_for_backward("float")
    for kind in ("MSE", "LSQ", "RLQ"):
        assert kept_for_backward(kind) <= 1.05 * reference


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_peak_memory_grows_with_the_clip():
    short, long = (train_step.fresh_peak(arguments("--size", "64", "--frames", n), "LSQ") for n in ("2", "4"))
    assert 0 < 1.2 * short < long


def test_wrong_settings_are_refused():
    with pytest.raises(ConfigError, match="--rounds must be 1 or more, got 0"):
        train_step.main(arguments("--rounds", "0"))
