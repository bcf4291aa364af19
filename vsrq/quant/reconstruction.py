"""Block-by-block reconstruction: fit each quantized block to the float network's features."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from vsrq.errors import CalibrationError, ConfigError
from vsrq.quant.adaround import SoftRounding
from vsrq.quant.grouped import grids
from vsrq.quant.layers import QuantLayer
from vsrq.quant.quantizer import FLOAT_BITS, UniformQuantizer
from vsrq.quant.rules import first_match

Run = Callable[[nn.Module], object]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How long and how each block is fitted.

    Attributes:
        iters: Steps per block.
        batch: Calls per step.
        max_calls: Calls of a block that are kept, evenly spaced over the calibration clips.
        lr: Learning rate of the rounding decisions.
        step_lr: Learning rate of the activations' steps, relative to the calibrated ones; 0 keeps them.
        penalty: Weight of the rounding penalty.
        warmup: Share of the steps without the penalty.
        seed: Of the order of the calls.

    Raises:
        ConfigError: A value is out of range.
    """

    iters: int = 200
    batch: int = 4
    max_calls: int = 32
    lr: float = 1e-2
    step_lr: float = 1e-3
    penalty: float = 1e-2
    warmup: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("iters", "batch", "max_calls"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ConfigError(
                    f"reconstruction: {name} must be an integer of 1 or more, got {getattr(self, name)!r}."
                )
        for name in ("lr", "step_lr", "penalty"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"reconstruction: {name} must not be negative, got {getattr(self, name)!r}.")
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"reconstruction: warmup must lie in [0, 1), got {self.warmup!r}.")


@dataclass(frozen=True)
class BlockError:
    """What the fit of one block achieved.

    Attributes:
        name: The block.
        before: Mean squared error of its output over the mean square of the float output, as calibrated.
        after: The same after the fit.
    """

    name: str
    before: float
    after: float


def reconstruct(
    model: nn.Module, reference: nn.Module, run: Run, blocks: Iterable[str], settings: Settings | None = None
) -> list[BlockError]:
    """Fit the rounding of weights and the steps of activations, block by block, in the order in which blocks run.

    A block is given what it really gets in the quantized network, in which earlier blocks are fitted already, and is
    asked for what the float network has in its place. Its float weights are replaced by quantized ones, unless that
    does not lower the error.

    Args:
        model: Calibrated network, changed in place.
        reference: The same network in float.
        run: Runs the calibration clips through the network it is given.
        blocks: Globs over the names of modules that return one tensor; what lies within a block belongs to it.
        settings: See :class:`Settings`.

    Returns:
        One entry per block.

    Raises:
        ConfigError: A pattern matches no module with quantized layers.
        CalibrationError: A block does not run, or its fit gives no finite error; names the block.
    """
    settings = settings or Settings()
    names = _order(model, run, _find(model, list(blocks)))
    errors = []
    for name in tqdm(names, desc="reconstruct", disable=None):
        inputs, _ = _record(model, run, name, settings.max_calls)
        _, targets = _record(reference, run, name, settings.max_calls)
        errors.append(_fit(name, model.get_submodule(name), inputs, targets, settings))
    return errors


def _find(model: nn.Module, patterns: list[str]) -> list[str]:
    names = []
    for name, module in model.named_modules():
        if name and first_match(name, patterns) and any(isinstance(m, QuantLayer) for m in module.modules()):
            names.append(name)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(f"reconstruction: the pattern {pattern!r} matches no module with quantized layers.")
    return [name for name in names if not any(name.startswith(outer + ".") for outer in names)]


@torch.no_grad()
def _order(model: nn.Module, run: Run, names: list[str]) -> list[str]:
    """Return the blocks in the order of their first calls."""
    order: list[str] = []
    handles = [
        model.get_submodule(name).register_forward_pre_hook(lambda *_, name=name: order.append(name)) for name in names
    ]
    try:
        run(model)
    finally:
        for handle in handles:
            handle.remove()
    if missing := set(names) - set(order):
        raise CalibrationError(f"reconstruction: block {min(missing)} does not run on the calibration clips.")
    return list(dict.fromkeys(order))


@torch.no_grad()
def _record(net: nn.Module, run: Run, name: str, max_calls: int) -> tuple[list[tuple], list[Tensor]]:
    """Return arguments and outputs of evenly spaced calls of a block; the same calls for networks alike."""
    inputs: list[tuple] = []
    outputs: list[Tensor] = []
    stride, calls = 1, 0

    def keep(_module: nn.Module, args: tuple, output: Tensor) -> None:
        nonlocal stride, calls
        if calls % stride == 0:
            # clones: activations in place may overwrite both later
            inputs.append(tuple(a.clone() if isinstance(a, Tensor) else a for a in args))
            outputs.append(output.clone())
        calls += 1
        if len(inputs) > max_calls:  # keep every other one from here on
            del inputs[1::2], outputs[1::2]
            stride *= 2

    handle = net.get_submodule(name).register_forward_hook(keep)
    try:
        run(net)
    finally:
        handle.remove()
    return inputs, outputs


@contextmanager
def _learning(block: nn.Module, *, steps: bool) -> Iterator[tuple[list[SoftRounding], list[nn.Parameter]]]:
    """Let the rounding of weights and the steps of activations be learned; settle both on leaving."""
    layers = [m for m in block.modules() if isinstance(m, QuantLayer)]
    roundings: dict[Any, Any] = {
        layer: layer.weight_quantizer for layer in layers if layer.weight_quantizer.bits != FLOAT_BITS
    }
    quantizers = [q for layer in layers for q in grids(layer.act_quantizer) if steps and _can_learn(q)]
    for layer, quantizer in roundings.items():
        layer.weight_quantizer = SoftRounding(quantizer, layer.weight)
    for quantizer in quantizers:
        quantizer.factor = nn.Parameter(torch.ones_like(quantizer.scale))
    soft = [layer.weight_quantizer for layer in roundings]
    try:
        yield soft, [quantizer.factor for quantizer in quantizers]  # type: ignore[misc]
    finally:
        with torch.no_grad():
            for layer, quantizer in roundings.items():
                layer.weight.copy_(layer.weight_quantizer.decided())
                layer.weight_quantizer = quantizer
            for quantizer in quantizers:
                quantizer.scale.copy_(quantizer.qparams().scale)
                quantizer.factor = None


def _can_learn(quantizer: UniformQuantizer) -> bool:
    return quantizer.bits != FLOAT_BITS and not quantizer.dynamic and quantizer.factor is None


def _relative_error(block: nn.Module, inputs: list[tuple], targets: list[Tensor]) -> float:
    with torch.no_grad():
        error = sum((block(*_fresh(x)) - y).square().sum().item() for x, y in zip(inputs, targets, strict=True))
    return error / max(sum(y.square().sum().item() for y in targets), 1e-30)


def _fresh(args: tuple) -> tuple:
    return tuple(a.clone() if isinstance(a, Tensor) else a for a in args)


def _fit(name: str, block: nn.Module, inputs: list[tuple], targets: list[Tensor], settings: Settings) -> BlockError:
    before = _relative_error(block, inputs, targets)
    state = copy.deepcopy(block.state_dict())
    generator = torch.Generator().manual_seed(settings.seed)
    energy = torch.stack([y.square().mean() for y in targets]).mean().clamp(min=1e-12)
    with torch.enable_grad(), _learning(block, steps=settings.step_lr > 0) as (roundings, factors):
        groups: list[dict[str, Any]] = [dict(params=[r.v for r in roundings], lr=settings.lr)]
        if factors:
            groups.append(dict(params=factors, lr=settings.step_lr))
        optimizer = torch.optim.Adam(groups)
        count = sum(r.v.numel() for r in roundings)
        for index in range(settings.iters):
            chosen = torch.randint(len(inputs), (settings.batch,), generator=generator).tolist()
            # Charbonnier on features scaled to unit energy
            loss = sum(
                ((block(*_fresh(inputs[i])) - targets[i]).square() / energy + 1e-6).sqrt().mean() for i in chosen
            )
            loss = loss / settings.batch
            progress = index / settings.iters
            if progress >= settings.warmup and count:
                beta = 2 + 18 * (1 - (progress - settings.warmup) / (1 - settings.warmup))
                loss = loss + settings.penalty * sum(r.penalty(beta) for r in roundings) / count
            parameters = [p for group in groups for p in group["params"]]
            for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter.grad = gradient
            optimizer.step()
    after = _relative_error(block, inputs, targets)
    if not after < float("inf"):
        raise CalibrationError(f"reconstruction: block {name} has no finite error after its fit; lower lr or step_lr.")
    if after > before:  # the decisions were not settled well: as calibrated is better
        block.load_state_dict(state)
        after = before
    return BlockError(name, before, after)
