"""Reading, writing and lending the random state of python, numpy and torch."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def capture() -> dict[str, Any]:
    """Return the state of all generators of this process.

    Only numbers, lists and tensors are used, so that a checkpoint holding the state still loads with
    ``weights_only=True``.
    """
    state = _capture_cpu()
    state["cuda"] = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return state


def restore(state: dict[str, Any]) -> None:
    """Set all generators to a state returned by :func:`capture`, moved to any device since.

    CUDA states are restored only where the number of devices is the same as when they were captured.
    """
    _restore_cpu(state)
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([device_state.cpu() for device_state in state["cuda"]])


@contextmanager
def preserved() -> Iterator[None]:
    """Put all generators back on exit to where they were on entry."""
    state = capture()
    try:
        yield
    finally:
        restore(state)


@contextmanager
def seeded(*entropy: int) -> Iterator[None]:
    """Seed the CPU generators from ``entropy`` inside the block and put them back on exit.

    CUDA is left alone: data is prepared on the CPU, and forked loader workers must not touch CUDA.
    """
    state = _capture_cpu()
    seeds = np.random.SeedSequence(entropy).generate_state(3)
    random.seed(int(seeds[0]))
    np.random.seed(int(seeds[1]))
    torch.default_generator.manual_seed(int(seeds[2]))
    try:
        yield
    finally:
        _restore_cpu(state)


def _capture_cpu() -> dict[str, Any]:
    version, words, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": [version, list(words), gauss],
        "numpy": [torch.from_numpy(np.asarray(keys, dtype=np.int64)), int(position), int(has_gauss), cached],
        "torch": torch.default_generator.get_state(),
    }


def _restore_cpu(state: dict[str, Any]) -> None:
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state(("MT19937", keys.cpu().numpy().astype(np.uint32), position, has_gauss, cached))
    torch.default_generator.set_state(state["torch"].cpu())
