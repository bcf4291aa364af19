"""Gradient checkpointing over time: keep what passes between steps, compute the inside of each step twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from vsrq.models.depth import same_depth
from vsrq.quant import NF4Layer, QuantLayer, UniformQuantizer
from vsrq.quant.weight_cache import WeightCache, quantize_weights_once
from vsrq.quant.width import chosen, current_choice
from vsrq.steps import steps_of, wrapped_steps


@contextmanager
def checkpointed_steps(net: nn.Module) -> Iterator[None]:
    """Let every step of a step-wise network forget its intermediate results until the backward pass.

    Memory then grows with the features passed between the steps, not with what happens inside them, so that long
    clips can be trained on; the forward computation is done twice.

    Args:
        net: The network, without temporal residuals: the memory of its layers would have moved on by the second time.
    """
    with quantize_weights_once() as cache:
        # before the first step: what is quantized within a step would be forgotten with it
        for module in net.modules():
            if isinstance(module, QuantLayer):
                module.weight_quantizer(module.weight)
            elif isinstance(module, NF4Layer):
                module.weight()
            elif isinstance(module, UniformQuantizer):
                module.share_grid()
        with wrapped_steps(net, steps_of(net), lambda _name, step: _checkpointed(net, step, cache)):
            yield


def _checkpointed(net: nn.Module, step: Callable[..., Any], cache: WeightCache) -> Callable[..., Any]:
    def contexts() -> tuple[AbstractContextManager, AbstractContextManager]:
        # by the time of the backward pass the network may have gone on to another depth, other frames to other widths
        choice = current_choice()
        return nullcontext(), _as_before(same_depth(net), lambda: chosen(choice), cache)

    def run(*args: Any) -> Any:
        return checkpoint(step, *args, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)

    return run


@contextmanager
def _as_before(
    same_depth: Callable[[], AbstractContextManager[None]],
    same_width: Callable[[], AbstractContextManager[None]],
    cache: WeightCache,
) -> Iterator[None]:
    with same_depth(), same_width(), quantize_weights_once(cache):
        yield
