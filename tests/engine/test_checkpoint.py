import errno
import os

import pytest
import torch

from vsrq.engine.checkpoint import AtomicLocalBackend
from vsrq.errors import TrainingError

KEEP_ONE = {"default_hooks.checkpoint.interval": 1, "default_hooks.checkpoint.max_keep_ckpts": 1}


def fill_disk_after(monkeypatch, files):
    """Let the flush of every file but the first ``files`` fail as on a full disk."""
    flush, count = os.fsync, iter(range(1000))

    def fsync(descriptor):
        if next(count) >= files:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


def test_full_disk_leaves_the_previous_checkpoint_and_nothing_else(fit, tmp_path, monkeypatch):
    fill_disk_after(monkeypatch, 2)
    with pytest.raises(TrainingError, match=r"iter_3\.pth cannot be written \(No space left.*iter_2\.pth"):
        fit("basicvsr", tmp_path, iters=4, options=KEEP_ONE)
    assert [path.name for path in sorted(tmp_path.glob("*iter_*"))] == ["iter_2.pth"]
    assert not list(tmp_path.glob(".*unfinished"))
    assert torch.load(tmp_path / "iter_2.pth", weights_only=True)["meta"]["iter"] == 2


def test_run_continues_once_there_is_room(fit, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        fill_disk_after(patch, 2)
        with pytest.raises(TrainingError, match="--resume"):
            fit("basicvsr", tmp_path / "broken", iters=4, options=KEEP_ONE)
    fit("basicvsr", tmp_path / "broken", iters=4, options=KEEP_ONE, resume="auto")
    fit("basicvsr", tmp_path / "whole", iters=4, options=KEEP_ONE)
    states = [
        torch.load(tmp_path / name / "iter_4.pth", weights_only=True)["state_dict"] for name in ("broken", "whole")
    ]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_old_checkpoints_are_removed_after_the_new_one_is_written(fit, tmp_path):
    fit("basicvsr", tmp_path, iters=3, options=KEEP_ONE)
    assert [path.name for path in tmp_path.glob("*.pth")] == ["iter_3.pth"]


def test_interrupted_write_keeps_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"old")
    fill_disk_after(monkeypatch, 0)
    with pytest.raises(OSError, match="No space left"):
        AtomicLocalBackend().put(b"new", path)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["weights.pth"]
