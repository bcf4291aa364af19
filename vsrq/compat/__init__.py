"""Everything that makes mmagic 1.2.0 importable on a current stack; nothing else in vsrq knows about it."""

from vsrq.compat.mmagic_import import ensure_mmagic
from vsrq.compat.torchvision_import import ensure_torchvision

__all__ = ["ensure_mmagic", "ensure_torchvision"]
