import pytest
import torch

from vsrq.distill import FeatureDistillation, FlowDistillation, OutputDistillation, StateDistillation
from vsrq.errors import ConfigError


def test_values():
    a, b = torch.zeros(2, 2, 3, 3), torch.full((2, 2, 3, 3), 2.0)
    assert OutputDistillation()(a, b).item() == pytest.approx(2)
    assert FeatureDistillation(layers=["x"])(a, b).item() == pytest.approx(1)
    assert FlowDistillation()(a, b).item() == pytest.approx(8**0.5)
    # features count relative to their size
    assert StateDistillation()(1.1 * b, b).item() == pytest.approx(StateDistillation()(110 * b, 100 * b).item())


@pytest.mark.parametrize("loss", [OutputDistillation(), StateDistillation(), FlowDistillation()])
def test_no_difference_no_gradient(loss):
    x = torch.randn(1, 2, 4, 4)
    y = x.clone().requires_grad_()
    value = loss(y, x)
    assert value.item() < 1e-5
    value.backward()
    assert torch.isfinite(y.grad).all()
    assert y.grad.abs().max() < 1e-5


def test_schedule_is_linear_between_its_points_and_flat_outside():
    loss = OutputDistillation(weight=2.0, schedule=[(0.2, 1.0), (0.6, 0.0)])
    factors = [loss.factor(t) for t in (0.0, 0.2, 0.4, 0.6, 1.0)]
    assert factors == pytest.approx([2, 2, 1, 0, 0])
    assert OutputDistillation(weight=0.5).factor(0.7) == 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(weight=-1.0), "weight must not be negative, got -1.0"),
        (dict(schedule=[(0.5, 1.0), (0.2, 0.0)]), "times ascending in"),
        (dict(schedule=[(0.0, 1.0), (2.0, 0.0)]), "times ascending in"),
        (dict(schedule=[]), "schedule must hold points"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        OutputDistillation(**settings)
