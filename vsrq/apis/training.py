"""Training (float, quantization-aware, post-training) from a config file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.runner import Runner

from vsrq.apis import config as settings
from vsrq.apis.check import check_config
from vsrq.apis.distributed import set_launcher
from vsrq.compat.checkpoints import read_checkpoint, register_loader


def train(
    config: str | Path,
    *,
    work_dir: str | None = None,
    resume: str | None = None,
    amp: bool = False,
    auto_scale_lr: bool = False,
    cfg_options: Mapping[str, Any] | None = None,
    launcher: str = "none",
    local_rank: int = 0,
    trust_checkpoint: bool = False,
) -> Runner:
    """Run the training loop of a config; return the runner when it is done.

    Args:
        config: Path of the config file.
        work_dir: Folder for logs and checkpoints. None takes the config's, else ``work_dirs/<stem>``.
        resume: A checkpoint, or ``'auto'`` for the newest one in the working folder.
        amp: Train in mixed precision.
        auto_scale_lr: Scale the learning rate with the batch size.
        cfg_options: Settings that override the config's, keyed by dotted names.
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.
        local_rank: Number of this process on its machine, if the launcher sets no ``LOCAL_RANK``.
        trust_checkpoint: Allow checkpoints that execute pickled code.

    Raises:
        ConfigError: For typos and contradictions; raised before anything is written.
        CheckpointError: For missing, broken, untrusted or unfitting checkpoints.
    """
    cfg = settings.load_config(config, cfg_options)
    settings.set_work_dir(cfg, work_dir)
    if amp:
        settings.enable_amp(cfg)
    if auto_scale_lr:
        settings.enable_auto_scale_lr(cfg)
    check_config(cfg)
    settings.set_resume(cfg, resume)
    if cfg.get("load_from"):
        settings.require_file(cfg.load_from)
        # Read once just to find out whether it can be: later the working folder is already written to.
        read_checkpoint(cfg.load_from, trust=trust_checkpoint)
    set_launcher(cfg, launcher, local_rank)
    register_loader(trust=trust_checkpoint)
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner
