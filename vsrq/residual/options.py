"""What every layer could be: frame or residual quantization at several bit widths, with the noise each would add.

A network is never run quantized here. Each layer is tried alone on what it sees in the float network, and its
noise is weighed by how strongly the network's output reacts to it.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from vsrq.errors import ConfigError
from vsrq.quant.allocate import Option
from vsrq.quant.calibrate import calibrate
from vsrq.quant.layers import QUANT_LAYERS
from vsrq.quant.prepare import prepare
from vsrq.quant.quantizer import FLOAT_BITS
from vsrq.residual.call_site import current_call_site
from vsrq.residual.convert import convert_residual
from vsrq.residual.layers import RESIDUAL_LAYERS
from vsrq.residual.state import TemporalState, temporal

Mode = Literal["frame", "residual"]
Sequences = dict[tuple[object, ...], list[Tensor]]


@dataclass
class _Seen:
    """What one layer saw in the float network."""

    inputs: Sequences
    gain: float = 0.0
    macs: float = 0.0


def measure_options(
    model: nn.Module,
    run: Callable[[], Tensor],
    *,
    bits: Iterable[tuple[int, int]] = ((3, 3), (4, 4), (5, 5), (6, 6), (8, 8)),
    modes: Iterable[Mode] = ("frame", "residual"),
    weight: Mapping[str, Any] | None = None,
    act: Mapping[str, Any] | None = None,
    residual: Mapping[str, Any] | None = None,
    exclude: Iterable[str] = (),
) -> dict[str, list[Option]]:
    """Try all options on every linear layer of a float network.

    Args:
        model: Float network; unchanged.
        run: Runs a short clip through it and returns the output.
        bits: Widths of weights and activations to try.
        modes: Modes to try; residuals come with key frames of the same bits.
        weight: Config of the weight quantizers, without ``bits``.
        act: Config of the activation quantizers, without ``bits``.
        residual: Other arguments of :func:`vsrq.residual.convert_residual`, as ``coefficient``.
        exclude: Glob patterns of layers to leave out.

    Returns:
        Options by layer name.

    Raises:
        ConfigError: No layer is left.
    """
    bits, modes, exclude = tuple(bits), tuple(modes), tuple(exclude)
    layers = {
        name: module
        for name, module in model.named_modules()
        if QUANT_LAYERS.get(type(module)) in RESIDUAL_LAYERS and not any(fnmatchcase(name, glob) for glob in exclude)
    }
    if not layers:
        raise ConfigError(f"{type(model).__name__} has no float convolution or linear layer to choose options for.")
    seen = _watch(layers, run)
    configs = {"weight": dict(weight or {}), "act": dict(act or {})}
    return {
        name: [
            option for mode in modes for option in _options(layers[name], found, mode, bits, configs, residual or {})
        ]
        for name, found in seen.items()
    }


def _watch(layers: Mapping[str, nn.Module], run: Callable[[], Tensor]) -> dict[str, _Seen]:
    """Record inputs, work and the output's reaction to each layer."""
    seen: dict[str, _Seen] = {name: _Seen(defaultdict(list)) for name in layers}
    probes: list[tuple[str, Tensor]] = []

    def hook(name: str) -> Callable[..., Tensor]:
        def watch(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
            part = inputs[1] if len(inputs) > 1 else None
            site = (part.start, part.stop) if isinstance(part, slice) else ()
            seen[name].inputs[(*current_call_site(), site)].append(inputs[0].detach().clone())
            weight = cast(Tensor, module.weight)
            share = inputs[0].shape[1] / weight.shape[1] if site else 1.0
            seen[name].macs += output.numel() * weight[0].numel() * share
            probe = torch.zeros_like(output, requires_grad=True)
            probes.append((name, probe))
            return output + probe

        return watch

    with _hooks(layers, hook), torch.enable_grad():
        output = run()
        signs = torch.randint(0, 2, output.shape, device=output.device, dtype=output.dtype) * 2 - 1
        gradients = torch.autograd.grad((output * signs).sum(), [probe for _, probe in probes], allow_unused=True)
    for (name, _), gradient in zip(probes, gradients, strict=True):
        if gradient is not None:
            seen[name].gain += gradient.square().mean().item()
    return {name: found for name, found in seen.items() if found.inputs}


@contextmanager
def _hooks(layers: Mapping[str, nn.Module], hook: Callable[[str], Callable[..., Tensor]]) -> Iterator[None]:
    handles = [layer.register_forward_hook(hook(name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _options(
    layer: nn.Module,
    seen: _Seen,
    mode: Mode,
    bits: Iterable[tuple[int, int]],
    configs: Mapping[str, dict[str, Any]],
    residual: Mapping[str, Any],
) -> list[Option]:
    """Return the options of one layer in one mode.

    Errors of weight and activation are independent, so that their powers add: each width is tried once.
    """
    noise = cache(lambda *pair: _noise(layer, seen, mode, pair, configs, residual))
    return [
        Option(mode, w, a, cost=seen.macs * w * a, noise=noise(w, FLOAT_BITS) + noise(FLOAT_BITS, a)) for w, a in bits
    ]


@torch.no_grad()
def _noise(
    layer: nn.Module,
    seen: _Seen,
    mode: Mode,
    bits: tuple[int, int],
    configs: Mapping[str, dict[str, Any]],
    residual: Mapping[str, Any],
) -> float:
    """Quantize a copy of one layer, run it alone on what it saw, and weigh its error by the output's reaction."""
    alone = nn.Sequential(copy.deepcopy(layer)).eval()
    weight, act = ({**configs[key], "bits": width} for key, width in zip(("weight", "act"), bits, strict=True))
    prepare(alone, weight=weight, act=act)
    if mode == "residual":
        convert_residual(alone, **{"weight": weight, "act": act, **residual})

    def run() -> float:
        error = 0.0
        for site, inputs in seen.inputs.items():
            arguments = [slice(*cast(tuple, site[-1]))] if site[-1] else []
            with temporal(alone, TemporalState()):
                for x in inputs:
                    difference = alone[0](x, *arguments) - layer(x, *arguments)
                    error += difference.square().sum().item()
        return error

    calibrate(alone, run, passes=2 if mode == "residual" else 1)
    # gain is the mean squared reaction per value and call, summed over calls
    return run() * seen.gain / sum(map(len, seen.inputs.values()))
