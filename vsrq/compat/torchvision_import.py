"""Import torchvision beside a torch build it was not compiled for."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch

from vsrq.errors import MissingDependencyError

_NMS_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_DECLARED: list[torch.library.Library] = []  # a Library undoes its declarations when it is collected


def ensure_torchvision() -> ModuleType:
    """Import torchvision, declaring the operators its Python half expects where its compiled half does not load.

    PyPI's torchvision is built for CUDA: beside a CPU-only torch its operators are missing, and its import
    stops because it describes two of them. Declared without an implementation they raise only when called,
    which vsrq never does.

    Raises:
        MissingDependencyError: torchvision is not installed, or fails to import for another reason.
    """
    try:
        return importlib.import_module("torchvision")
    except ModuleNotFoundError as error:
        raise MissingDependencyError(f"{error}; install it with: pip install torchvision") from error
    except RuntimeError as error:
        if "torchvision::" not in str(error) or _DECLARED:
            raise MissingDependencyError(
                f"torchvision does not import beside torch {torch.__version__}: {error}. "
                "Install the release that belongs to this torch (torch 2.13 goes with torchvision 0.28)."
            ) from error
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    _DECLARED.append(library)
    for name in ("nms", "qnms"):
        library.define(name + _NMS_SIGNATURE)
    return importlib.import_module("torchvision")


def has_operators() -> bool:
    """Return whether torchvision's compiled operators are loaded."""
    return hasattr(torch.ops.torchvision, "deform_conv2d")
