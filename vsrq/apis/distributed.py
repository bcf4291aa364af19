"""Starting several processes, on GPUs or on CPUs."""

from __future__ import annotations

import os

import torch
from mmengine.config import Config
from torch import distributed

from vsrq.errors import ConfigError


def set_launcher(config: Config, launcher: str, local_rank: int = 0) -> None:
    """Prepare config and process for a launcher.

    MMEngine's start-up selects a CUDA device and hands device numbers to DistributedDataParallel. Without
    a GPU the process group is therefore opened here, with gloo, and the wrapper gets no device.

    Raises:
        ConfigError: If the launcher did not set the environment variables PyTorch needs.
    """
    config.launcher = launcher
    os.environ.setdefault("LOCAL_RANK", str(local_rank))
    if launcher == "none":
        return
    if launcher == "pytorch":
        missing = [name for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
        if missing:
            raise ConfigError(
                f"--launcher pytorch: {', '.join(missing)} not set. Start with 'python -m torch.distributed.run "
                "--nproc_per_node=N tools/train.py ... --launcher pytorch'."
            )
    if torch.cuda.is_available():
        return
    if launcher != "pytorch":
        raise ConfigError(f"--launcher {launcher} needs GPUs; on CPUs use --launcher pytorch.")
    if not distributed.is_initialized():
        distributed.init_process_group(backend="gloo")
    config.setdefault("model_wrapper_cfg", {})
    wrapper = {
        "type": "MMDistributedDataParallel",
        "broadcast_buffers": False,
        "find_unused_parameters": config.get("find_unused_parameters", False),
        **config.model_wrapper_cfg,
        "device_ids": None,
    }
    config.model_wrapper_cfg = wrapper


def leave_group() -> None:
    """Wait for the other processes, if there are any, and end the process group.

    Without it a process that exits first takes down threads of the group that still run, which now and then aborts it
    after all its work is done.
    """
    if distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()
