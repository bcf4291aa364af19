"""The networks: step-wise BasicVSR, BasicVSR++ and EDVR."""

from vsrq.models.basicvsr import BasicVSRNet
from vsrq.models.checkpoint import load_weights, read_state_dict
from vsrq.models.stepwise import StepwiseVSR

__all__ = ["BasicVSRNet", "StepwiseVSR", "load_weights", "read_state_dict"]
