"""What vsrq adds to MMEngine's Runner: loops, hooks, the optimizer wrapper for mixed precision."""

from vsrq.engine import registries  # noqa: F401  the empty nodes of scope vsrq
from vsrq.engine.amp import AmpOptimWrapper
from vsrq.engine.calibration import CalibrationHook
from vsrq.engine.channels_last import ChannelsLastHook
from vsrq.engine.checkpoint import SafeCheckpointHook
from vsrq.engine.depth import DepthHook
from vsrq.engine.distillation import DistillationHook
from vsrq.engine.exact_resume import ExactResumeHook
from vsrq.engine.freeze import FreezeHook
from vsrq.engine.plain_checkpoint import PlainCheckpointHook
from vsrq.engine.policy import PolicyHook
from vsrq.engine.ptq_loop import PTQLoop
from vsrq.engine.schedule_guard import ScheduleGuardHook
from vsrq.engine.stop_at_nan import StopAtNaNHook
from vsrq.engine.strict_load import StrictLoadHook
from vsrq.engine.train_loop import IterBasedTrainLoop

__all__ = [
    "AmpOptimWrapper",
    "CalibrationHook",
    "ChannelsLastHook",
    "DepthHook",
    "DistillationHook",
    "ExactResumeHook",
    "FreezeHook",
    "IterBasedTrainLoop",
    "PTQLoop",
    "PlainCheckpointHook",
    "PolicyHook",
    "SafeCheckpointHook",
    "ScheduleGuardHook",
    "StopAtNaNHook",
    "StrictLoadHook",
]
