"""An interrupted and resumed run ends exactly where an uninterrupted one does."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.engine.conftest import Interrupted

EXACT = ("state_dict", "optimizer", "param_schedulers", "vsrq_resume")


def load(path):
    # Without any class allowed: checkpoints written by vsrq hold tensors and plain values only.
    return torch.load(path, weights_only=True)


def differences(a, b, place=""):
    if isinstance(a, torch.Tensor):
        return [] if torch.equal(a, b) else [place]
    if isinstance(a, dict):
        if a.keys() != b.keys():
            return [f"{place}: {a.keys() ^ b.keys()}"]
        return [d for key in a for d in differences(a[key], b[key], f"{place}.{key}")]
    if isinstance(a, list | tuple):
        if len(a) != len(b):
            return [place]
        return [d for i, (x, y) in enumerate(zip(a, b, strict=True)) for d in differences(x, y, f"{place}[{i}]")]
    return [] if a == b else [f"{place}: {a} != {b}"]


def assert_same_run(a, b):
    for part in EXACT:
        assert differences(a[part], b[part], part) == []
    losses = [c["message_hub"]["log_scalars"]["train/loss"]["values"] for c in (a, b)]
    assert torch.equal(*losses)
    assert a["meta"]["iter"] == b["meta"]["iter"]


@pytest.mark.parametrize("network", ["basicvsr", "basicvsr_pp", "edvr"])
def test_resumed_run_equals_uninterrupted_run(network, fit, tmp_path):
    options = {"default_hooks.checkpoint.interval": 1, "train_dataloader.dataset.num_input_frames": 2}
    if network == "edvr":
        options["train_dataloader.dataset.num_input_frames"] = 3
    fit(network, tmp_path / "whole", iters=3, options=options)
    with pytest.raises(Interrupted):
        fit(network, tmp_path / "parts", iters=3, stop_before=2, options=options)
    # Whatever the process draws in between must not matter.
    random.random(), np.random.rand(3), torch.rand(3)
    fit(network, tmp_path / "parts", iters=3, resume="auto", options=options)
    whole = load(tmp_path / "whole/iter_3.pth")
    assert_same_run(whole, load(tmp_path / "parts/iter_3.pth"))
    early = load(tmp_path / "whole/iter_1.pth")["state_dict"]
    assert differences(early, whole["state_dict"]) != []  # it did train
    records = [
        json.loads(line) for p in tmp_path.glob("parts/*/vis_data/scalars.json") for line in p.read_text().splitlines()
    ]
    assert {1, 2, 3} <= {record["step"] for record in records if "loss" in record}


def test_resume_is_exact_in_the_frozen_phase_and_without_configured_seed(fit, tmp_path):
    options = {"randomness": {"_delete_": True, "seed": None}, "default_hooks.checkpoint.interval": 1}
    options["custom_hooks"] = [{"type": "FreezeHook", "iters": 3, "freeze": ["*spynet*"]}]
    fit("basicvsr", tmp_path / "whole", options={**options, "randomness": {"seed": 7}})
    with pytest.raises(Interrupted):
        fit("basicvsr", tmp_path / "parts", stop_before=1, options={**options, "randomness": {"seed": 7}})
    # The seed is not given again: it comes from the checkpoint.
    fit("basicvsr", tmp_path / "parts", resume=str(tmp_path / "parts/iter_1.pth"), options=options)
    steps = [load(tmp_path / f"parts/iter_{i}.pth")["state_dict"] for i in (1, 2, 3, 4)]
    spynet = [{k: v for k, v in step.items() if "spynet" in k and "bias" in k} for step in steps]
    assert differences(spynet[0], spynet[2]) == []
    assert differences(spynet[2], spynet[3]) != []
    assert_same_run(load(tmp_path / "whole/iter_4.pth"), load(tmp_path / "parts/iter_4.pth"))


def test_loader_workers_change_nothing(fit, tmp_path):
    fit("basicvsr", tmp_path / "none", iters=2)
    with pytest.raises(Interrupted):
        fit("basicvsr", tmp_path / "two", iters=2, stop_before=1, options={"default_hooks.checkpoint.interval": 1})
    fit("basicvsr", tmp_path / "two", iters=2, resume="auto", options={"train_dataloader.num_workers": 2})
    parts = [load(tmp_path / name / "iter_2.pth")["state_dict"] for name in ("none", "two")]
    assert differences(*parts) == []


def test_validation_does_not_disturb_the_random_state(clips, tmp_path):
    from vsrq.apis import train

    states = []
    for interval in (1, 100):
        options = {
            "train_cfg.max_iters": 2,
            "train_cfg.val_interval": interval,
            "val_dataloader.dataset.num_input_frames": 1,
            "experiment_name": f"val{interval}",
        }
        train("configs/tiny/edvr.py", work_dir=str(tmp_path / str(interval)), cfg_options=options)
        states.append(load(tmp_path / str(interval) / "iter_2.pth"))
    assert differences(states[0]["state_dict"], states[1]["state_dict"]) == []
    assert differences(states[0]["vsrq_resume"], states[1]["vsrq_resume"]) == []


def scheduler(length, kind="CosineAnnealingLR"):
    if kind == "CosineRestartLR":
        return {"type": kind, "by_epoch": False, "periods": [length], "restart_weights": [1], "eta_min": 1e-7}
    return {"type": kind, "by_epoch": False, "T_max": length, "eta_min": 1e-7}


@pytest.mark.parametrize("kind", ["CosineAnnealingLR", "CosineRestartLR"])
def test_longer_schedule_takes_effect_on_resume_and_is_announced(kind, fit, tmp_path):
    def options(length):
        return {"param_scheduler": {"_delete_": True, **scheduler(length, kind)}, "custom_hooks": []}

    fit("basicvsr", tmp_path / "long", iters=4, options=options(6))
    fit("basicvsr", tmp_path / "short", iters=2, options=options(2))
    fit("basicvsr", tmp_path / "short", iters=4, resume="auto", options=options(6))
    rates = [
        [group["lr"] for group in load(tmp_path / name / "iter_4.pth")["optimizer"]["param_groups"]]
        for name in ("long", "short")
    ]
    assert rates[0] == pytest.approx(rates[1], rel=1e-9)
    log = "".join(p.read_text() for p in Path(tmp_path / "short").glob("*/*.log"))
    assert f"{kind} differs from the checkpoint's" in log
    assert "end 2 -> 4" in log


def test_schedule_shorter_than_the_training_is_announced(fit, tmp_path):
    fit("basicvsr", tmp_path, iters=2, options={"param_scheduler.periods": [1], "custom_hooks": []})
    log = "".join(p.read_text() for p in tmp_path.glob("*/*.log"))
    assert "CosineRestartLR ends at iteration 1, training at 2" in log


def test_resume_of_a_foreign_checkpoint_says_that_it_is_not_exact(fit, tmp_path):
    fit("basicvsr", tmp_path, iters=2)
    checkpoint = load(tmp_path / "iter_2.pth")
    del checkpoint["vsrq_resume"]
    torch.save(checkpoint, tmp_path / "foreign.pth")
    fit("basicvsr", tmp_path / "next", iters=3, resume=str(tmp_path / "foreign.pth"))
    log = "".join(p.read_text() for p in tmp_path.glob("next/*/*.log"))
    assert "no random state" in log
    assert "Skipping the 2 batches" in log
