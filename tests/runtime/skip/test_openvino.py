"""Skipping over exported integer graphs: batches and windows compute what whole frames do."""

import numpy as np
import pytest
import torch

pytest.importorskip("openvino")

from tests.deploy.nets import clip, quantized_net
from tests.runtime.skip.test_runner import EXACT, WHOLE, with_a_mover
from vsrq.deploy.bundle import Bundle
from vsrq.deploy.export import export
from vsrq.deploy.step import example_inputs
from vsrq.runtime import Upscaler


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """EDVR has the one encoder of a bounded field and all levels of a pyramid."""
    folder = tmp_path_factory.mktemp("bundles") / "edvr"
    export(quantized_net("edvr", 8), folder, clip(3)[0][..., :32, :32], backend_config={"threads": 1})
    return Bundle(folder)


def upscale(bundle, frames, **settings):
    upscaler = Upscaler(bundle, **WHOLE, **settings)
    return np.stack(list(upscaler.stream(iter(frames)))), upscaler.skip_stats


def test_a_batch_equals_its_windows_one_by_one(bundle):
    for spec in bundle.plan.steps:
        calls = [
            [x.numpy() for x in example_inputs(spec, 32, 32, torch.Generator().manual_seed(seed))] for seed in (0, 1)
        ]
        one, two = (bundle.load_step(spec.name, 32, 32, batch=batch) for batch in (1, 2))
        together = two([np.concatenate(pair) for pair in zip(*calls, strict=True)])
        for whole, *single in zip(together, *(one(call) for call in calls), strict=True):
            np.testing.assert_array_equal(whole, np.concatenate(single))


def test_integer_graphs_are_exact_with_the_full_halo(bundle):
    frames = with_a_mover(4, 68, 92)
    dense, _ = upscale(bundle, frames)
    result, stats = upscale(bundle, frames, skip=EXACT)
    np.testing.assert_array_equal(result, dense)
    encode = stats.steps["encode"]
    assert encode.pixels - encode.dense * 68 * 92 > 0  # some of it in windows
    assert encode.skipped > 0.3
    assert stats.macs < stats.dense_macs


def test_a_small_halo_stays_close(bundle):
    frames = with_a_mover(4, 68, 92)
    dense, _ = upscale(bundle, frames)
    result, stats = upscale(bundle, frames, skip=dict(tile=8, tolerance=1, halo=8, break_even=1.0, overhead=0))
    assert stats.work < 1
    error = np.square(result.astype(float) - dense).mean()
    assert 10 * np.log10(255**2 / max(error, 1e-9)) > 35
