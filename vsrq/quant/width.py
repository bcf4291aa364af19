"""The bit width chosen for what runs now, and how whoever chose it learns.

Quantizers that can switch look the choice up at every call. The width that was chosen runs and nothing else: the sum
over all widths, weighted by a choice of one 1 and zeros, is that width's term. In the backward pass each switching
quantizer forms its own tensor at every width once more and tells the choice

    dL/dz_i = <dL/dQ, Q_i(x)>

as if the sum had been computed. That costs element-wise work for each width, but no further layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vsrq.errors import ConfigError
from vsrq.quant.quantizer import ALLOWED_BITS, FLOAT_BITS


@dataclass(frozen=True, eq=False)
class Choice:
    """One of several widths.

    Attributes:
        widths: All of them.
        index: Which one.
        gate: One-hot weights ``(len(widths),)`` through which the choice learns; ``None`` if it does not.
    """

    widths: tuple[int, ...]
    index: int
    gate: Tensor | None = None

    @property
    def bits(self) -> int:
        """The width."""
        return self.widths[self.index]


_CHOICE: ContextVar[Choice | None] = ContextVar("vsrq_width", default=None)


def current_choice() -> Choice | None:
    """Return the choice of the innermost block, ``None`` outside of any."""
    return _CHOICE.get()


@contextmanager
def chosen(choice: Choice | None) -> Iterator[None]:
    """Run the block at a width; ``None`` leaves every quantizer at its own bits."""
    token = _CHOICE.set(choice)
    try:
        yield
    finally:
        _CHOICE.reset(token)


def check_widths(widths: Sequence[int]) -> tuple[int, ...]:
    """Return widths to choose from.

    Raises:
        ConfigError: They are fewer than two, do not descend, or one is not from 2 to 8.
    """
    allowed = [bits for bits in ALLOWED_BITS if bits != FLOAT_BITS]
    good = not isinstance(widths, str) and all(isinstance(b, int) and b in allowed for b in widths)
    if not good or len(widths) < 2 or list(widths) != sorted(set(widths), reverse=True):
        raise ConfigError(
            f"widths must be two or more descending integers from {allowed[0]} to {allowed[-1]}, such as (8, 6, 4), "
            f"got {widths!r}."
        )
    return tuple(widths)


class _Weighted(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, gate: Tensor, x: Tensor, index: int, forms: Callable) -> Tensor:
        ctx.save_for_backward(x)
        ctx.index, ctx.forms = index, forms
        return y.view_as(y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        if not ctx.needs_input_grad[1]:
            return g, None, None, None, None
        (x,) = ctx.saved_tensors
        forms = ctx.forms(x)
        chosen = forms[ctx.index].float()
        # a gate that sums to 1 feels differences only, which lose fewer digits than two large sums would
        sums = [torch.sum(g.float() * (form.float() - chosen)) for form in forms]
        return g, torch.stack(sums), None, None, None


def weighted(y: Tensor, x: Tensor, choice: Choice, form: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Return ``y``, the chosen term of the sum over all widths; its gradient reaches the choice's gate.

    The gate's gradient is that of the sum, less what is common to all widths.

    Args:
        y: ``form(x, choice.bits)``, with whatever graph it has.
        x: What is quantized, any shape.
        choice: The choice.
        form: Quantizes a tensor at a width; called in the backward pass without gradients.
    """
    gate, widths = choice.gate, choice.widths
    if gate is None or not gate.requires_grad or not torch.is_grad_enabled():
        return y
    return _Weighted.apply(y, gate, x.detach(), choice.index, lambda values: [form(values, b) for b in widths])
