"""The networks: step-wise BasicVSR and BasicVSR++."""

from vsrq.models.basicvsr import BasicVSRNet
from vsrq.models.basicvsr_plusplus import BasicVSRPlusPlusNet
from vsrq.models.checkpoint import load_weights, read_state_dict
from vsrq.models.deform import DeformConv2d
from vsrq.models.stepwise import StepwiseVSR

__all__ = [
    "BasicVSRNet",
    "BasicVSRPlusPlusNet",
    "DeformConv2d",
    "FloatVSR",
    "StepwiseVSR",
    "load_weights",
    "read_state_dict",
]
