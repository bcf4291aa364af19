"""The teachers of one student, and the sum of what they find wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vsrq.distill.losses import DistillationLoss
from vsrq.distill.sites import Seen, watch
from vsrq.errors import ConfigError, did_you_mean
from vsrq.registry import MODELS


class Distiller:
    """Runs teachers beside a student and compares them.

    It is no module, so that teachers appear neither in the student's checkpoint nor among its parameters.

    Args:
        teachers: Models by name, with a ``generator`` and ``forward_tensor``; frozen here.
        losses: Configs of registered losses, see ``vsrq.distill.losses``.

    Attributes:
        progress: Share of the training that is done, in [0, 1]; set by ``DistillationHook``, needed by schedules only.

    Raises:
        ConfigError: There is no loss, a loss is unknown or names an unknown teacher, or a teacher is not used.
    """

    def __init__(self, teachers: Mapping[str, nn.Module], losses: Iterable[Mapping[str, Any]]) -> None:
        self.losses: list[DistillationLoss] = []
        for config in losses:
            loss = MODELS.build({"_scope_": "vsrq", **config})
            if not isinstance(loss, DistillationLoss):
                raise ConfigError(f"distill.losses: {type(loss).__name__} is no DistillationLoss.")
            if loss.teacher not in teachers:
                hint = did_you_mean(loss.teacher, teachers)
                raise ConfigError(f"distill: no teacher {loss.teacher!r}{hint}. There are: {', '.join(teachers)}.")
            self.losses.append(loss)
        if not self.losses:
            raise ConfigError("distill needs `losses`, a list of at least one, e.g. dict(type='OutputDistillation').")
        if idle := set(teachers) - {loss.teacher for loss in self.losses}:
            raise ConfigError(f"distill: no loss uses teacher {min(idle)!r}; remove it or name it in a loss.")
        self.teachers = {name: teacher.eval().requires_grad_(False) for name, teacher in teachers.items()}
        self.progress: float | None = None

    def __deepcopy__(self, memo: dict) -> Distiller:
        # a moving average of the student has the same teachers, not copies of them
        return self

    @property
    def scheduled(self) -> bool:
        """Whether a loss changes its weight during training."""
        return any(loss.schedule is not None for loss in self.losses)

    @contextmanager
    def watching(self, student: nn.Module) -> Iterator[Seen]:
        """Collect what the losses need of the student's network while the block runs it."""
        with watch(student, (site for loss in self.losses for site in loss.sites)) as seen:
            yield seen

    def compare(self, seen: Seen, inputs: Tensor) -> dict[str, Tensor]:
        """Run the teachers on the student's input and return all losses that count now.

        Args:
            seen: What :meth:`watching` collected of the student on ``inputs``.
            inputs: Clips or windows, as the student got them.

        Raises:
            ConfigError: A teacher computes something of another shape than the student, or the weights follow a
                schedule that nobody drives.
        """
        if self.scheduled and self.progress is None:
            raise ConfigError("a distillation loss has a schedule; add dict(type='DistillationHook') to custom_hooks.")
        factors = [loss.factor(self.progress or 0.0) for loss in self.losses]
        results: dict[str, Tensor] = {}
        for name, teacher in self.teachers.items():
            active = [(loss, f) for loss, f in zip(self.losses, factors, strict=True) if loss.teacher == name and f]
            if not active:
                continue  # a teacher whose time is over costs nothing
            target = self._ask(teacher, inputs, [site for loss, _ in active for site in loss.sites])
            for loss, factor in active:
                key = f"loss_{type(loss).__name__}_{name}"
                pairs = [pair for site in loss.sites for pair in _pairs(name, site, seen, target)]
                value = torch.stack([loss(a.float(), b.float()) for a, b in pairs]).mean() * factor
                results[key] = results[key] + value if key in results else value
        return results

    @staticmethod
    @torch.no_grad()
    def _ask(teacher: nn.Module, inputs: Tensor, sites: Iterable[str]) -> Seen:
        parameter = next(teacher.parameters())
        if parameter.device != inputs.device:
            teacher.to(inputs.device)  # teachers do not follow the student's .to()
        generator: Any = teacher.generator
        forward: Callable[[Tensor], Tensor] = teacher.forward_tensor  # type: ignore[assignment]
        with watch(generator, sites) as seen:
            forward(inputs)
        return seen


def _pairs(name: str, site: str, student: Seen, teacher: Seen) -> list[tuple[Tensor, Tensor]]:
    mine, theirs = student[site], teacher[site]
    if len(mine) != len(theirs) or not mine:
        raise ConfigError(
            f"teacher {name!r} does not match at {site!r}: it was called {len(theirs)} times, the student {len(mine)}. "
            "Compare places that both have once per frame, such as 'propagate' or the output."
        )
    for a, b in zip(mine, theirs, strict=True):
        if a.shape != b.shape:
            raise ConfigError(
                f"teacher {name!r} does not match at {site!r}: it has {tuple(b.shape)}, the student {tuple(a.shape)}. "
                "Use a teacher of the same width and scale, or compare the output only."
            )
    return list(zip(mine, theirs, strict=True))
