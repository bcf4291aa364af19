"""The networks, step-wise BasicVSR, BasicVSR++ and EDVR, and the models that train them."""

from vsrq.compat import ensure_mmagic

ensure_mmagic()

from vsrq.models.basicvsr import BasicVSRNet  # noqa: E402
from vsrq.models.basicvsr_plusplus import BasicVSRPlusPlusNet  # noqa: E402
from vsrq.models.budget import BudgetLoss  # noqa: E402
from vsrq.models.checkpoint import load_weights, read_state_dict, save_weights  # noqa: E402
from vsrq.models.deform import DeformConv2d  # noqa: E402
from vsrq.models.edvr import EDVRNet  # noqa: E402
from vsrq.models.float_vsr import FloatVSR  # noqa: E402
from vsrq.models.policy_net import FramePolicyNet  # noqa: E402
from vsrq.models.quantized_vsr import QuantizedVSR  # noqa: E402
from vsrq.models.stepwise import StepwiseVSR  # noqa: E402

__all__ = [
    "BasicVSRNet",
    "BasicVSRPlusPlusNet",
    "BudgetLoss",
    "DeformConv2d",
    "EDVRNet",
    "FloatVSR",
    "FramePolicyNet",
    "QuantizedVSR",
    "StepwiseVSR",
    "load_weights",
    "read_state_dict",
    "save_weights",
]
