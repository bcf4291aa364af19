"""Frames and videos through an exported network.

The names are imported on first use, so that importing this package loads neither PyAV nor a backend.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vsrq.runtime.upscaler import Upscaler
    from vsrq.runtime.video.convert import convert
    from vsrq.runtime.video.options import FrameUpscaler, Options

_HOMES = {
    "FrameUpscaler": "video.options",
    "Options": "video.options",
    "Upscaler": "upscaler",
    "convert": "video.convert",
}

__all__ = ["FrameUpscaler", "Options", "Upscaler", "convert"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
