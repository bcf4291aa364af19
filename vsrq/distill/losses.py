"""Losses between what student and teacher compute. Each names where it looks and which teacher it follows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vsrq.distill.sites import OUTPUT
from vsrq.errors import ConfigError
from vsrq.registry import MODELS

Schedule = Sequence[tuple[float, float]]


class DistillationLoss(nn.Module):
    """Base of the losses.

    Args:
        sites: Where to compare, see :func:`vsrq.distill.sites.watch`.
        teacher: Name of the teacher.
        weight: Factor on the loss.
        schedule: Points ``(share of the training, factor)`` with straight lines between; ``None`` is 1 throughout.

    Raises:
        ConfigError: The weight is negative, or the schedule's points are not in order within [0, 1].
    """

    def __init__(
        self, *, sites: Sequence[str], teacher: str = "float", weight: float = 1.0, schedule: Schedule | None = None
    ) -> None:
        super().__init__()
        if not weight >= 0:
            raise ConfigError(f"{type(self).__name__}: weight must not be negative, got {weight!r}.")
        times = [time for time, _ in schedule or ()]
        if times != sorted(set(times)) or not all(0 <= time <= 1 for time in times) or schedule == []:
            raise ConfigError(
                f"{type(self).__name__}: schedule must hold points (time, factor), times ascending in [0, 1], got "
                f"{schedule!r}."
            )
        self.sites = tuple(sites)
        self.teacher = teacher
        self.weight = weight
        self.schedule = None if schedule is None else [tuple(point) for point in schedule]

    def factor(self, progress: float) -> float:
        """Return weight times schedule where ``progress`` of the training, in [0, 1], is done."""
        if self.schedule is None:
            return self.weight
        before = max((p for p in self.schedule if p[0] <= progress), default=self.schedule[0])
        after = min((p for p in self.schedule if p[0] > progress), default=before)
        share = 0.0 if after[0] == before[0] else (progress - before[0]) / (after[0] - before[0])
        return self.weight * (before[1] + min(max(share, 0.0), 1.0) * (after[1] - before[1]))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compare one pair of tensors of the same shape."""
        raise NotImplementedError


def relative_error(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean squared difference over the teacher's mean square, so that layers of all sizes count alike."""
    return (student - teacher).square().mean() / teacher.square().mean().clamp(min=1e-12)


@MODELS.register_module()
class OutputDistillation(DistillationLoss):
    """Charbonnier distance of the upscaled frames, ``mean(sqrt(d^2 + eps))``.

    Args:
        eps: Rounds the corner at 0.
        **kwargs: See :class:`DistillationLoss`.
    """

    def __init__(self, *, eps: float = 1e-12, **kwargs) -> None:
        super().__init__(sites=[OUTPUT], **kwargs)
        self.eps = eps

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """See :meth:`DistillationLoss.forward`."""
        return torch.sqrt((student - teacher).square() + self.eps).mean()


@MODELS.register_module()
class FeatureDistillation(DistillationLoss):
    """Relative squared error of features.

    Args:
        layers: Globs over the names of modules.
        **kwargs: See :class:`DistillationLoss`.
    """

    def __init__(self, *, layers: Sequence[str], **kwargs) -> None:
        super().__init__(sites=list(layers), **kwargs)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """See :meth:`DistillationLoss.forward`."""
        return relative_error(student, teacher)


@MODELS.register_module()
class StateDistillation(DistillationLoss):
    """Relative squared error of the features that recurrent branches pass from frame to frame.

    Args:
        **kwargs: See :class:`DistillationLoss`.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(sites=["propagate"], **kwargs)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """See :meth:`DistillationLoss.forward`."""
        return relative_error(student, teacher)


@MODELS.register_module()
class FlowDistillation(DistillationLoss):
    """Mean end-point error of the optical flow, in pixels; a teacher with a better flow network teaches it.

    Args:
        **kwargs: See :class:`DistillationLoss`.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(sites=["flow"], **kwargs)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """See :meth:`DistillationLoss.forward`."""
        return torch.sqrt((student - teacher).square().sum(1) + 1e-12).mean()
