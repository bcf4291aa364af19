"""Post-training quantization as a training loop, so that one launcher serves PTQ, QAT and float training."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import torch
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from vsrq.errors import ConfigError, DataError
from vsrq.models import QuantizedVSR
from vsrq.quant import calibrate
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
        model = self.runner.model.module if is_model_wrapper(self.runner.model) else self.runner.model
        if not isinstance(model, QuantizedVSR):
            raise ConfigError(f"PTQLoop needs a QuantizedVSR, got {type(model).__name__}.")
        self.runner.call_hook("before_train")
        bits = Counter(f"W{row.weight_bits}A{row.act_bits}" for row in model.layer_table)
        self.runner.logger.info(f"Quantizing {len(model.layer_table)} layers: {dict(bits)}")
        clips = self._load(model)  # once, so that every pass sees the same ones
        calibrate(model, lambda: self._run(model, clips), passes=self.passes)
        self.runner.save_checkpoint(self.runner.work_dir, "ptq.pth", save_optimizer=False, save_param_scheduler=False)
        self.runner.logger.info(f"Calibrated network saved to {self.runner.work_dir}/ptq.pth")
        if self.runner.val_loop is not None:
            self.runner.val_loop.run()
        self.runner.call_hook("after_train")
        return self.runner.model

    def _load(self, model: QuantizedVSR) -> list[Tensor]:
        batches = islice(self.dataloader, self.max_clips)
        clips = [model.data_preprocessor(data, False)["inputs"] for data in batches]
        if not clips:
            raise DataError("the training data hold no clip to calibrate on; check train_dataloader.")
        return clips

    def _run(self, model: QuantizedVSR, clips: list[Tensor]) -> None:
        for clip in tqdm(clips, desc="calibrate", disable=None):
            model.upscale(clip)
