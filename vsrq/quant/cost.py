"""The honest price of a network: bit operations, element-wise overhead, storage.

BOPs of one layer call = multiply-accumulates x weight bits x activation bits; layers left float count as
32 x 32, and so do weights that are only stored in few bits (NF4) and dequantized to compute. Everything that runs is
counted, nothing is left out. Simulated: BOPs are no milliseconds.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vsrq.ops.partial_conv import PartialConv2d
from vsrq.quant.calibratable import calibratables
from vsrq.quant.layers import QUANT_LAYERS, QuantLayer
from vsrq.quant.nf4_layers import NF4Weight
from vsrq.quant.quantizer import FLOAT_BITS, UniformQuantizer
from vsrq.quant.recorder import Call, record, recording
from vsrq.quant.rules import first_match


@dataclass(frozen=True)
class LayerCost:
    """Cost of one layer over the measured clip.

    Attributes:
        name: Module name.
        role: What the layer does in its network; empty if unknown.
        calls: Number of calls by kind (``float``, ``weight-only``, ``frame``, ``key``, ``residual``).
        macs: Multiply-accumulates of all calls.
        bops: Bit operations of all calls.
        elementwise: Extra element operations of residual calls.
        bops_per_frame: Its share of :attr:`CostReport.bops_per_frame`.
    """

    name: str
    role: str
    calls: Mapping[str, int]
    macs: int
    bops: int
    elementwise: int
    bops_per_frame: tuple[float, ...]


@dataclass(frozen=True)
class CostReport:
    """Cost of one clip.

    Attributes:
        layers: One entry per layer that ran.
        frames: Frames of the clip, over all samples of the batch.
        bops_per_frame: Bit operations of each time step of a layer: entry k sums the k-th share of every layer's
            calls. A backward branch computes its k-th step on the k-th frame from the end, so a peak found here
            is that of a network whose branches meet their key frames together.
        storage_bits: Parameters x bits, plus 32-bit scales and 8-bit zero points; see :func:`storage_bits`.
        parameters: How many parameters that is, see :func:`parameter_count`.
        state_bytes: Temporal state at the end of the clip, 0 if there is none.
        hidden_state_bytes: The most bytes of recurrent features that exist at the same time, in the form they are
            stored in; 0 if there are none or nobody counted.
    """

    layers: tuple[LayerCost, ...]
    frames: int
    bops_per_frame: tuple[float, ...]
    storage_bits: int
    parameters: int
    state_bytes: int = 0
    hidden_state_bytes: int = 0

    def macs(self, exclude_roles: tuple[str, ...] = ()) -> int:
        """Multiply-accumulates of the clip, without the layers of some roles."""
        return sum(layer.macs for layer in self.layers if layer.role not in exclude_roles)

    def bops(self, exclude_roles: tuple[str, ...] = ()) -> int:
        """Bit operations of the clip, without the layers of some roles."""
        return sum(layer.bops for layer in self.layers if layer.role not in exclude_roles)

    def bops_per_mac(self, exclude_roles: tuple[str, ...] = ()) -> float:
        """Amortized bit operations per multiply-accumulate."""
        return self.bops(exclude_roles) / max(self.macs(exclude_roles), 1)

    @property
    def equivalent_bits(self) -> float:
        """Uniform bit width of the same price: sqrt(BOPs / MAC)."""
        return math.sqrt(self.bops_per_mac())

    @property
    def bits_per_parameter(self) -> float:
        """Bits that storing one parameter takes, scales included. Storage alone: it says nothing of BOPs."""
        return self.storage_bits / self.parameters

    @property
    def average_bops(self) -> float:
        """Bit operations per frame."""
        return self.bops() / self.frames

    @property
    def peak_bops(self) -> float:
        """Bit operations of the dearest frame."""
        return max(self.bops_per_frame, default=0.0)

    def peak_bops_per_mac(self, exclude_roles: tuple[str, ...] = ()) -> float:
        """Bit operations of the dearest frame per multiply-accumulate of an average one."""
        counted = [layer.bops_per_frame for layer in self.layers if layer.role not in exclude_roles]
        peak = max((sum(frame) for frame in zip(*counted, strict=True)), default=0.0)
        return peak / max(self.macs(exclude_roles) / self.frames, 1)

    @property
    def elementwise(self) -> int:
        """Extra element operations of residual calls, whole clip."""
        return sum(layer.elementwise for layer in self.layers)


def measure(
    model: nn.Module,
    clip: Tensor,
    *,
    run: Callable[[Tensor], object] | None = None,
    roles: Mapping[str, str] | None = None,
    state_bytes: Callable[[], int] = lambda: 0,
    hidden_state_bytes: Callable[[], int] = lambda: 0,
    unused: Iterable[nn.Module] = (),
) -> CostReport:
    """Run one clip and count what was computed.

    Args:
        model: Network, quantized or float.
        clip: Frames, ``(n, t, c, h, w)``.
        run: How to run the clip; ``model(clip)`` by default.
        roles: Glob patterns over layer names to roles.
        state_bytes: Returns the size of the temporal state after the run.
        hidden_state_bytes: Returns the most bytes of recurrent features that existed at a time.
        unused: Layers that never run and need not be stored.
    """
    names = {id(module): name for name, module in model.named_modules()}
    with torch.no_grad(), recording() as log, _float_layers_report(model):
        (run or model)(clip)
    batch, steps = clip.shape[:2]
    per_layer: dict[str, list[Call]] = defaultdict(list)
    for call in log.calls:
        per_layer[names[id(call.layer)]].append(call)
    layers = tuple(
        _layer_cost(name, calls, roles or {}, _bops_per_frame(calls, steps, batch)) for name, calls in per_layer.items()
    )
    return CostReport(
        layers=layers,
        frames=batch * steps,
        bops_per_frame=tuple(map(sum, zip(*(layer.bops_per_frame for layer in layers), strict=True))),
        storage_bits=storage_bits(model, unused),
        parameters=parameter_count(model, unused),
        state_bytes=state_bytes(),
        hidden_state_bytes=hidden_state_bytes(),
    )


def _bops(call: Call) -> int:
    return round(call.macs * call.weight_bits * call.act_bits)


def _layer_cost(name: str, calls: list[Call], roles: Mapping[str, str], per_frame: tuple[float, ...]) -> LayerCost:
    kinds: dict[str, int] = defaultdict(int)
    for call in calls:
        kinds[call.kind] += 1
    pattern = first_match(name, roles)
    return LayerCost(
        name=name,
        role=roles[pattern] if pattern else "",
        calls=dict(kinds),
        macs=sum(call.macs for call in calls),
        bops=sum(map(_bops, calls)),
        elementwise=sum(call.elementwise for call in calls),
        bops_per_frame=per_frame,
    )


def _bops_per_frame(calls: list[Call], steps: int, batch: int) -> tuple[float, ...]:
    """Spread a layer's calls over the frames in order; several calls per frame fall together."""
    totals = [0.0] * steps
    per_step = max(1, math.ceil(len(calls) / steps))
    for index, call in enumerate(calls):
        totals[min(index // per_step, steps - 1)] += _bops(call) / batch
    return tuple(totals)


@contextmanager
def _float_layers_report(model: nn.Module) -> Iterator[None]:
    """Let float layers of quantizable types report their calls, as quantized ones do by themselves."""

    def report(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        macs = output.numel() * module.weight[0].numel()  # type: ignore[index]
        if isinstance(module, PartialConv2d):
            macs = macs * inputs[0].shape[1] // module.in_channels
        record(Call(module, "float", macs, FLOAT_BITS, FLOAT_BITS))

    handles = [
        module.register_forward_hook(report)
        for module in model.modules()
        if type(module) in QUANT_LAYERS and not isinstance(module, QuantLayer)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def storage_bits(model: nn.Module, unused: Iterable[nn.Module] = ()) -> int:
    """Bits to store the parameters: quantized weights at their key-frame width, the rest at 32 bit.

    A residual weight grid of another width needs a second copy of the weight, which is counted. Scales count
    32 bit, zero points of affine grids 8 bit; codes and scales of NF4 weights count as they are. Low-rank changes count
    as the parameters they are until they are merged.

    Args:
        model: Network, quantized or float.
        unused: Modules that do not count.
    """
    total = _own_storage_bits(model)
    return total - sum(_own_storage_bits(module) for module in unused)


def _own_storage_bits(model: nn.Module) -> int:
    quantizers = _quantizers(model)
    total = 32 * sum(parameter.numel() for parameter in _parameters(model))
    for module in model.modules():
        if isinstance(module, NF4Weight):
            total += module.storage_bits
        if not isinstance(module, QuantLayer):
            continue
        widths = {module.weight_quantizer.bits}
        residual = getattr(module, "residual_weight_quantizer", None)
        if residual is not None:
            widths.add(residual.bits)
        total += module.weight.numel() * (sum(widths) - 32)
    for quantizer in quantizers:
        if quantizer.bits != FLOAT_BITS and not quantizer.dynamic:
            total += quantizer.scale.numel() * (32 if quantizer.symmetric else 40)
    return total


def parameter_count(model: nn.Module, unused: Iterable[nn.Module] = ()) -> int:
    """Count the parameters of a network: weights in any form of storage, biases, low-rank changes, learned shifts.

    Args:
        model: Network, quantized or float.
        unused: Modules that do not count.
    """
    return _own_parameter_count(model) - sum(_own_parameter_count(module) for module in unused)


def _own_parameter_count(model: nn.Module) -> int:
    packed = [module.shape.numel() for module in model.modules() if isinstance(module, NF4Weight)]
    return sum(packed) + sum(parameter.numel() for parameter in _parameters(model))


def _quantizers(model: nn.Module) -> list[UniformQuantizer]:
    return [module for _, module in calibratables(model) if isinstance(module, UniformQuantizer)]


def _parameters(model: nn.Module) -> list[nn.Parameter]:
    # what is learned of a grid is stored as its scale and zero point
    learned = {id(parameter) for q in _quantizers(model) for parameter in (q.factor, q.offset)}
    return [parameter for parameter in model.parameters() if id(parameter) not in learned]
