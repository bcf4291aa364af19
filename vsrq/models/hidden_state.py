"""The form in which recurrent features pass from step to step: floats, or 8- or 4-bit codes with a scale.

A recurrent network keeps the features of its branches until they are used: its memory grows with the clip as the
key-value cache of a language model grows with the text. Their bit width H is a third axis beside those of weights and
activations, written W-A-H.

Reference: Liu et al., LLM-QAT (2023), which quantizes the key-value cache per token.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from vsrq.errors import ConfigError
from vsrq.quant.autograd import straight_through
from vsrq.quant.functional import grid_limits
from vsrq.steps import wrapped_steps

Granularity = Literal["frame", "pixel"]
BITS = (4, 8)
STEP = "propagate"  # what it returns is what passes to the next step, to later branches and to the reconstruction
_SCALE_BYTES = 2  # scales are kept as half floats


@dataclass(frozen=True, kw_only=True)
class StateStorage:
    """Symmetric signed codes with half-float scales, from the largest magnitude of what is stored.

    Args:
        bits: Of a code, 4 or 8.
        granularity: ``'frame'``: a scale per feature map of a sample; ``'pixel'``: one per position, over all channels.

    Raises:
        ConfigError: A value is not allowed.
    """

    bits: int = 8
    granularity: Granularity = "frame"

    def __post_init__(self) -> None:
        if self.bits not in BITS or isinstance(self.bits, bool):
            raise ConfigError(
                f"state bits must be one of {', '.join(map(str, BITS))}, got {self.bits!r}; state=None keeps the "
                "features in 32 bit."
            )
        if self.granularity not in get_args(Granularity):
            raise ConfigError(
                f"state granularity must be one of {', '.join(get_args(Granularity))}, got {self.granularity!r}; "
                "'frame' stores less, 'pixel' is more exact."
            )

    def scale(self, feat: Tensor) -> Tensor:
        """Return the scales of a feature (n, c, h, w): float32, (n, 1, 1, 1) or (n, 1, h, w)."""
        axes = (1,) if self.granularity == "pixel" else (1, 2, 3)
        largest = feat.detach().float().abs().amax(axes, keepdim=True)
        scale = largest / grid_limits(self.bits, signed=True)[1]
        scale = scale.clamp(max=torch.finfo(torch.float16).max)
        half = scale.half()
        # rounded up, so that the largest magnitude is not clipped: the next half float has the next bit pattern
        half = torch.where(half.float() < scale, (half.view(torch.int16) + 1).view(torch.float16), half)
        return torch.where(half == 0, 1.0, half.float())  # 0 where there are only zeros

    def store(self, feat: Tensor) -> Tensor:
        """Return what is read back of a stored feature (n, c, h, w); gradients pass straight through."""
        scale = self.scale(feat)
        codes = (feat.detach().float() / scale).round_().clamp_(*grid_limits(self.bits, signed=True))
        return straight_through(feat, codes.mul_(scale).to(feat.dtype))

    def nbytes(self, feat: Tensor) -> int:
        """Return the bytes of a stored feature (n, c, h, w): codes and scales."""
        n, _, h, w = feat.shape
        scales = n * h * w if self.granularity == "pixel" else n
        return -(-feat.numel() * self.bits // 8) + _SCALE_BYTES * scales


class StateMeter:
    """Counts the bytes of the recurrent features that exist at the same time.

    Attributes:
        peak: The most bytes so far.
    """

    def __init__(self) -> None:
        self.peak = 0
        self._bytes = 0

    def watch(self, feat: Tensor, nbytes: int) -> None:
        """Count a feature as ``nbytes`` for as long as somebody holds it."""
        self._bytes += nbytes
        self.peak = max(self.peak, self._bytes)
        weakref.finalize(feat, self._release, nbytes)

    def _release(self, nbytes: int) -> None:
        self._bytes -= nbytes


@contextmanager
def stored_features(net: nn.Module, storage: StateStorage | None, meter: StateMeter | None = None) -> Iterator[None]:
    """Let a network read its recurrent features back from a storage while the block runs.

    Args:
        net: A step-wise network; one without recurrent features is left alone.
        storage: Their form; ``None`` for floats as they are.
        meter: Told of every feature; without gradients it finds what the network holds at the same time.
    """

    def wrap(_name: str, step: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def run(*args: Any, **kwargs: Any) -> Tensor:
            feat = step(*args, **kwargs)
            if storage is not None:
                feat = storage.store(feat)
            if meter is not None:
                meter.watch(feat, feat.numel() * feat.element_size() if storage is None else storage.nbytes(feat))
            return feat

        return run

    needed = has_recurrent_features(net) and (storage is not None or meter is not None)
    with wrapped_steps(net, [STEP] if needed else [], wrap):
        yield


def has_recurrent_features(net: nn.Module) -> bool:
    """Whether a step-wise network passes features from step to step."""
    return hasattr(net, STEP)
