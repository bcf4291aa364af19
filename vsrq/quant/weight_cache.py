"""Work out once per clip what does not change between calls of a layer: its quantized weight, learned grids."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
from torch import nn

from vsrq.quant.functional import is_exporting

T = TypeVar("T")
WeightCache = dict[tuple[int, str, bool], Any]
_CACHE: ContextVar[WeightCache | None] = ContextVar("vsrq_weight_cache", default=None)


def current_cache() -> WeightCache | None:
    """Return the cache of the innermost block, ``None`` outside of any."""
    return _CACHE.get()


@contextmanager
def quantize_weights_once(cache: WeightCache | None = None) -> Iterator[WeightCache]:
    """Let every weight quantizer work once inside the block; a recurrent network calls its layers once per frame.

    Inside the block neither weights nor ranges may change. In training all calls share one quantized weight and one
    learned grid of the input, so that their gradients pass what these are made of once as well. A block inside
    another one belongs to it.

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


def cached(quantizer: nn.Module, what: str, make: Callable[[], T]) -> T:
    """Return what ``make`` returned the first time inside the block; outside of any block and in an export call it.

    Args:
        quantizer: Whose result it is.
        what: Which of its results.
        make: Works it out.
    """
    cache = _CACHE.get()
    if cache is None or is_exporting():  # a graph must hold how a value is made
        return make()
    key = id(quantizer), what, torch.is_grad_enabled()
    if key not in cache:
        cache[key] = make()
    return cache[key]
