import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vsrq.quant.calibrate import observing
from vsrq.residual import LeakyPrediction
from vsrq.residual.prediction import optimal_coefficient


@settings(deadline=None)
@given(st.floats(-1, 2), st.integers(0, 10**6))
def test_the_coefficient_minimises_the_residual_energy(slope, seed):
    generator = torch.Generator().manual_seed(seed)
    past = torch.randn(200, generator=generator)
    x = slope * past + 0.3 * torch.randn(200, generator=generator)
    best = optimal_coefficient((x * past).sum(), (past * past).sum()).item()
    energy = lambda a: (x - a * past).square().sum().item()  # noqa: E731
    assert all(energy(best) <= energy(a) + 1e-4 for a in torch.linspace(0, 1, 21).tolist())
    assert energy(best) <= energy(0.0) + 1e-4  # never above the frame's own energy


def test_no_past_means_no_prediction():
    assert optimal_coefficient(torch.tensor(0.0), torch.tensor(0.0)).item() == 0


def test_calibration_pools_all_pairs_of_the_first_pass():
    prediction = LeakyPrediction()
    past = torch.randn(2, 100)
    with observing(prediction):
        prediction.observe(0.2 * past[0], past[0])
        prediction.observe(0.8 * past[1], past[1])
    e = past.square().sum(1)
    expected = (0.2 * e[0] + 0.8 * e[1]) / e.sum()
    assert prediction().item() == pytest.approx(expected.item(), rel=1e-5)
    with observing(prediction, first_pass=False):
        prediction.observe(past[0], past[0])
    assert prediction().item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_fixed_coefficient_stays():
    prediction = LeakyPrediction(0.5)
    with observing(prediction):
        prediction.observe(torch.ones(3), torch.ones(3))
    assert prediction().item() == 0.5
