import pytest
import torch

from vsrq.apis import evaluate, train
from vsrq.errors import CalibrationError, ConfigError


@pytest.mark.parametrize("network", ["basicvsr", "basicvsr_pp", "edvr"])
def test_calibrates_saves_and_evaluates(network, tmp_path):
    config = f"configs/tiny/{network}_res-w4a4_ptq.py"
    train(config, work_dir=str(tmp_path))
    saved = torch.load(tmp_path / "ptq.pth", weights_only=True)["state_dict"]
    scales = [value for key, value in saved.items() if key.endswith("act_quantizer.scale")]
    assert len(scales) > 10
    assert any(scale.item() != 1 for scale in scales)
    metrics = evaluate(config, str(tmp_path / "ptq.pth"), work_dir=str(tmp_path / "test"))
    assert metrics["PSNR"] > 15


def test_the_whole_recipe_runs_from_a_config_and_its_checkpoint_evaluates(tmp_path):
    config = "configs/tiny/basicvsr_w4a4_reconstructed.py"
    train(config, work_dir=str(tmp_path))
    log = "".join(path.read_text() for path in tmp_path.glob("*/*.log"))
    assert "2 pairs of layers equalised" in log
    assert "forward_resblocks.main.2.0: relative error" in log
    assert "biases corrected" in log
    assert evaluate(config, str(tmp_path / "ptq.pth"), work_dir=str(tmp_path / "test"))["PSNR"] > 15


def test_adaptive_bits_and_bounds_are_in_the_checkpoint(tmp_path):
    config = "configs/tiny/basicvsr_adaptive-w4a4_ptq.py"
    train(config, work_dir=str(tmp_path))
    saved = torch.load(tmp_path / "ptq.pth", weights_only=True)["state_dict"]
    low, high = saved["generator.bit_adaptation.bounds"].tolist()
    assert 0 < low < high
    shifts = [int(value) for key, value in saved.items() if key.endswith("layer_shift")]
    assert shifts.count(1) == shifts.count(-1) == len(shifts) // 4 > 0
    assert evaluate(config, str(tmp_path / "ptq.pth"), work_dir=str(tmp_path / "test"))["PSNR"] > 15


def test_ranges_follow_the_signals_asked_for(tmp_path):
    def ranges(name, **options):
        options["model.quant.act.bits"] = 2
        train("configs/tiny/basicvsr_res-w4a4_ptq.py", work_dir=str(tmp_path / name), cfg_options=options)
        saved = torch.load(tmp_path / name / "ptq.pth", weights_only=True)["state_dict"]
        return [value.item() for key, value in saved.items() if key.endswith("conv2.act_quantizer.scale")]

    default, of_float = ranges("default"), ranges("float", **{"train_cfg.signals": "float"})
    assert ranges("quantized", **{"train_cfg.signals": "quantized"}) == default
    assert all(a != b for a, b in zip(default, of_float, strict=True))


def test_nothing_is_saved_when_calibration_fails(tmp_path):
    # one frame is too short: no residual call is ever made
    options = {"train_dataloader.dataset.num_input_frames": 1}
    with pytest.raises(CalibrationError, match="saw no data"):
        train("configs/tiny/basicvsr_res-w4a4_ptq.py", work_dir=str(tmp_path), cfg_options=options)
    assert not (tmp_path / "ptq.pth").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_cfg.passes": 0}, "passes must be 1 or more, got 0"),
        ({"train_cfg.signals": "both"}, "signals"),
        ({"train_cfg.max_clips": 0}, "max_clips must be 1 or more, got 0"),
        ({"train_cfg.max_clip": 2}, "max_clip"),
        ({"train_cfg.reconstruct": dict(iters=3)}, "reconstruct needs `blocks`"),
        ({"train_cfg.reconstruct": dict(blocks=["conv_hr"], iter=3)}, "unknown key 'iter' in reconstruct; did you"),
        ({"train_cfg.reconstruct": dict(blocks=["conv_hr"])}, "remove it or set model.residual=None"),
        ({"train_cfg.equalize": [dict(first="a", last="b")]}, "unknown key 'last' in a pair of equalize"),
        ({"model.residual.rules": [{"pattern": "nothing"}]}, "'nothing' has no effect"),
    ],
)
def test_wrong_settings_are_refused(options, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        train("configs/tiny/basicvsr_res-w4a4_ptq.py", work_dir=str(tmp_path), cfg_options=options)


def test_a_float_model_has_nothing_to_calibrate(tmp_path):
    options = {"train_cfg": dict(type="PTQLoop", _delete_=True), "param_scheduler": None}
    with pytest.raises(ConfigError, match="PTQLoop needs a QuantizedVSR, got FloatVSR"):
        train("configs/tiny/basicvsr.py", work_dir=str(tmp_path), cfg_options=options)
