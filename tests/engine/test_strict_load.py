from types import SimpleNamespace

import pytest
import torch
from torch import nn

from vsrq.engine import StrictLoadHook
from vsrq.errors import CheckpointError

NET = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))


def load(state):
    StrictLoadHook().after_load_checkpoint(SimpleNamespace(model=NET), checkpoint={"state_dict": state})


def test_accepts_what_fits_with_or_without_wrapper_prefix():
    load(NET.state_dict())
    load({f"module.{name}": value for name, value in NET.state_dict().items()})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("0.bias"), r"1 missing \(0\.bias\)"),
        (lambda s: s.update(extra=torch.zeros(1)), r"1 unexpected \(extra\)"),
        (lambda s: s.update({"1.weight": torch.zeros(9)}), r"1 of another shape \(1\.weight\)"),
    ],
)
def test_names_what_does_not_fit(change, message):
    state = dict(NET.state_dict())
    change(state)
    with pytest.raises(CheckpointError, match=message):
        load(state)
