"""The MMEngine model around one float network."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from mmagic.models.base_models import BaseEditModel
from mmagic.structures import DataSample
from torch import Tensor

from vsrq.errors import ConfigError
from vsrq.models.checkpoint import load_weights
from vsrq.models.checkpointing import checkpointed_steps
from vsrq.registry import MODELS

_UNIT_RANGE = {"type": "DataPreprocessor", "mean": [0.0, 0.0, 0.0], "std": [255.0, 255.0, 255.0]}
_COUNTED_BY_HOOK = {"fix_iter": "freeze=['*spynet*']", "tsa_iter": "train_only=['*fusion*']"}


@MODELS.register_module()
class FloatVSR(BaseEditModel):
    """Train and evaluate a step-wise video super-resolution network in float.

    Works for recurrent networks (a clip in, a clip out) and for sliding windows (a window in, its centre
    frame out). There are no step counters in the model: parts are frozen by ``FreezeHook``.

    Args:
        generator: Config of the network, e.g. ``dict(type='BasicVSRNet', ...)``.
        pixel_loss: Config of the loss between output and ground truth, both in [0, 1].
        data_preprocessor: Config; None scales 8-bit frames to [0, 1].
        train_cfg: Must not hold mmagic's ``fix_iter`` or ``tsa_iter``.
        test_cfg: Kept for mmagic; unused.
        init_cfg: As in MMEngine.
        float_checkpoint: Weights of the network, in any layout
            :func:`vsrq.models.checkpoint.load_weights` reads. None leaves the initialisation.
        checkpoint_steps: Train with gradient checkpointing over time, see
            :func:`vsrq.models.checkpointing.checkpointed_steps`.

    Raises:
        ConfigError: If the generator is not a step-wise network, or freezing is asked for in ``train_cfg``.
        CheckpointError: If ``float_checkpoint`` is missing, broken or does not fit.
    """

    def __init__(
        self,
        generator: dict,
        pixel_loss: dict,
        data_preprocessor: dict | None = None,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        init_cfg: dict | None = None,
        float_checkpoint: str | None = None,
        checkpoint_steps: bool = False,
    ):
        for key, patterns in _COUNTED_BY_HOOK.items():
            iters = (train_cfg or {}).get(key, -1)
            if iters > 0:
                raise ConfigError(
                    f"FloatVSR does not count iterations, so train_cfg.{key}={iters} has no effect. Write "
                    f"custom_hooks=[dict(type='FreezeHook', iters={iters}, {patterns})] instead."
                )
        super().__init__(
            generator=_in_scope(generator, "vsrq"),
            pixel_loss=_in_scope(pixel_loss, "vsrq"),
            data_preprocessor=_in_scope(data_preprocessor or _UNIT_RANGE, "vsrq"),
            train_cfg=train_cfg,
            test_cfg=test_cfg,
            init_cfg=init_cfg,
        )
        if not hasattr(self.generator, "upscale"):
            raise ConfigError(
                f"generator {type(self.generator).__name__} is not a step-wise network of vsrq (it has no 'upscale'). "
                "Allowed: BasicVSRNet, BasicVSRPlusPlusNet, EDVRNet."
            )
        self.checkpoint_steps = checkpoint_steps
        self.float_checkpoint = float_checkpoint
        if float_checkpoint is not None:
            load_weights(self.generator, float_checkpoint)

    def init_weights(self) -> None:
        """Initialise the weights, unless they came from ``float_checkpoint``."""
        # The Runner calls this after construction and would overwrite what was loaded.
        if self.float_checkpoint is None:
            super().init_weights()

    def upscale(self, clip: Tensor) -> Tensor:
        """Upscale every frame of a clip ``(n, t, 3, h, w)`` in [0, 1] to ``(n, t, 3, 4h, 4w)``."""
        return self.generator.upscale(clip)

    def forward_train(self, inputs: Tensor, data_samples: DataSample | None = None, **kwargs: Any) -> dict[str, Tensor]:
        """Return the loss between the network's output and the ground truth.

        Raises:
            ConfigError: If there is no ground truth or it has another shape than the output, which the loss
                would broadcast silently.
        """
        with checkpointed_steps(self.generator) if self.checkpoint_steps else nullcontext():
            output = self.forward_tensor(inputs, data_samples, **kwargs)
        target = None if data_samples is None else data_samples.get("gt_img")
        if target is None or target.shape != output.shape:
            shape = None if target is None else tuple(target.shape)
            raise ConfigError(
                f"{type(self.generator).__name__} puts out {tuple(output.shape)} for {tuple(inputs.shape)}, but the "
                f"ground truth is {shape}. Recurrent networks need num_output_frames=num_input_frames, "
                "sliding windows num_output_frames=1; and the scale of the data must be the network's."
            )
        return {"loss": self.pixel_loss(output, target)}

    def forward_inference(self, inputs: Tensor, data_samples: DataSample | None = None, **kwargs: Any) -> DataSample:
        """Predict what the ground truth shows: all frames, or only the centre frame.

        Args:
            inputs: Frames ``(n, t, 3, h, w)`` in [0, 1].
            data_samples: The stacked batch; its ``gt_img`` is ``(n, t, 3, H, W)``, ``(n, 3, H, W)`` or absent.

        Returns:
            ``pred_img`` of the shape of ``gt_img`` (all frames if absent), BGR in [0, 255], on the CPU.
        """
        ground_truth = None if data_samples is None else data_samples.get("gt_img")
        if ground_truth is not None and ground_truth[0].ndim == 3:
            output = self._centre_frame(inputs)
        else:
            output = self.upscale(inputs)
        output = self.data_preprocessor.destruct(output, data_samples)
        metainfo = {} if data_samples is None else data_samples.metainfo
        return DataSample(pred_img=output.cpu(), metainfo=metainfo)

    def _centre_frame(self, clip: Tensor) -> Tensor:
        """Upscale the centre frame ``(n, 3, 4h, 4w)``.

        A clip that reads the same backwards was extended by its mirror image (Vimeo-90K's protocol: 7 frames
        to 14), shows its centre frame twice, and the mean of both outputs is taken.
        """
        frames = clip.size(1)
        if getattr(self.generator, "num_frames", None) == frames:
            return self.forward_tensor(clip)
        output = self.upscale(clip)
        if frames % 2 == 0 and torch.equal(clip, clip.flip(1)):
            return 0.5 * (output[:, frames // 4] + output[:, -1 - frames // 4])
        return output[:, frames // 2]


def _in_scope(config: Mapping[str, Any], scope: str) -> dict[str, Any]:
    """Let a config without an explicit scope be resolved in ``scope``, whatever the default scope is."""
    return {"_scope_": scope, **config}
