"""The ablation: every recipe is really trained, over the same seeds, and its spread is told."""

import argparse
import json

import pytest
import torch

from vsrq.apis.config import load_config
from vsrq.benchmark import ablation
from vsrq.errors import ConfigError
from vsrq.models import BasicVSRNet

EXPERIMENT = """
_base_ = ["{root}/configs/_base_/models/basicvsr_tiny.py", "{root}/configs/_base_/schedules/tuned_cpu.py"]
model = dict(
    _delete_=True,
    type="QuantizedVSR",
    architecture=_base_.model | dict(pixel_loss=dict(type="CharbonnierLoss", loss_weight=0.0)),
    float_checkpoint="{weights}",
    quant=dict(
        weight=dict(type="LSQ", bits=4, axis=0),
        act=dict(type="LSQPlus", bits=4),
        rules=[dict(pattern="spynet.*", quantize=False)],
    ),
    distill=dict(losses=[dict(type="OutputDistillation")]),
)
custom_hooks = [
    dict(type="CalibrationHook", max_clips=1),
    dict(type="FreezeHook", begin=240, iters=None, freeze=["*quantizer*.factor"]),
]
train_dataloader = dict(
    num_workers=0,
    batch_size=1,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="SyntheticClips", num_clips=4, num_frames=2, size=64,
        pipeline=[dict(type="MATLABBicubic", scale=0.25), dict(type="PackInputs")],
    ),
)
"""
RECIPES = ["STE, calibrated steps", "LSQ, LSQ+ activations, per channel", "best, ground truth alone"]


@pytest.fixture
def args(data, request):
    torch.manual_seed(0)
    config = load_config("configs/_base_/models/basicvsr_tiny.py").model.generator
    tiny = BasicVSRNet(**{key: value for key, value in config.items() if key != "type"})
    torch.save(tiny.state_dict(), data / "net.pth")
    torch.save(BasicVSRNet().state_dict(), data / "flow.pth")
    path = data / "tuned.py"
    path.write_text(EXPERIMENT.format(root=request.config.rootpath, weights=data / "net.pth"))
    parser = argparse.ArgumentParser()
    ablation.add_arguments(parser)
    given = ["--config", str(path), "--iters", "2", "--seeds", "0", "1", "--clips", "calendar", "--frames", "2"]
    given += ["--crop", "96", "--work-dir", str(data / "work"), "--flow-checkpoint", str(data / "flow.pth")]
    return parser.parse_args([*given, "--recipes", *RECIPES])


def test_every_recipe_is_trained_once_per_seed_and_scored(args, data, capsys, monkeypatch):
    assert ablation.main(args) == 0
    table = (data / "work" / "ablation.md").read_text()
    assert capsys.readouterr().out.endswith(table)
    rows = json.loads((data / "work" / "ablation.json").read_text())
    assert list(rows) == RECIPES
    assert all([row["seed"] for row in found] == [0, 1] for found in rows.values())
    scores = [row["scores"]["calendar"]["psnr_y"] for found in rows.values() for row in found]
    assert len(set(scores)) == len(scores)  # no two runs are the same
    assert not (data / "work" / "run").exists()
    monkeypatch.setattr(ablation, "train", lambda *args, **kwargs: pytest.fail("trained again"))
    ablation.main(args)
    assert (data / "work" / "ablation.md").read_text() == table


def test_no_time_no_runs(args, data):
    args.time_limit = 0.0
    ablation.main(args)
    assert json.loads((data / "work" / "ablation.json").read_text()) == {}


def test_the_schedule_is_squeezed_into_the_iterations(args):
    options = ablation._schedule(load_config(args.config), 30, ["*quantizer*.factor"])
    assert options["train_cfg.max_iters"] == 30
    assert options["custom_hooks"][1]["begin"] == 24
    warmup, cosine = options["param_scheduler"]
    assert (warmup["end"], cosine["begin"], cosine["end"], cosine["T_max"]) == (2, 2, 30, 28)


def test_nothing_is_frozen_that_a_recipe_does_not_have(args):
    learned = {name: recipe.learned() for name, recipe in ablation.RECIPES.items()}
    assert learned["STE, calibrated steps"] == []
    assert learned["RLQ as published"] == ["*quantizer*.factor"]
    assert learned["LSQ, LSQ+ activations, per channel"] == ["*quantizer*.factor", "*quantizer*.offset"]
    hooks = ablation._schedule(load_config(args.config), 30, [])["custom_hooks"]
    assert [hook["type"] for hook in hooks] == ["CalibrationHook"]


def row(seed, *psnr):
    clips = ("calendar", "foliage")
    return dict(seed=seed, scores={clip: dict(psnr_y=p, e_warp=0.001) for clip, p in zip(clips, psnr, strict=True)})


def test_changes_are_taken_seed_by_seed():
    rows = {"first": [row(0, 30, 20), row(1, 31, 22)], "second": [row(0, 31, 20), row(1, 33, 22)]}
    given = dict(config="c.py", bits=4, iters=9, frames=2, crop=None, clips=["calendar", "foliage"])
    text = ablation.markdown(rows, argparse.Namespace(**given))
    assert "| first | 30.50 | 21.00 | 25.75 | 1.50 | +0.00 (+0.00 to +0.00) | 1.000 | 2 |" in text
    assert "| second | 32.00 | 21.00 | 26.50 | 2.00 | +0.75 (+0.50 to +1.00) | 1.000 | 2 |" in text


def test_the_ground_truth_alone_has_a_loss():
    options = ablation.RECIPES["best, ground truth alone"].options(4)
    assert options["model.distill"] is None
    assert options["model.architecture.pixel_loss.loss_weight"] == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(recipes=["LSQ+"]), "unknown recipe 'LSQ\\+'"),
        (dict(iters=0), "--iters 0 must be 1 or more"),
        (dict(frames=1), "--frames 1 2 or more"),
    ],
)
def test_wrong_arguments_are_refused(args, change, message):
    vars(args).update(change)
    with pytest.raises(ConfigError, match=message):
        ablation.main(args)
