import argparse

import pytest

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


@pytest.mark.slow
def test_quantized_training_needs_hardly_more_memory_than_float_training():
    ratios = train_step.memory_ratios(arguments("--types", "LSQ", "--size", "64", "--frames", "4"))
    assert ratios["float"] == 1
    assert ratios["LSQ"] <= 1.3


def test_wrong_settings_are_refused():
    with pytest.raises(ConfigError, match="--rounds must be 1 or more, got 0"):
        train_step.main(arguments("--rounds", "0"))
