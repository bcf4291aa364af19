"""Temporal residual quantization of linear layers: code the change between successive calls with few bits.

Nothing here knows of a particular network.
"""

from vsrq.residual.call_site import call_site, current_call_site
from vsrq.residual.convert import ResidualRow, convert_residual
from vsrq.residual.layers import ResidualConv2d, ResidualLayer, ResidualLinear
from vsrq.residual.prediction import LeakyPrediction
from vsrq.residual.schedule import KeyFrameSchedule
from vsrq.residual.state import TemporalState, temporal

__all__ = [
    "KeyFrameSchedule",
    "LeakyPrediction",
    "ResidualConv2d",
    "ResidualLayer",
    "ResidualLinear",
    "ResidualRow",
    "TemporalState",
    "call_site",
    "convert_residual",
    "current_call_site",
    "temporal",
]
