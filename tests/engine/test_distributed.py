import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import distributed

from vsrq.apis.distributed import leave_group, set_launcher
from vsrq.errors import ConfigError

on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU the processes would use it")


def start(work_dir, batch_size, processes, *extra):
    command = ["tools/dist_train.sh", str(processes)] if processes > 1 else [sys.executable, "tools/train.py"]
    command += ["configs/tiny/basicvsr.py", "--work-dir", str(work_dir), *extra]
    command += ["--cfg-options", "train_cfg.max_iters=3", f"train_dataloader.batch_size={batch_size}"]
    # Not Adam, whose first steps amplify rounding differences of tiny gradients.
    command += ["optim_wrapper.optimizer._delete_=True", "optim_wrapper.optimizer.type=SGD"]
    command += [
        "optim_wrapper.optimizer.lr=0.1",
        "optim_wrapper.optimizer.momentum=0.9",
        "default_hooks.checkpoint.interval=1",
    ]
    command += ["train_dataloader.dataset.num_input_frames=2", "val_dataloader=None", "val_evaluator=None"]
    command += ["val_cfg=None"]
    path = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, "PYTHON": sys.executable}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@on_cpu
def test_two_processes_train_like_one_with_twice_the_batch(tmp_path):
    """Through tools/dist_train.sh: one process with batches of 4, two with batches of 2."""
    one, two = start(tmp_path / "one", 4, 1), start(tmp_path / "two", 2, 2)
    for process in (one, two):
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output[-3000:]
    steps = [
        [torch.load(tmp_path / name / f"iter_{i}.pth", weights_only=True) for i in (1, 2, 3)] for name in ("one", "two")
    ]
    for single, double in zip(*steps, strict=True):
        for name, value in single["state_dict"].items():
            torch.testing.assert_close(double["state_dict"][name], value, rtol=1e-4, atol=1e-6, msg=name)
    # The momentum is a sum of gradients, so it shows also those too small to move a parameter. By now SPyNet trains.
    momenta = [{i: s["momentum_buffer"] for i, s in run[2]["optimizer"]["state"].items()} for run in steps]
    assert len(momenta[0]) == len(momenta[1]) == len(steps[0][2]["optimizer"]["param_groups"])
    for i, momentum in momenta[0].items():
        assert momentum.norm() > 0
        assert (momenta[1][i] - momentum).norm() < 1e-3 * momentum.norm(), i
    assert len(steps[1][2]["vsrq_resume"]["random"]) == 2
    assert steps[0][2]["vsrq_resume"]["data"] == steps[1][2]["vsrq_resume"]["data"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "usage: tools/dist_train.sh PROCESSES CONFIG"),
        (("two", "x.py"), "PROCESSES must be a whole number .* 'two'"),
    ],
)
def test_script_explains_itself(arguments, text):
    done = subprocess.run(["tools/dist_train.sh", *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert re.search(text, done.stderr)


def test_launcher_outside_of_torch_distributed_is_explained(monkeypatch):
    from mmengine.config import Config

    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(
        ConfigError, match=r"RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT not set.*torch\.distributed\.run"
    ):
        set_launcher(Config({}), "pytorch")


def test_the_group_is_left_whether_there_is_one_or_not(tmp_path):
    leave_group()
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    leave_group()
    assert not distributed.is_initialized()
