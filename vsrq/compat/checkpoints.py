"""Read checkpoints without executing pickled code.

MMEngine 0.10.7 cannot load its own checkpoints under torch >= 2.6: they hold log histories, and torch refuses
classes it does not know. Here exactly those classes are allowed, and nothing else.
"""

from __future__ import annotations

import importlib
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vsrq.errors import CheckpointError


def read_checkpoint(path: str | Path, *, map_location: Any = "cpu", trust: bool = False) -> Any:
    """Read a checkpoint file with ``weights_only=True``.

    Args:
        path: A local file.
        map_location: As in :func:`torch.load`.
        trust: Unpickle anything the file holds, which executes code of whoever wrote it.

    Raises:
        CheckpointError: The file is missing, broken, or holds objects that need trust.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise CheckpointError(f"checkpoint {str(path)!r} {what}; give the path of a .pth or .safetensors file.")
    if path.suffix == ".safetensors":
        return _read_safetensors(path, map_location)
    try:
        if trust:
            return torch.load(path, map_location=map_location, weights_only=False)
        with torch.serialization.safe_globals(_runner_classes()):
            return torch.load(path, map_location=map_location, weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        if not trust and _needs_trust(error):
            raise CheckpointError(
                f"checkpoint {str(path)!r} holds pickled objects beside weights, and loading them executes code "
                f"({_unknown_name(error)}). If you trust its origin, pass --trust-checkpoint (trust=True)."
            ) from error
        kind = "" if zipfile.is_zipfile(path) else " It is not an archive as torch.save writes it."
        raise CheckpointError(
            f"checkpoint {str(path)!r} ({path.stat().st_size} bytes) is broken or no PyTorch checkpoint: "
            f"{_first_line(error)}.{kind} Fetch or copy it again."
        ) from error


def _read_safetensors(path: Path, device: Any) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device=str(device or "cpu"))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"checkpoint {str(path)!r} ({path.stat().st_size} bytes) is broken or no safetensors file: "
            f"{_first_line(error)}. Fetch or copy it again."
        ) from error


def register_loader(*, trust: bool = False) -> None:
    """Let MMEngine's Runner read local checkpoints through :func:`read_checkpoint`.

    Args:
        trust: For all local checkpoints from now on, until called again; what ``--trust-checkpoint`` sets.
    """
    from mmengine.runner.checkpoint import CheckpointLoader

    def load_from_local(filename: str, map_location: Any = None) -> Any:
        return read_checkpoint(filename, map_location=map_location, trust=trust)

    CheckpointLoader.register_scheme(prefixes="", loader=load_from_local, force=True)


def _runner_classes() -> list[Any]:
    """Return what a Runner's checkpoint is made of besides tensors: log histories, numpy arrays and scalars."""
    from mmengine.logging import HistoryBuffer

    numeric = [type(np.dtype(code)) for code in "?bhilqBHILQefd"]
    core = "numpy.core" if np.__version__.startswith("1.") else "numpy._core"
    multiarray = importlib.import_module(f"{core}.multiarray")

    def statistic(owner: Any, name: str) -> Any:
        # a history pickles its methods through getattr, which as such would reach anything
        if owner is HistoryBuffer and name in ("min", "max", "current", "mean"):
            return getattr(HistoryBuffer, name)
        raise pickle.UnpicklingError(f"Weights only load failed: GLOBAL getattr({owner!r}, {name!r})")

    allowed: list[Any] = [HistoryBuffer, np.ndarray, np.dtype, *numeric, (statistic, "builtins.getattr")]
    for name in ("_reconstruct", "scalar"):
        function = getattr(multiarray, name)
        # under either name, so that files travel between numpy 1 and 2
        allowed += [(function, f"numpy.core.multiarray.{name}"), (function, f"numpy._core.multiarray.{name}")]
    return allowed


def _needs_trust(error: Exception) -> bool:
    text = str(error)
    return isinstance(error, pickle.UnpicklingError) and "Weights only load failed" in text and "GLOBAL" in text


def _unknown_name(error: Exception) -> str:
    for line in str(error).splitlines():
        if "GLOBAL" in line:
            return line.strip()
    return _first_line(error)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
