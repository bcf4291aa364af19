"""The MMEngine model around one quantized network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from mmagic.structures import DataSample
from torch import Tensor, nn

from vsrq.distill import Distiller
from vsrq.errors import ConfigError, check_keys
from vsrq.models.bit_adaptation import BitAdaptation
from vsrq.models.bit_policy import BitPolicy, add_policy
from vsrq.models.checkpoint import load_weights
from vsrq.models.deform import DeformConv2d
from vsrq.models.depth import FULL, DynamicDepth, skipped_layers
from vsrq.models.float_vsr import FloatVSR
from vsrq.models.hidden_state import StateMeter, StateStorage, has_recurrent_features, stored_features
from vsrq.models.shortcuts import set_shortcuts
from vsrq.quant import QuantDeformConv2d, add_lora, cost, prepare, prepare_nf4, register_quant_layer
from vsrq.quant.adaptive import AdaptiveQuantizer
from vsrq.quant.calibratable import name_calibratables
from vsrq.quant.weight_cache import quantize_weights_once
from vsrq.registry import MODELS
from vsrq.residual import TemporalState, convert_residual, temporal
from vsrq.residual.convert import SETTINGS as RESIDUAL_SETTINGS

register_quant_layer(DeformConv2d, QuantDeformConv2d)


@MODELS.register_module()
class QuantizedVSR(FloatVSR):
    """A step-wise network with quantized layers and, optionally, temporal residuals.

    A clip is run with a temporal state of its own, which is dropped at its end.

    Args:
        architecture: Config of the float model, as a float experiment has it (``type='FloatVSR'``).
        quant: Arguments of :func:`vsrq.quant.prepare`: ``weight``, ``act``, ``rules``.
        residual: Arguments of :func:`vsrq.residual.convert_residual`; ``None`` for frame quantization. ``warmup``
            defaults to what the network needs.
        float_checkpoint: Float weights; loaded before the layers are quantized.
        depth: Arguments of :class:`vsrq.models.depth.DynamicDepth` (``trunks``, ``depths``, ``use``, ``double``) for
            blocks that can be skipped, ``{}`` for the defaults; ``None`` runs all blocks always.
        state: Arguments of :class:`vsrq.models.hidden_state.StateStorage` (``bits``, ``granularity``): the form in
            which recurrent features pass from step to step; ``None`` for floats.
        distill: ``losses``, configs of registered losses (see ``vsrq.distill``), and ``teachers`` by name, each with
            ``checkpoint`` (by default ``float_checkpoint``), ``architecture`` (by default the student's), ``quant`` and
            ``residual`` (by default none: a float teacher). Without ``teachers`` there is one, ``float``. Teachers are
            no part of the checkpoint.
        checkpoint_steps: As in :class:`FloatVSR`; not together with ``residual``.
        train_cfg: As in :class:`FloatVSR`.
        test_cfg: As in :class:`FloatVSR`.
        init_cfg: As in :class:`FloatVSR`.
        nf4: In place of ``quant``, for storage alone: arguments of :func:`vsrq.quant.prepare_nf4`: ``block``,
            ``double``, ``rules``.
        lora: Arguments of :func:`vsrq.quant.add_lora`: ``rank``, ``alpha``, ``rules``. The rest of the network is
            frozen.
        adaptive: Arguments of :class:`vsrq.models.bit_adaptation.BitAdaptation`: ``layers``, ``clips``, ``pairs``; for
            activations with ``adaptive=True``, whose bits follow the layer and the clip. A batch is run clip by clip.
        policy: Arguments of :class:`vsrq.models.bit_policy.BitPolicy`: ``widths``, ``budget``, ``net``, ``loss``,
            ``temperature``, ``use``; for weights and activations with ``policy=True``, whose bits a small network
            chooses per frame. A batch is run clip by clip.
        shortcuts: What the shortcuts of residual blocks carry: ``'float'``, or ``'codes'`` of 8 bits and less, faster
            where integer kernels are very fast, and less accurate; see :func:`vsrq.models.shortcuts.set_shortcuts`.

    Attributes:
        layer_table: What :func:`vsrq.quant.prepare` or :func:`vsrq.quant.prepare_nf4` did, one row per layer.
        residual_table: What :func:`vsrq.residual.convert_residual` did; empty without residuals.
        depth: The depths the network can run at; ``None`` if there is only one.
        state_storage: The form of the recurrent features; ``None`` for floats.
        distiller: The teachers and losses; ``None`` without distillation.

    Raises:
        ConfigError: An argument or a rule is wrong; see the functions named above.
        CheckpointError: ``float_checkpoint`` is missing, broken or does not fit.
    """

    def __init__(
        self,
        architecture: Mapping[str, Any],
        quant: Mapping[str, Any] | None = None,
        residual: Mapping[str, Any] | None = None,
        float_checkpoint: str | None = None,
        depth: Mapping[str, Any] | None = None,
        state: Mapping[str, Any] | None = None,
        distill: Mapping[str, Any] | None = None,
        checkpoint_steps: bool = False,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        init_cfg: dict | None = None,
        nf4: Mapping[str, Any] | None = None,
        lora: Mapping[str, Any] | None = None,
        adaptive: Mapping[str, Any] | None = None,
        policy: Mapping[str, Any] | None = None,
        shortcuts: str = "float",
    ) -> None:
        if (quant is None) == (nf4 is None):
            raise ConfigError("QuantizedVSR takes either quant=dict(...) or nf4=dict(...), and exactly one of them.")
        if nf4 is not None and residual is not None:
            raise ConfigError("NF4 weights are used in float, so residuals would save nothing; remove residual or nf4.")
        arguments = dict(architecture)
        kind = arguments.pop("type", "FloatVSR")
        if kind != "FloatVSR":
            raise ConfigError(f"architecture must be the config of a FloatVSR, got type {kind!r}.")
        overrides = dict(float_checkpoint=float_checkpoint, train_cfg=train_cfg, test_cfg=test_cfg, init_cfg=init_cfg)
        arguments.update((key, value) for key, value in overrides.items() if value is not None)
        super().__init__(**arguments)
        self.checkpoint_steps |= checkpoint_steps
        if self.checkpoint_steps and residual is not None:
            raise ConfigError(
                "checkpoint_steps=True runs every step twice, but the memory of residual layers moves on in between. "
                "Set checkpoint_steps=False, train on shorter clips, or fine-tune with residual=None first."
            )
        self.depth: DynamicDepth | None = None
        if depth is not None:
            check_keys(depth, ["trunks", "depths", "use", "double"], "depth")
            self.depth = DynamicDepth(self.generator, **depth)
        if quant is not None:
            check_keys(quant, ["weight", "act", "rules"], "quant")
            self.layer_table = prepare(self.generator, **quant, roles=self.generator.roles)
        elif nf4 is not None:
            check_keys(nf4, ["block", "double", "rules"], "nf4")
            self.layer_table = prepare_nf4(self.generator, **nf4, roles=self.generator.roles)
        self.residual_table = []
        if residual is not None:
            check_keys(residual, RESIDUAL_SETTINGS, "residual")
            recipe = {"warmup": self.generator.residual_warmup, **residual}
            self.residual_table = convert_residual(self.generator, **recipe)
        set_shortcuts(self.generator, shortcuts)
        self._adapt_bits(adaptive, residual is not None)
        if policy is not None:
            check_keys(policy, ["widths", "budget", "net", "loss", "temperature", "use"], "policy")
            if residual is not None or adaptive is not None:
                raise ConfigError(
                    "a policy is for frame quantization whose bits nothing else shifts; remove policy, or set "
                    "residual=None and adaptive=None."
                )
        add_policy(self.generator, policy)
        if lora is not None:
            check_keys(lora, ["rank", "alpha", "rules"], "lora")
            add_lora(self.generator, **lora)
        self.state_storage = None if state is None else _state_storage(state, self.generator)
        self.distiller: Distiller | None = None
        if distill is not None:
            check_keys(distill, ["teachers", "losses"], "distill")
            specs = distill.get("teachers") or {"float": {}}
            teachers = {name: _teacher(name, spec, architecture, self.float_checkpoint) for name, spec in specs.items()}
            self.distiller = Distiller(teachers, distill.get("losses", ()))

    def _adapt_bits(self, adaptive: Mapping[str, Any] | None, residual: bool) -> None:
        """Put the :class:`BitAdaptation` into the network, where a checkpoint finds it."""
        quantizers = {n: m for n, m in self.generator.named_modules() if isinstance(m, AdaptiveQuantizer)}
        if adaptive is None:
            if quantizers:
                raise ConfigError(
                    f"the bits of {len(quantizers)} activations are adaptive ({', '.join(list(quantizers)[:3])}, ...), "
                    "but nothing shifts them; set adaptive=dict(...) or act=dict(adaptive=False)."
                )
            return
        check_keys(adaptive, ["layers", "clips", "pairs"], "adaptive")
        if residual:
            raise ConfigError("adaptive bits are for frame quantization; remove adaptive or set residual=None.")
        adaptation = BitAdaptation(quantizers, **adaptive)
        if adaptation.clips and not hasattr(self.generator, "flow"):
            raise ConfigError(
                f"{type(self.generator).__name__} computes no optical flow, by which clips are told apart; set "
                "adaptive=dict(clips=0)."
            )
        self.generator.bit_adaptation = adaptation
        name_calibratables(self.generator)

    @property
    def policy(self) -> BitPolicy | None:
        """What chooses the bits of each frame; ``None`` if they are fixed."""
        return getattr(self.generator, "bit_policy", None)

    def _adapted(self, clip: Tensor, run: Callable[[Tensor], Tensor]) -> Tensor:
        """Run clips ``(n, t, 3, h, w)`` at the bits that suit them."""
        adaptation = getattr(self.generator, "bit_adaptation", None)
        policy = self.policy
        if adaptation is None and policy is None:
            return run(clip)
        outputs = []
        for one in clip.split(1):
            with (
                nullcontext() if adaptation is None else adaptation.adapted(one, getattr(self.generator, "flow", None)),
                nullcontext() if policy is None else policy.applied(one, self.generator),
            ):
                outputs.append(run(one))
        return torch.cat(outputs)

    def upscale(self, clip: Tensor) -> Tensor:
        """Upscale every frame of a clip ``(n, t, 3, h, w)`` in [0, 1] to ``(n, t, 3, 4h, 4w)``."""
        with self._running(TemporalState()):
            return self._adapted(clip, super().upscale)

    def forward_tensor(self, inputs: Tensor, data_samples: DataSample | None = None, **kwargs: Any) -> Tensor:
        """Return the raw output of the network for a batch of clips or windows."""
        run = super().forward_tensor
        with self._running(TemporalState()):
            return self._adapted(inputs, lambda clips: run(clips, data_samples, **kwargs))

    @contextmanager
    def _running(self, state: TemporalState, meter: StateMeter | None = None) -> Iterator[None]:
        """Give the network what it needs to run one clip."""
        with (
            temporal(self.generator, state),
            quantize_weights_once(),
            stored_features(self.generator, self.state_storage, meter),
        ):
            yield

    def set_depth(self, name: str) -> None:
        """Run at a registered depth from now on: ``'full'``, ``'half'``, ``'quarter'`` or another one.

        Raises:
            ConfigError: There is no such depth.
        """
        if self.depth is not None:
            self.depth.set(name)
        elif name != FULL:
            raise ConfigError(f"depth {name!r}: this network has one depth, 'full'; give it others with depth=dict().")

    @contextmanager
    def at_depth(self, name: str) -> Iterator[None]:
        """Run at a registered depth while the block runs; see :meth:`set_depth`."""
        before = FULL if self.depth is None else self.depth.current
        self.set_depth(name)
        try:
            yield
        finally:
            self.set_depth(before)

    def forward_train(self, inputs: Tensor, data_samples: DataSample | None = None, **kwargs: Any) -> dict[str, Tensor]:
        """Return the loss against the ground truth and those against the teachers.

        While several depths are trained jointly, each loss is its mean over the depths.
        """
        if self.depth is None or not self.depth.trained:
            return self._losses(inputs, data_samples, **kwargs)
        found: dict[str, dict[str, Tensor]] = {}
        with quantize_weights_once():
            for name in self.depth.trained:
                with self.depth.at(name):
                    found[name] = self._losses(inputs, data_samples, **kwargs)
        losses = {key: torch.stack([one[key] for one in found.values()]).mean() for key in next(iter(found.values()))}
        # what has no "loss" in its name is logged, not trained on
        return losses | {f"depth_{name}": one["loss"].detach() for name, one in found.items()}

    def _losses(self, inputs: Tensor, data_samples: DataSample | None = None, **kwargs: Any) -> dict[str, Tensor]:
        if self.policy is None:
            return self._quality_losses(inputs, data_samples, **kwargs)
        with self.policy.collecting() as seen:
            losses = self._quality_losses(inputs, data_samples, **kwargs)
        return {**losses, **self.policy.losses(seen)}

    def _quality_losses(
        self, inputs: Tensor, data_samples: DataSample | None = None, **kwargs: Any
    ) -> dict[str, Tensor]:
        if self.distiller is None:
            return super().forward_train(inputs, data_samples, **kwargs)
        with self.distiller.watching(self.generator) as seen:
            losses = super().forward_train(inputs, data_samples, **kwargs)
        return {**losses, **self.distiller.compare(seen, inputs)}

    def cost(self, clip: Tensor) -> tuple[cost.CostReport, Tensor]:
        """Upscale a clip ``(n, t, 3, h, w)`` and count what it cost.

        Returns:
            The report and the upscaled clip.
        """
        state, meter = TemporalState(), StateMeter()
        outputs: list[Tensor] = []

        def run(frames: Tensor) -> None:
            with self._running(state, meter):
                outputs.append(self._adapted(frames, self.generator.upscale))

        training = self.training
        self.eval()
        try:
            report = cost.measure(
                self.generator,
                clip,
                run=run,
                roles=self.generator.roles,
                state_bytes=lambda: state.nbytes,
                hidden_state_bytes=lambda: meter.peak,
                unused=skipped_layers(self.generator),
            )
        finally:
            self.train(training)
        return report, torch.cat(outputs)


def _state_storage(state: Mapping[str, Any], net: nn.Module) -> StateStorage:
    check_keys(state, ["bits", "granularity"], "state")
    if not has_recurrent_features(net):
        raise ConfigError(
            f"state={dict(state)}: {type(net).__name__} passes no features from step to step, so there is none to "
            "store; remove it. Allowed for BasicVSRNet and BasicVSRPlusPlusNet."
        )
    return StateStorage(**state)


def _teacher(name: str, spec: Mapping[str, Any], architecture: Mapping[str, Any], weights: str | None) -> FloatVSR:
    """Build one teacher; see the argument ``distill`` of :class:`QuantizedVSR`."""
    check_keys(spec, ["checkpoint", "architecture", "quant", "residual"], f"distill.teachers.{name}")
    architecture = spec.get("architecture") or architecture
    checkpoint = spec.get("checkpoint") or (weights if spec.get("quant") is None else None)
    if checkpoint is None:
        raise ConfigError(
            f"teacher {name!r} has no weights; set distill.teachers.{name}.checkpoint, or float_checkpoint if it is "
            "float."
        )
    if spec.get("quant") is None:
        settings = {key: value for key, value in architecture.items() if key != "type"}
        return FloatVSR(**{**settings, "float_checkpoint": checkpoint})
    teacher = QuantizedVSR(architecture, quant=spec["quant"], residual=spec.get("residual"))
    load_weights(teacher.generator, checkpoint)
    return teacher
