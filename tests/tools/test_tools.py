"""The command-line tools: flags, order of settings, and what happens on bad input."""

import json
import logging
import os
import runpy
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
import torch

from tests.engine.conftest import write_clips
from vsrq.apis import config as settings
from vsrq.apis import load_config

QUICK = ["train_cfg.max_iters=1", "val_dataloader=None", "val_evaluator=None", "val_cfg=None"]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    root = tmp_path_factory.mktemp("clips")
    write_clips(root, clips=1, frames=3, height=64, width=64)
    return root


@pytest.fixture
def tool(clips, monkeypatch, capsys):
    """Run ``tools/<name>.py`` in this process; return exit status and what it wrote to stderr."""

    def run(name, *arguments):
        monkeypatch.setenv("VSRQ_DATA", str(clips))
        # Earlier runs' log handlers write to streams pytest has closed.
        monkeypatch.setattr(logging, "raiseExceptions", False)
        monkeypatch.setattr(sys, "argv", [f"tools/{name}.py", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(f"tools/{name}.py", run_name="__main__")
        return stop.value.code, capsys.readouterr().err

    return run


def options(*changes):
    return ["--cfg-options", *QUICK, f"experiment_name={uuid.uuid4().hex}", *changes]


@pytest.fixture(scope="module")
def checkpoint(clips, tmp_path_factory):
    """Weights of the tiny BasicVSR, as a bare network's state dict."""
    from vsrq.models import BasicVSRNet

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "basicvsr.pth"
    torch.save(BasicVSRNet(mid_channels=4, num_blocks=1).state_dict(), path)
    return path


def test_train_then_resume_from_a_path_then_test(tool, tmp_path):
    work = tmp_path / "run"
    assert tool("train", "configs/tiny/basicvsr.py", "--work-dir", work, *options())[0] == 0
    assert torch.load(work / "iter_1.pth", weights_only=True)["meta"]["iter"] == 1
    changes = options("train_cfg.max_iters=2")
    status, _ = tool("train", "configs/tiny/basicvsr.py", "--work-dir", work, "--resume", work / "iter_1.pth", *changes)
    assert status == 0
    assert torch.load(work / "iter_2.pth", weights_only=True)["meta"]["iter"] == 2
    out = tmp_path / "deep" / "metrics.json"
    arguments = ["configs/tiny/basicvsr.py", work / "iter_2.pth", "--work-dir", tmp_path / "test", "--out", out]
    assert tool("test", *arguments, "--cfg-options", f"experiment_name={uuid.uuid4().hex}")[0] == 0
    metrics = json.loads(out.read_text())
    assert set(metrics) == {"PSNR", "SSIM"}
    assert 10 < metrics["PSNR"] < 60
    assert [p.name for p in out.parent.iterdir()] == ["metrics.json"]


def test_resume_without_checkpoint_starts_anew(tool, tmp_path):
    status, _ = tool(
        "train",
        "configs/tiny/edvr.py",
        "--work-dir",
        tmp_path,
        "--resume",
        *options("train_dataloader.dataset.pipeline.0.frames_per_clip=2"),
    )
    assert status == 0
    assert (tmp_path / "iter_1.pth").is_file()


def test_work_dir_comes_from_the_command_line_then_the_config_then_the_name():
    config = load_config("configs/tiny/basicvsr.py")
    settings.set_work_dir(config, None)
    assert Path(config.work_dir) == Path("work_dirs/basicvsr")
    config = load_config("configs/tiny/basicvsr.py", {"work_dir": "from_config"})
    settings.set_work_dir(config, None)
    assert config.work_dir == "from_config"
    settings.set_work_dir(config, "from_command_line")
    assert config.work_dir == "from_command_line"


def test_newest_checkpoint_is_found_after_the_folder_moved(tmp_path):
    (tmp_path / "last_checkpoint").write_text("/elsewhere/iter_3.pth")
    (tmp_path / "iter_3.pth").write_bytes(b"x")
    config = load_config("configs/tiny/basicvsr.py", {"work_dir": str(tmp_path)})
    settings.set_resume(config, "auto")
    assert (config.resume, config.load_from) == (True, str(tmp_path / "iter_3.pth"))


def test_auto_scale_lr_scales_with_the_batch(tool, tmp_path):
    changes = options("train_dataloader.batch_size=2", "train_dataloader.dataset.num_input_frames=2")
    status, _ = tool("train", "configs/tiny/basicvsr.py", "--work-dir", tmp_path, "--auto-scale-lr", *changes)
    assert status == 0
    optimizer = torch.load(tmp_path / "iter_1.pth", weights_only=True)["optimizer"]
    # SPyNet's groups at a quarter of the rate; twice the base batch size doubles both.
    assert {round(group["initial_lr"], 9) for group in optimizer["param_groups"]} == {2e-3, 5e-4}


BAD_CONFIGS = [
    (["model.generator.mid_chanels=8"], "unknown key 'mid_chanels' in model.generator; did you mean 'mid_channels'?"),
    (["model.generator.type=BasicVSRNett"], "'BasicVSRNett' is not a registered model; did you mean 'BasicVSRNet'?"),
    (["optim_wraper.type=OptimWrapper"], "unknown setting 'optim_wraper'; did you mean 'optim_wrapper'?"),
    (["train_dataloader.batchsize=2"], "unknown key 'batchsize' in train_dataloader; did you mean 'batch_size'?"),
    (["train_dataloader.dataset.depht=1"], "unknown key 'depht' in train_dataloader.dataset; did you mean 'depth'?"),
    (["default_hooks.checkpoint.intervall=1"], "did you mean 'interval'?"),
    (["optim_wrapper.optimizer.type=Adan"], "'Adan' is not a registered optimizer; did you mean 'Adam'?"),
    (["param_scheduler.period=[3]"], "did you mean 'periods'?"),
    (["custom_hooks.0.freze=a"], "unknown key 'freze' in custom_hooks[0]; did you mean 'freeze'?"),
    (["val_evaluator.0.type=PSNRR"], "'PSNRR' is not a registered metric; did you mean 'PSNR'?"),
    (["train_dataloader.dataset.pipeline.4.type=PairedRandomCop"], "did you mean 'PairedRandomCrop'?"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_CONFIGS)
def test_a_typo_is_one_clear_line_and_nothing_is_written(changes, message, tool, tmp_path):
    work = tmp_path / "run"
    status, error = tool("train", "configs/tiny/basicvsr.py", "--work-dir", work, "--cfg-options", *changes)
    assert status == 1
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in error
    assert not work.exists()


def test_traceback_on_request(tool, tmp_path, monkeypatch):
    arguments = ["train", "configs/tiny/basicvsrr.py", "--work-dir", tmp_path]
    assert "Traceback" not in tool(*arguments)[1]
    assert "Traceback" in tool(*arguments, "--debug")[1]
    monkeypatch.setenv("VSRQ_DEBUG", "1")
    status, error = tool(*arguments)
    assert status == 1
    assert "Traceback" in error
    assert "error: no config file 'configs/tiny/basicvsrr.py'; did you mean 'basicvsr.py'?" in error


class Payload:
    def __reduce__(self):
        return (os.mkdir, (os.environ["VSRQ_TEST_TRAP"],))


@pytest.mark.parametrize("kind", ["missing", "broken", "pickled", "of another network"])
def test_bad_checkpoint_is_one_clear_line_and_nothing_is_overwritten(kind, tool, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("VSRQ_TEST_TRAP", str(tmp_path / "executed"))
    path, network = tmp_path / "weights.pth", "basicvsr"
    if kind == "missing":
        expected = "weights.pth"
    elif kind == "broken":
        path.write_bytes(checkpoint.read_bytes()[:2000])
        expected = "broken"
    elif kind == "pickled":
        torch.save({"state_dict": torch.load(checkpoint, weights_only=True), "extra": Payload()}, path)
        expected = "--trust-checkpoint"
    else:
        path, network, expected = checkpoint, "edvr", "missing"
    out = tmp_path / "metrics.json"
    out.write_text("precious")
    status, error = tool(
        "test",
        f"configs/tiny/{network}.py",
        path,
        "--work-dir",
        tmp_path / "w",
        "--out",
        out,
        "--cfg-options",
        f"experiment_name={uuid.uuid4().hex}",
    )
    assert status == 1
    assert expected in error.splitlines()[-1]
    assert error.splitlines()[-1].startswith("error: ")
    assert out.read_text() == "precious"
    assert not (tmp_path / "executed").exists()


def test_resume_from_a_broken_checkpoint_writes_nothing(tool, tmp_path):
    path = tmp_path / "iter_1.pth"
    path.write_bytes(b"nothing")
    work = tmp_path / "run"
    status, error = tool("train", "configs/tiny/basicvsr.py", "--work-dir", work, "--resume", path, *options())
    assert status == 1
    assert "broken or no PyTorch checkpoint" in error
    assert not work.exists()


def test_unknown_format_of_metrics_is_refused_before_the_work(tool, checkpoint):
    status, error = tool("test", "configs/tiny/basicvsr.py", checkpoint, "--out", "metrics.csv")
    assert status == 1
    assert "'metrics.csv': allowed are files ending in .json" in error


def test_exit_status_reaches_the_shell():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "tools/train.py", "none.py"], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: no config file 'none.py'."
