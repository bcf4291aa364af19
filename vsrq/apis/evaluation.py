"""Scoring a checkpoint on the test sets of a config file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mmengine
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from vsrq.apis import config as settings
from vsrq.apis.check import check_config
from vsrq.apis.distributed import set_launcher
from vsrq.engine.unwrap import unwrap
from vsrq.errors import ConfigError
from vsrq.models.checkpoint import load_weights

_FORMATS = (".json", ".yaml", ".yml", ".pkl")


def evaluate(
    config: str | Path,
    checkpoint: str | Path,
    *,
    work_dir: str | None = None,
    out: str | Path | None = None,
    cfg_options: Mapping[str, Any] | None = None,
    launcher: str = "none",
    local_rank: int = 0,
    trust_checkpoint: bool = False,
) -> dict[str, float]:
    """Evaluate a checkpoint and return the metrics.

    Args:
        config: Path of the config file.
        checkpoint: Weights of the network, in any layout vsrq reads.
        work_dir: Folder for the log. None takes the config's, else ``work_dirs/<stem>``.
        out: Write the metrics to this file (.json, .yaml, .pkl). It appears only when they are complete.
        cfg_options: Settings that override the config's, keyed by dotted names.
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.
        local_rank: Number of this process on its machine, if the launcher sets no ``LOCAL_RANK``.
        trust_checkpoint: Allow a checkpoint that executes pickled code.

    Raises:
        ConfigError: For typos and contradictions, a config without test set, an unknown format of ``out``.
        CheckpointError: For a missing, broken, untrusted or unfitting checkpoint.
    """
    if out is not None and Path(out).suffix not in _FORMATS:
        raise ConfigError(f"--out {str(out)!r}: allowed are files ending in {', '.join(_FORMATS)}.")
    settings.require_file(checkpoint)
    cfg = settings.load_config(config, cfg_options)
    settings.set_work_dir(cfg, work_dir)
    check_config(cfg)
    if cfg.get("test_dataloader") is None:
        raise ConfigError(f"{str(config)!r} has no test set: test_dataloader, test_evaluator and test_cfg are needed.")
    cfg.load_from, cfg.resume = None, False
    settings.expect_checkpoint(cfg)
    set_launcher(cfg, launcher, local_rank)
    runner = Runner.from_cfg(cfg)
    load_weights(unwrap(runner.model).get_submodule("generator"), checkpoint, trust=trust_checkpoint)
    collected = _CollectMetrics()
    runner.register_hook(collected, priority="LOWEST")
    runner.test()
    metrics = collected.metrics
    if out is not None and is_main_process():
        _write(metrics, Path(out))
    return metrics


class _CollectMetrics(Hook):
    """Keep the metrics: not every loop returns them."""

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self.metrics = {name: float(value) for name, value in (metrics or {}).items()}


def _write(metrics: dict[str, float], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.stem}.unfinished{path.suffix}")
    mmengine.dump(metrics, str(unfinished))
    os.replace(unfinished, path)
