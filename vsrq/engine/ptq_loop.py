"""Post-training quantization as a training loop, so that one launcher serves PTQ, QAT and float training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from mmengine.runner import BaseLoop, Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from vsrq.engine.calibration import calibrate_on, load_clips, quantized_model, share_state
from vsrq.errors import ConfigError, check_keys
from vsrq.models import QuantizedVSR
from vsrq.models.depth import FULL
from vsrq.models.hidden_state import StateStorage, stored_features
from vsrq.quant.bias_correction import correct_bias
from vsrq.quant.calibrate import Signals
from vsrq.quant.cost import parameter_count, storage_bits
from vsrq.quant.equalize import equalize
from vsrq.quant.prepare import float_copy
from vsrq.quant.reconstruction import Settings, reconstruct
from vsrq.quant.weight_cache import quantize_weights_once
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
        signals: ``'float'`` to take ranges from the float network's signals, see :func:`vsrq.quant.calibrate`.
        equalize: Pairs of layers to equalise before the calibration, see :func:`vsrq.quant.equalize.equalize`.
        reconstruct: Blocks to fit to the float network after it: ``blocks`` and any of
            :class:`vsrq.quant.reconstruction.Settings`; not for residual layers.
        correct_bias: Take mean errors out of the biases at the end, see
            :func:`vsrq.quant.bias_correction.correct_bias`.

    Raises:
        ConfigError: A value is below 1, or a setting is unknown.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        max_clips: int = 8,
        passes: int = 1,
        signals: Signals = "quantized",
        equalize: Sequence[Mapping[str, str]] = (),
        reconstruct: Mapping[str, Any] | None = None,
        correct_bias: bool = False,
    ) -> None:
        super().__init__(runner, dataloader)
        for name, value in (("max_clips", max_clips), ("passes", passes)):
            if value < 1:
                raise ConfigError(f"PTQLoop: {name} must be 1 or more, got {value}.")
        self.max_clips = max_clips
        self.passes = passes
        self.signals = signals
        for pair in equalize:
            check_keys(pair, ["first", "second"], "a pair of equalize")
        self.equalize = equalize
        settings = dict(reconstruct or {})
        check_keys(settings, ["blocks", *(field.name for field in fields(Settings))], "reconstruct")
        self.blocks = settings.pop("blocks", ())
        if reconstruct is not None and not self.blocks:
            raise ConfigError("PTQLoop: reconstruct needs `blocks`, a list of globs over the names of modules.")
        self.settings = Settings(**settings)
        self.correct_bias = correct_bias

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
        count, stored = parameter_count(model.generator), storage_bits(model.generator)
        self.runner.logger.info(f"Storage: {count} parameters x {stored / count:.3f} bit = {stored / 8e6:.3f} MB")
        self._quantize(model, load_clips(model, self.dataloader, self.max_clips))
        self.runner.save_checkpoint(self.runner.work_dir, "ptq.pth", save_optimizer=False, save_param_scheduler=False)
        self.runner.logger.info(f"Calibrated network saved to {self.runner.work_dir}/ptq.pth")
        if self.runner.val_loop is not None:
            self.runner.val_loop.run()
        self.runner.call_hook("after_train")
        return self.runner.model

    def _quantize(self, model: QuantizedVSR, clips: list[Tensor]) -> None:
        """Equalise, calibrate, reconstruct and correct biases, as far as asked for; all on the same clips."""
        log = self.runner.logger.info
        if self.blocks and model.residual_table:
            raise ConfigError("reconstruct fits what frames are quantized to; remove it or set model.residual=None.")
        if self.equalize:
            log(f"{equalize(model.generator, self.equalize)} pairs of layers equalised")
        with model.at_depth(FULL):
            reference = float_copy(model.generator) if self.blocks else None
        calibrate_on(model, clips, passes=self.passes, signals=self.signals)

        def run(net: nn.Module) -> None:
            _run(net, clips, model.state_storage if net is model.generator else None)

        if reference is not None:
            with model.at_depth(FULL):  # a skipped block has nothing to fit
                errors = reconstruct(model.generator, reference, run, self.blocks, self.settings)
            for error in errors:
                log(f"{error.name}: relative error {error.before:.3g} -> {error.after:.3g}")
        if self.correct_bias:
            log(f"{correct_bias(model.generator, lambda: [model.upscale(clip) for clip in clips])} biases corrected")
        share_state(model)


@torch.no_grad()
def _run(net: nn.Module, clips: list[Tensor], storage: StateStorage | None) -> None:
    with quantize_weights_once(), stored_features(net, storage):
        for clip in clips:
            net.upscale(clip)  # type: ignore[operator]
