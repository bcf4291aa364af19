"""Calibration inside the Runner: before training (QAT) or instead of it (PTQ)."""

from __future__ import annotations

from itertools import islice

from mmengine.dist import broadcast_object_list
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from vsrq.engine import rng
from vsrq.engine.unwrap import unwrap
from vsrq.errors import ConfigError, DataError
from vsrq.models import QuantizedVSR
from vsrq.models.depth import FULL
from vsrq.quant import calibrate
from vsrq.quant.calibratable import calibratables
from vsrq.quant.calibrate import Signals
from vsrq.quant.quantizer import UniformQuantizer
from vsrq.registry import HOOKS


def quantized_model(model: nn.Module, what: str) -> QuantizedVSR:
    """Return the model behind a wrapper for distributed training.

    Raises:
        ConfigError: It is not a :class:`vsrq.models.QuantizedVSR`; ``what`` needs one.
    """
    model = unwrap(model)
    if not isinstance(model, QuantizedVSR):
        raise ConfigError(f"{what} needs a QuantizedVSR, got {type(model).__name__}.")
    return model


def load_clips(model: QuantizedVSR, dataloader: DataLoader, max_clips: int) -> list[Tensor]:
    """Return the inputs of the first batches, on the model's device, each ``(n, t, 3, h, w)`` in [0, 1].

    Raises:
        DataError: The data hold no clip.
    """
    clips = [model.data_preprocessor(data, False)["inputs"] for data in islice(dataloader, max_clips)]
    if not clips:
        raise DataError("the training data hold no clip to calibrate on; check train_dataloader.")
    return clips


def calibrate_on(model: QuantizedVSR, clips: list[Tensor], *, passes: int, signals: Signals = "quantized") -> None:
    """Calibrate all quantizers on clips; all processes end up with the ranges of the first.

    A network that runs at less than its full depth is calibrated at both: the full one reaches every quantizer.
    """
    depths = [FULL] if model.depth is None else list(dict.fromkeys([FULL, model.depth.current]))

    def run() -> None:
        for name in depths:
            with model.at_depth(name):
                for clip in tqdm(clips, desc="calibrate", disable=None):
                    model.upscale(clip)

    calibrate(model, run, passes=passes, signals=signals)
    share_state(model)


def share_state(model: nn.Module) -> None:
    """Give all processes the parameters and ranges of the first."""
    shared = [model.state_dict()]
    broadcast_object_list(shared)
    model.load_state_dict(shared[0])


@HOOKS.register_module()
class CalibrationHook(Hook):
    """Calibrate the quantizers on training clips before the first step; from then on they learn.

    Does nothing where all ranges are known: after a resume, or with ``load_from`` of a calibrated checkpoint. Neither
    the random state nor the training data's order is disturbed.

    Args:
        max_clips: How many batches of the training data to take at most.
        passes: How often to run through them; residual layers want 2.
        signals: ``'float'`` to take ranges from the float network's signals, see :func:`vsrq.quant.calibrate`.

    Raises:
        ConfigError: A value is below 1, or the model is not quantized.
    """

    def __init__(self, *, max_clips: int = 8, passes: int = 1, signals: Signals = "quantized") -> None:
        for name, value in (("max_clips", max_clips), ("passes", passes)):
            if value < 1:
                raise ConfigError(f"CalibrationHook: {name} must be 1 or more, got {value}.")
        self.max_clips = max_clips
        self.passes = passes
        self.signals = signals

    def before_train(self, runner: Runner) -> None:
        """Calibrate, unless that was done before."""
        model = quantized_model(runner.model, "CalibrationHook")
        quantizers = [m for _, m in calibratables(model) if isinstance(m, UniformQuantizer) and m.required]
        missing = sum(not quantizer.initialized for quantizer in quantizers)
        if not missing:
            return
        runner.logger.info(f"{missing} of {len(quantizers)} quantizers have no range: calibrating.")
        with rng.preserved():
            clips = load_clips(model, runner.train_loop.dataloader, self.max_clips)
            calibrate_on(model, clips, passes=self.passes, signals=self.signals)
