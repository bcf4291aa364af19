"""A stand-in for mmcv's compiled half that serves the deformable convolutions."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from vsrq.errors import MissingDependencyError
from vsrq.ops.deform_conv import deform_conv2d

_NAME = "mmcv._ext"


def install_if_missing() -> None:
    """Provide ``mmcv._ext`` unless mmcv brings its own."""
    if _NAME in sys.modules or importlib.util.find_spec(_NAME) is not None:
        return
    module = _StandIn(_NAME)
    # Without a loader, MMEngine's Runner concludes that mmcv has no compiled half, which is the truth.
    module.__spec__ = ModuleSpec(_NAME, loader=None)
    for function in (
        modulated_deform_conv_forward,
        modulated_deform_conv_backward,
        deform_conv_forward,
        deform_conv_backward_input,
        deform_conv_backward_parameters,
    ):
        setattr(module, function.__name__, function)
    sys.modules[_NAME] = module
    # `from mmcv import _ext` must find it too
    importlib.import_module("mmcv")._ext = module  # type: ignore[attr-defined]


def in_use() -> bool:
    """Return whether mmcv runs on the stand-in."""
    return isinstance(sys.modules.get(_NAME), _StandIn)


class _StandIn(ModuleType):
    """mmcv.ops only asks for the names at import; an operator vsrq does not serve raises when it is called."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

        def refuse(*args: object, **kwargs: object) -> None:
            raise MissingDependencyError(
                f"mmcv's compiled operator {name!r} is not installed; of mmcv.ops vsrq serves only the "
                "deformable convolutions. Build mmcv 2.1.0 with its operators to use it."
            )

        return refuse


def modulated_deform_conv_forward(
    input: Tensor,  # the names are those mmcv passes
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    *,
    with_bias: bool,
    **geometry: int,
) -> None:
    """Write DCNv2's output into ``output``."""
    output.copy_(deform_conv2d(input, offset, mask, weight, bias if with_bias else None, **_modulated(geometry)))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    *,
    with_bias: bool,
    **geometry: int,
) -> None:
    """Write DCNv2's gradients into the ``grad_*`` tensors."""
    sources: list[Tensor | None] = [input, offset, mask, weight]
    targets: list[Tensor | None] = [grad_input, grad_offset, grad_mask, grad_weight]
    if with_bias:
        sources.append(bias)
        targets.append(grad_bias)
    _write_gradients(sources, targets, grad_output, _modulated(geometry))


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    **geometry: int,
) -> None:
    """Write DCNv1's output into ``output``."""
    output.copy_(deform_conv2d(input, offset, None, weight, None, **_unmodulated(geometry)))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    **geometry: int,
) -> None:
    """Write DCNv1's gradients of input and offset."""
    targets: list[Tensor | None] = [grad_input, grad_offset, None, None]
    _write_gradients([input, offset, None, weight], targets, grad_output, _unmodulated(geometry))


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    *,
    scale: float,
    **geometry: int,
) -> None:
    """Add ``scale`` times DCNv1's gradient of the weight to ``grad_weight``."""
    gradient = torch.zeros_like(grad_weight)
    targets: list[Tensor | None] = [None, None, None, gradient]
    weight = torch.zeros_like(grad_weight)  # the gradient of a linear map does not depend on where it is taken
    _write_gradients([input, offset, None, weight], targets, grad_output, _unmodulated(geometry))
    grad_weight.add_(gradient, alpha=scale)


def _write_gradients(
    sources: list[Tensor | None], targets: list[Tensor | None], grad_output: Tensor, geometry: dict
) -> None:
    """Differentiate by those ``sources`` (x, offset, mask, weight, bias) that have a target."""
    arguments: list[Any] = []
    leaves, wanted = [], []
    for source, target in zip(sources, targets, strict=True):
        argument = None if source is None else source.detach()
        if argument is not None and target is not None:
            leaves.append(argument.requires_grad_())
            wanted.append(target)
        arguments.append(argument)
    with torch.enable_grad():
        output = deform_conv2d(*arguments, **geometry)
    for target, gradient in zip(wanted, torch.autograd.grad(output, leaves, grad_output), strict=True):
        target.copy_(gradient)


def _modulated(geometry: dict[str, int]) -> dict:
    return dict(
        stride=(geometry["stride_h"], geometry["stride_w"]),
        padding=(geometry["pad_h"], geometry["pad_w"]),
        dilation=(geometry["dilation_h"], geometry["dilation_w"]),
        groups=geometry["group"],
        deform_groups=geometry["deformable_group"],
    )


def _unmodulated(geometry: dict[str, int]) -> dict:
    return dict(
        stride=(geometry["dH"], geometry["dW"]),
        padding=(geometry["padH"], geometry["padW"]),
        dilation=(geometry["dilationH"], geometry["dilationW"]),
        groups=geometry["group"],
        deform_groups=geometry["deformable_group"],
    )
