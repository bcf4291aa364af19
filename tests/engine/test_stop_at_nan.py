import pytest
import torch

from vsrq.errors import TrainingError
from vsrq.models import FloatVSR

HOOKS = {"custom_hooks": [dict(type="StopAtNaNHook")], "default_hooks.checkpoint.interval": 1}


def spoil(monkeypatch, iteration, value):
    """Let the loss be ``value`` from an iteration on, counted from 1."""
    original, calls = FloatVSR.forward_train, iter(range(1, 1000))

    def forward_train(self, *args, **kwargs):
        losses = original(self, *args, **kwargs)
        return {"loss": losses["loss"] * value} if next(calls) >= iteration else losses

    monkeypatch.setattr(FloatVSR, "forward_train", forward_train)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_stops_at_the_iteration_and_names_the_last_good_checkpoint(fit, tmp_path, monkeypatch, value):
    spoil(monkeypatch, 3, value)
    with pytest.raises(TrainingError, match=rf"loss is {value} at iteration 3; the last good .*iter_2\.pth"):
        fit("basicvsr", tmp_path, iters=4, options=HOOKS)
    weights = torch.load(tmp_path / "iter_2.pth", weights_only=True)["state_dict"]
    assert all(value.isfinite().all() for value in weights.values())
    assert not (tmp_path / "iter_3.pth").exists()


def test_says_when_there_is_no_checkpoint(fit, tmp_path, monkeypatch):
    spoil(monkeypatch, 1, float("nan"))
    with pytest.raises(TrainingError, match="at iteration 1; there is no checkpoint yet"):
        fit("basicvsr", tmp_path, iters=2, options=HOOKS)
