"""The model behind a wrapper for distributed training."""

from __future__ import annotations

from typing import cast

from mmengine.model import is_model_wrapper
from torch import nn


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model itself, whether or not it is wrapped for distributed training."""
    return cast(nn.Module, model.module) if is_model_wrapper(model) else model
