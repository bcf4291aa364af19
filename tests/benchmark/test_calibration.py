import argparse
import json

import pytest
from mmengine.config import Config

from vsrq.benchmark import calibration
from vsrq.errors import ConfigError

RENDERED = """
_base_ = ["{root}/configs/tiny/basicvsr_w4a4_reconstructed.py"]
model = dict(quant=dict(weight=dict(bits={bits}), act=dict(bits={bits})))
train_cfg = dict(_delete_=True, type="PTQLoop", max_clips=2)
train_dataloader = dict(
    _delete_=True,
    num_workers=0,
    batch_size=1,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="SyntheticClips", num_clips=4, num_frames=2, size=64,
        pipeline=[dict(type="MATLABBicubic", scale=0.25), dict(type="PackInputs")],
    ),
)
"""


@pytest.fixture
def arguments(data, pytestconfig):
    configs = []
    for bits in (8, 2):
        path = data / f"w{bits}.py"
        path.write_text(RENDERED.format(root=pytestconfig.rootpath, bits=bits))
        configs.append(str(path))
    parser = argparse.ArgumentParser()
    calibration.add_arguments(parser)
    given = ["--configs", *configs, "--seeds", "3", "--clips", "calendar", "--frames", "2", "--crop", "96"]
    return parser.parse_args([*given, "--work-dir", str(data / "work")])


def test_every_experiment_is_calibrated_once_and_scored(arguments, data, capsys, monkeypatch):
    assert calibration.main(arguments) == 0
    table = (data / "work" / "calibration.md").read_text()
    assert capsys.readouterr().out.endswith(table)
    rows = json.loads((data / "work" / "calibration.json").read_text())
    assert [(row["config"], row["data"], len(row["psnr_y"])) for row in rows] == [
        ("w8", "SyntheticClips", 1),
        ("w2", "SyntheticClips", 1),
    ]
    assert all((data / "work" / name / "ptq.pth").is_file() for name in ("w8_seed3", "w2_seed3"))
    scores = [row["psnr_y"][0]["calendar"] for row in rows]
    assert f"{scores[1] - scores[0]:+.2f} |" in table
    monkeypatch.setattr(calibration, "train", lambda *args, **kwargs: pytest.fail("calibrated again"))
    calibration.main(arguments)
    assert (data / "work" / "calibration.md").read_text() == table


def test_the_table_tells_the_spread_between_seeds():
    rows = [
        dict(config="real", data="Videos", psnr_y=[dict(a=30.0, b=20.0), dict(a=31.0, b=22.0)]),
        dict(config="rendered", data="Clips", psnr_y=[dict(a=29.0, b=20.0), dict(a=29.0, b=20.0)]),
    ]
    text = calibration.markdown(rows, argparse.Namespace(frames=2, crop=None, seeds=[0, 1]))
    assert "| real | Videos | 30.50 | 21.00 | 25.75 | 1.50 | +0.00 |" in text
    assert "| rendered | Clips | 29.00 | 20.00 | 24.50 | 0.00 | -1.25 |" in text


def test_only_post_training_experiments_are_compared(arguments):
    arguments.configs = ["configs/tiny/basicvsr.py"]
    with pytest.raises(ConfigError, match="trains by IterBasedTrainLoop; only experiments with a PTQLoop"):
        calibration.main(arguments)
    arguments.configs = ["configs/tiny/basicvsr.py"] * 2
    with pytest.raises(ConfigError, match="give each experiment once"):
        calibration.main(arguments)


def test_the_default_compares_real_with_rendered_clips():
    kinds = [Config.fromfile(config).train_dataloader.dataset.type for config in calibration.CONFIGS]
    assert kinds == ["BasicFramesDataset", "SyntheticClips"]
    first, second = (Config.fromfile(config) for config in calibration.CONFIGS)
    assert first.model == second.model
    assert first.train_cfg == second.train_cfg
