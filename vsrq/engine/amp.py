"""Mixed precision that also runs on the CPU, in bfloat16."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.optim import AmpOptimWrapper as MMEngineAmpOptimWrapper
from mmengine.optim import OptimWrapper

from vsrq.engine.registries import OPTIM_WRAPPERS
from vsrq.errors import ConfigError


@OPTIM_WRAPPERS.register_module()
class AmpOptimWrapper(MMEngineAmpOptimWrapper):
    """MMEngine's mixed-precision wrapper, on the CPU as well.

    Without an accelerator MMEngine's class refuses to be built. Here it then casts to bfloat16, whose
    exponent range is that of float32, so the loss is not scaled.

    Args:
        loss_scale: As in MMEngine; without effect on the CPU.
        dtype: ``'float16'`` or ``'bfloat16'``; None is PyTorch's default for the device.

    Raises:
        ConfigError: On the CPU, if ``dtype`` is not bfloat16.
    """

    def __init__(self, loss_scale: Any = "dynamic", dtype: str | torch.dtype | None = None, **kwargs: Any):
        if torch.cuda.is_available():
            super().__init__(loss_scale=loss_scale, dtype=dtype, **kwargs)
            return
        if dtype not in (None, "bfloat16", torch.bfloat16):
            raise ConfigError(
                f"mixed precision on the CPU: dtype={dtype!r}, allowed is 'bfloat16'. Remove optim_wrapper.dtype "
                "or train on a GPU."
            )
        OptimWrapper.__init__(self, **kwargs)
        self._scale_update_param = None
        self.loss_scaler = torch.amp.GradScaler("cpu", enabled=False)
        self.cast_dtype = torch.bfloat16
