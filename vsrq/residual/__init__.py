"""Temporal residual quantization of linear layers: code the change between successive calls with few bits.

Nothing here knows of a particular network.
"""

from vsrq.quant.allocate import Option, allocate
from vsrq.residual.call_site import call_site, current_call_site
from vsrq.residual.coding import Coding
from vsrq.residual.convert import ResidualRow, convert_residual
from vsrq.residual.layers import ResidualConv2d, ResidualLayer, ResidualLinear
from vsrq.residual.listen import listening
from vsrq.residual.options import measure_options
from vsrq.residual.prediction import LeakyPrediction
from vsrq.residual.rules import allocation_rules
from vsrq.residual.schedule import KeyFrameSchedule
from vsrq.residual.skip_policy import SkipPolicy
from vsrq.residual.state import TemporalState, temporal
from vsrq.residual.stats import LayerStats, ResidualStats, residual_stats
from vsrq.residual.storage import Storage
from vsrq.residual.tiles import TileQuantizer, fit_coarseness
from vsrq.residual.triggers import KeyTrigger

__all__ = [
    "Coding",
    "KeyFrameSchedule",
    "KeyTrigger",
    "LayerStats",
    "LeakyPrediction",
    "Option",
    "ResidualConv2d",
    "ResidualLayer",
    "ResidualLinear",
    "ResidualRow",
    "ResidualStats",
    "SkipPolicy",
    "Storage",
    "TemporalState",
    "TileQuantizer",
    "allocate",
    "allocation_rules",
    "call_site",
    "convert_residual",
    "current_call_site",
    "fit_coarseness",
    "listening",
    "measure_options",
    "residual_stats",
    "temporal",
]
