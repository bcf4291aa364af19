"""Activation bits that follow layers and clips: which clip is hard, and who tells the quantizers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from vsrq.errors import ConfigError
from vsrq.quant.adaptive import AdaptiveQuantizer, layer_shifts
from vsrq.quant.calibratable import Calibratable

Flow = Callable[[Tensor, Tensor], Tensor]


def gradient_magnitude(clip: Tensor) -> Tensor:
    """Return the mean magnitude of the differences between neighbouring pixels of ``(..., h, w)``, both directions."""
    across, down = clip.diff(dim=-1), clip.diff(dim=-2)
    values = torch.cat([across.abs().flatten(), down.abs().flatten()])
    return values.mean() if values.numel() else clip.new_zeros(())


def flow_magnitude(clip: Tensor, flow: Flow, pairs: int) -> Tensor:
    """Return the mean length of the optical flow between neighbouring frames, in pixels; 0 for a single frame.

    Args:
        clip: ``(n, t, 3, h, w)``.
        flow: Flow from the first to the second of two frames ``(n, 3, h, w)``.
        pairs: At most so many pairs of neighbours, spread evenly over the clip, are looked at.
    """
    last = clip.shape[1] - 1
    if not last:
        return clip.new_zeros(())
    starts = torch.linspace(0, last - 1, min(pairs, last)).round().int().tolist()
    lengths = [flow(clip[:, i], clip[:, i + 1]).square().sum(1).sqrt().mean() for i in starts]
    return torch.stack(lengths).mean()


class BitAdaptation(Calibratable):
    """Decide the shifts of all adaptive quantizers of a network.

    Layers: after calibration, those whose inputs spread least in space and time lose a bit, those whose inputs spread
    most gain one (:func:`vsrq.quant.adaptive.layer_shifts`). Clips: how hard a clip is, is the sum of its mean
    gradient and its mean flow, each over its mean in calibration; clips below the lower or above the upper quantile of
    the calibration clips lose or gain a bit in all layers.

    Args:
        quantizers: Adaptive quantizers by name.
        layers: Share of the layers that lose a bit, and of those that gain one; 0 to 0.5.
        clips: Share of the calibration clips below the lower, and above the upper, bound; 0 for no shift by clip.
        pairs: Pairs of frames whose flow is computed per clip.

    Raises:
        ConfigError: There is no adaptive quantizer, or a value is out of range.
    """

    reference: Tensor
    bounds: Tensor

    def __init__(
        self,
        quantizers: Mapping[str, AdaptiveQuantizer],
        *,
        layers: float = 0.25,
        clips: float = 0.25,
        pairs: int = 4,
    ) -> None:
        super().__init__()
        if not quantizers:
            raise ConfigError("adaptive needs quantizers that can shift; set quant.act=dict(adaptive=True, ...).")
        for name, share in (("layers", layers), ("clips", clips)):
            if not isinstance(share, (int, float)) or not 0 <= share <= 0.5:
                raise ConfigError(f"adaptive.{name} must be a share from 0 to 0.5, got {share!r}.")
        if not isinstance(pairs, int) or pairs < 1:
            raise ConfigError(f"adaptive.pairs must be an integer of 1 or more, got {pairs!r}.")
        self.layers = layers
        self.clips = clips
        self.pairs = pairs
        self._quantizers = list(quantizers.values())  # in a list: they have their place in the network
        self._seen: list[Tensor] | None = None
        self.register_buffer("reference", torch.full((2,), torch.nan))
        self.register_buffer("bounds", torch.full((2,), torch.nan))

    @torch.no_grad()
    def measure(self, clip: Tensor, flow: Flow) -> Tensor:
        """Return mean gradient and mean flow of a clip ``(1, t, 3, h, w)``, shape ``(2,)``."""
        return torch.stack([gradient_magnitude(clip), flow_magnitude(clip, flow, self.pairs)])

    def difficulty(self, measured: Tensor) -> Tensor:
        """Return how hard clips ``(..., 2)`` are; 2 is as hard as the calibration clips on average."""
        known = self.reference > 0
        return torch.where(known, measured / torch.where(known, self.reference, 1.0), 0.0).sum(-1)

    @contextmanager
    def adapted(self, clip: Tensor, flow: Flow | None) -> Iterator[int]:
        """Run the block at the bits that suit a clip ``(1, t, 3, h, w)``; gives the shift.

        Args:
            clip: The clip that is going to run.
            flow: See :func:`flow_magnitude`; needed for shifts by clip.
        """
        shift = self._shift(clip, flow) if self.clips and flow is not None else 0
        self._set(shift)
        try:
            yield shift
        finally:
            self._set(0)

    def _shift(self, clip: Tensor, flow: Flow) -> int:
        measured = self.measure(clip, flow)
        if self._seen is not None:
            self._seen.append(measured)
            return 0
        value = self.difficulty(measured)
        return int(value > self.bounds[1]) - int(value < self.bounds[0])

    def _set(self, shift: int) -> None:
        for quantizer in self._quantizers:
            quantizer.clip_shift = shift

    def start_observing(self, *, first_pass: bool) -> None:
        """Begin a pass over the calibration clips."""
        self._seen = []

    @torch.no_grad()
    def stop_observing(self) -> None:
        """Find the bounds between clips, and the shifts of the layers."""
        seen, self._seen = self._seen, None
        if seen:
            measured = torch.stack(seen)
            self.reference.copy_(measured.mean(0))
            ends = torch.tensor([self.clips, 1 - self.clips], device=measured.device)
            self.bounds.copy_(torch.quantile(self.difficulty(measured), ends))
        spreads = [quantizer.spread for quantizer in self._quantizers]
        shifts = layer_shifts([s.spatial for s in spreads], [s.temporal for s in spreads], self.layers)
        for quantizer, shift in zip(self._quantizers, shifts, strict=True):
            quantizer.set_layer_shift(shift)

    def problem(self) -> str | None:
        """Say that there were too few clips to tell hard ones from easy ones."""
        if self._seen is None or not self.clips or len(self._seen) > 1:
            return None
        return f"saw {len(self._seen)} clips, bounds between clips need 2 or more (or set adaptive.clips=0)"
