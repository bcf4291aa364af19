"""From a config file and command-line flags to the config the Runner gets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from vsrq.errors import CheckpointError, ConfigError, did_you_mean

AUTO = "auto"


def load_config(path: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """Read a config file and apply ``--cfg-options``.

    Raises:
        ConfigError: If the file or one of its bases is missing or cannot be parsed.
    """
    path = Path(path)
    if not path.is_file():
        folder = path.parent
        siblings = [p.name for p in folder.glob("*.py")] if folder.is_dir() else []
        hint = did_you_mean(path.name, siblings)
        raise ConfigError(f"no config file {str(path)!r}{hint or '.'}")
    try:
        config = Config.fromfile(str(path))
        if options:
            config.merge_from_dict(dict(options))
    except Exception as error:  # a config is a program: anything can go wrong inside it
        raise ConfigError(f"cannot read the config {str(path)!r}: {type(error).__name__}: {error}") from error
    return config


def set_work_dir(config: Config, work_dir: str | None) -> None:
    """Choose the working folder: command line, else the config's ``work_dir``, else ``work_dirs/<stem>``."""
    if work_dir:
        config.work_dir = work_dir
    elif not config.get("work_dir"):
        config.work_dir = str(Path("work_dirs") / Path(config.filename).stem)


def enable_amp(config: Config) -> None:
    """Train in mixed precision: float16 with a dynamic loss scale on a GPU, bfloat16 on the CPU.

    Raises:
        ConfigError: If the config uses another optimizer wrapper than ``OptimWrapper``.
    """
    wrapper = config.get("optim_wrapper") or {}
    kind = wrapper.get("type", "OptimWrapper")
    if kind == "AmpOptimWrapper":
        return
    if kind != "OptimWrapper":
        raise ConfigError(f"--amp: optim_wrapper.type={kind!r}, allowed are 'OptimWrapper' and 'AmpOptimWrapper'.")
    wrapper["type"] = "AmpOptimWrapper"
    wrapper["loss_scale"] = "dynamic"
    if not torch.cuda.is_available():
        wrapper["dtype"] = "bfloat16"


def enable_auto_scale_lr(config: Config) -> None:
    """Scale the learning rate with the actual batch size of all processes.

    Raises:
        ConfigError: If the config does not say for which batch size its learning rate is meant.
    """
    settings = config.get("auto_scale_lr") or {}
    if "base_batch_size" not in settings:
        raise ConfigError("--auto-scale-lr: the config needs auto_scale_lr=dict(base_batch_size=...).")
    config.auto_scale_lr["enable"] = True


def set_resume(config: Config, resume: str | None) -> None:
    """Resume from a checkpoint, or with ``'auto'`` from the newest one in ``work_dir`` if there is any.

    Raises:
        CheckpointError: If the checkpoint does not exist.
    """
    if resume is None:
        return
    path = _newest(Path(config.work_dir)) if resume == AUTO else Path(resume)
    if path is None:
        # A job that is restarted by a scheduler passes --resume from its first start on.
        return
    require_file(path)
    config.resume, config.load_from = True, str(path)


def expect_checkpoint(config: Config) -> None:
    """Let all weights come from a checkpoint: neither float weights nor teachers are loaded."""
    if config.model.get("float_checkpoint"):
        config.model.float_checkpoint = None
    config.model.pop("distill", None)


def require_file(path: str | Path) -> None:
    """Raise :class:`CheckpointError`, naming the nearest existing file, unless ``path`` is a file."""
    path = Path(path)
    if not path.is_file():
        near = [p.name for p in path.parent.glob("*.pth")] if path.parent.is_dir() else []
        hint = did_you_mean(path.name, near)
        raise CheckpointError(f"no checkpoint {str(path)!r}{hint or '.'}")


def _newest(work_dir: Path) -> Path | None:
    pointer = work_dir / "last_checkpoint"
    if not pointer.is_file():
        return None
    path = Path(pointer.read_text().strip())
    # The pointer holds the path as seen when it was written; the folder may have moved since.
    return path if path.is_file() else work_dir / path.name
