"""Post-training quantization as a training loop, so that one launcher serves PTQ, QAT and float training."""

from __future__ import annotations

from collections import Counter

import torch
from mmengine.runner import BaseLoop, Runner
from torch.utils.data import DataLoader

from vsrq.engine.calibration import calibrate_on, load_clips, quantized_model
from vsrq.errors import ConfigError
from vsrq.registry import LOOPS


@LOOPS.register_module()
class PTQLoop(BaseLoop):
    """Calibrate the quantizers on clips of the training data, save ``ptq.pth``, then validate.

    Args:
        runner: The runner.
        dataloader: Clips to calibrate on; the ground truth is not looked at.
        max_clips: How many batches to take at most.
        passes: How often to run through them. Residual layers want 2: the first pass finds the prediction
            coefficients, the second the residual ranges that belong to them.

    Raises:
        ConfigError: A value is below 1.
    """

    def __init__(self, runner: Runner, dataloader: DataLoader | dict, max_clips: int = 8, passes: int = 1) -> None:
        super().__init__(runner, dataloader)
        for name, value in (("max_clips", max_clips), ("passes", passes)):
            if value < 1:
                raise ConfigError(f"PTQLoop: {name} must be 1 or more, got {value}.")
        self.max_clips = max_clips
        self.passes = passes

    # what the Runner and its hooks ask of any training loop
    epoch = iter = cur_iter = 0
    max_epochs = max_iters = 1
    val_begin = val_interval = 1

    def run(self) -> torch.nn.Module:
        """Calibrate, save and validate."""
        model = quantized_model(self.runner.model, "PTQLoop")
        self.runner.call_hook("before_train")
        bits = Counter(f"W{row.weight_bits}A{row.act_bits}" for row in model.layer_table)
        self.runner.logger.info(f"Quantizing {len(model.layer_table)} layers: {dict(bits)}")
        # loaded once, so that every pass sees the same ones
        calibrate_on(model, load_clips(model, self.dataloader, self.max_clips), passes=self.passes)
        self.runner.save_checkpoint(self.runner.work_dir, "ptq.pth", save_optimizer=False, save_param_scheduler=False)
        self.runner.logger.info(f"Calibrated network saved to {self.runner.work_dir}/ptq.pth")
        if self.runner.val_loop is not None:
            self.runner.val_loop.run()
        self.runner.call_hook("after_train")
        return self.runner.model
