"""The sensitivity tool on the tiny network, and its rules in a config."""

import json

import cv2
import numpy as np
import pytest
import torch

from vsrq.apis import load_config
from vsrq.apis.sensitivity import analyse, parse_bits
from vsrq.errors import ConfigError
from vsrq.models import BasicVSRNet, QuantizedVSR

CONFIG = "configs/tiny/basicvsr_w4a4_reconstructed.py"
LAYERS = ["conv_hr", "conv_last", "fusion"]


@pytest.fixture
def place(tmp_path):
    """Float weights and a high-resolution clip."""
    texture = np.random.default_rng(0).integers(0, 255, (64, 80, 3), dtype=np.uint8)
    (tmp_path / "clip").mkdir()
    for index in range(2):
        cv2.imwrite(str(tmp_path / "clip" / f"{index:08d}.png"), np.roll(texture, 4 * index, axis=1))
    torch.save(BasicVSRNet(mid_channels=4, num_blocks=1).state_dict(), tmp_path / "float.pth")
    return tmp_path


def run(place, **settings):
    arguments = dict(checkpoint=str(place / "float.pth"), frames=2, crop=64, bits=["3", "8"], layers=LAYERS)
    return analyse(CONFIG, str(place / "clip"), out=str(place / "out"), **{**arguments, **settings})


def test_table_json_plot_and_rules_are_written(place, capsys):
    trials = run(place, budget=30)
    out = place / "out"
    assert {(t.name, t.weight_bits, t.act_bits) for t in trials} == {(n, b, b) for n in LAYERS for b in (3, 8)}
    assert all(trial.noise > 0 for trial in trials)
    table = (out / "sensitivity.md").read_text()
    assert table == capsys.readouterr().out
    assert sum(line.startswith(("| conv", "| fusion")) for line in table.splitlines()) == 3
    kept = json.loads((out / "sensitivity.json").read_text())
    assert len(kept["trials"]) == len(trials)
    bits = kept["allocation"]["bits"]
    rules = load_config(out / "sensitivity_rules.py").mixed_rules
    model = load_config(CONFIG).model
    mixed = QuantizedVSR(model.architecture, quant={**model.quant, "rules": rules})
    made = {row.name: [row.weight_bits, row.act_bits] for row in mixed.layer_table}
    assert {name: made[name] for name in bits} == bits
    assert made["upsample1.upsample_conv"] == [4, 4]  # not tried: as in the config
    assert all(bits == [32, 32] for name, bits in made.items() if name.startswith("spynet"))
    assert not list(out.glob("*.partial*"))


def test_a_budget_that_cannot_be_met_keeps_the_table(place):
    with pytest.raises(ConfigError, match=r"a budget of 2 BOPs/MAC cannot be met; the smallest possible is 9"):
        run(place, budget=2)
    assert (place / "out" / "sensitivity.md").exists()
    assert not (place / "out" / "sensitivity_rules.py").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(bits=["4,8"]), "bits '4,8': allowed are a number as '4'"),
        (dict(frames=1), "frames must be 2 or more, got 1"),
        (dict(crop=30), "crop must be a multiple of 4 from 64 on, got 30"),
    ],
)
def test_bad_values_are_refused(place, settings, message):
    with pytest.raises(ConfigError, match=message):
        run(place, **settings)


def test_configs_without_a_uniform_grid_are_refused(place):
    for config in ("configs/tiny/basicvsr.py", "configs/tiny/basicvsr_nf4.py"):
        with pytest.raises(ConfigError, match="is no experiment on a uniform grid"):
            analyse(config, str(place / "clip"), out=str(place / "out"))


def test_bits_are_read():
    assert [parse_bits(text) for text in ("4", "4/8", " 3 / 6")] == [(4, 4), (4, 8), (3, 6)]
