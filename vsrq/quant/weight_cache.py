"""Quantize each weight once per clip, not at every call of its layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

WeightCache = dict[tuple[int, bool], Tensor]
_CACHE: ContextVar[WeightCache | None] = ContextVar("vsrq_weight_cache", default=None)


def current_cache() -> WeightCache | None:
    """Return the cache of the innermost block, ``None`` outside of any."""
    return _CACHE.get()


@contextmanager
def quantize_weights_once(cache: WeightCache | None = None) -> Iterator[WeightCache]:
    """Let every weight quantizer work once inside the block; a recurrent network calls its layers once per frame.

    Inside the block neither weights nor ranges may change. In training all calls share one quantized weight, so
    that its gradient passes the quantizer once as well. A block inside another one belongs to it.

    Args:
        cache: What an earlier block returned, to run a part of it again.
    """
    if cache is None:
        cache = current_cache()
    if cache is None:
        cache = {}
    token = _CACHE.set(cache)
    try:
        yield cache
    finally:
        _CACHE.reset(token)


def cached(quantizer: nn.Module, quantize: Callable[[], Tensor]) -> Tensor:
    """Return what ``quantize`` returned the first time inside the block; outside of any block call it."""
    cache = _CACHE.get()
    if cache is None:
        return quantize()
    key = id(quantizer), torch.is_grad_enabled()
    if key not in cache:
        cache[key] = quantize()
    return cache[key]
