"""What the command-line tools call: whole jobs, from a config file to their result.

The names are imported on first use, so that a tool can parse its arguments and report a missing package
in one line.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vsrq.apis.check import check_config
    from vsrq.apis.comparison import compare
    from vsrq.apis.config import load_config
    from vsrq.apis.evaluation import evaluate
    from vsrq.apis.initial_weights import inflate, warm_start
    from vsrq.apis.training import train

_HOMES = {
    "check_config": "check",
    "compare": "comparison",
    "evaluate": "evaluation",
    "inflate": "initial_weights",
    "load_config": "config",
    "train": "training",
    "warm_start": "initial_weights",
}

__all__ = ["check_config", "compare", "evaluate", "inflate", "load_config", "train", "warm_start"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
