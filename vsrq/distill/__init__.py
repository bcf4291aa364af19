"""Distillation: teachers, what is compared, and the losses."""

from vsrq.distill.distiller import Distiller
from vsrq.distill.losses import (
    DistillationLoss,
    FeatureDistillation,
    FlowDistillation,
    OutputDistillation,
    StateDistillation,
)
from vsrq.distill.sites import watch

__all__ = [
    "DistillationLoss",
    "Distiller",
    "FeatureDistillation",
    "FlowDistillation",
    "OutputDistillation",
    "StateDistillation",
    "watch",
]
