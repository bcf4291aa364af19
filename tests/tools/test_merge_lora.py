"""LoRA from training to the merged checkpoint, through the tools' functions."""

import uuid

import pytest
import torch
from mmengine.registry import DefaultScope

from tests.engine.conftest import write_clips
from vsrq.apis import evaluate, load_config, train
from vsrq.apis.merging import merge
from vsrq.errors import CheckpointError, ConfigError
from vsrq.models import load_weights
from vsrq.quant import NF4Layer
from vsrq.registry import MODELS


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    root = tmp_path_factory.mktemp("clips")
    write_clips(root, clips=1, frames=3, height=64, width=64)
    return root


@pytest.fixture(autouse=True)
def _clips_as_data(clips, monkeypatch):
    monkeypatch.setenv("VSRQ_DATA", str(clips))


def fit(name, work_dir, **changes):
    options = {"experiment_name": uuid.uuid4().hex, "train_dataloader.dataset.num_input_frames": 2, **changes}
    return train(f"configs/tiny/{name}.py", work_dir=str(work_dir), cfg_options=options)


def score(config, checkpoint, **changes):
    options = {"experiment_name": uuid.uuid4().hex, **changes}
    return evaluate(config, checkpoint, work_dir=str(checkpoint.parent / "test"), cfg_options=options)


def build(config, **changes):
    loaded = load_config(config, changes)
    with DefaultScope.overwrite_default_scope("vsrq"):
        return MODELS.build(loaded.model).generator.eval()


def test_nf4_with_lora_trains_is_scored_and_merges_into_the_float_config(tmp_path):
    config = "configs/tiny/basicvsr_nf4-lora.py"
    runner = fit("basicvsr_nf4-lora", tmp_path)
    last = tmp_path / "iter_4.pth"
    first, final = (torch.load(tmp_path / f"iter_{i}.pth", weights_only=True)["state_dict"] for i in (2, 4))
    moved = {name for name in final if not torch.equal(first[name], final[name])}
    assert moved
    assert all(name.endswith((".lora.up", ".lora.down")) for name in moved)
    trained = {name for name, parameter in runner.model.named_parameters() if parameter.requires_grad}
    assert {name for name in final if ".lora." in name} == trained
    layers = [module for module in runner.model.modules() if isinstance(module, NF4Layer)]
    assert all(final[f"{name}.packed"].dtype == torch.uint8 for name in final_weights(runner.model))
    assert len(layers) == len(list(final_weights(runner.model)))

    metrics = score(config, last)
    merged = tmp_path / "merged.pth"
    assert "load it with the float config" in merge(config, last, merged)
    assert score("configs/tiny/basicvsr.py", merged)["PSNR"] == pytest.approx(metrics["PSNR"], abs=1e-3)


def final_weights(model):
    return (f"{name}.nf4" for name, module in model.named_modules() if isinstance(module, NF4Layer))


def test_a_uniform_grid_with_lora_merges_exactly(tmp_path):
    config = "configs/tiny/basicvsr_w4a8-lora.py"
    fit(
        "basicvsr_w4a8-lora",
        tmp_path,
        **{"train_cfg.max_iters": 2, "val_dataloader": None, "val_evaluator": None, "val_cfg": None},
    )
    changed, merged = build(config), build(config, **{"model.lora": None})
    load_weights(changed, tmp_path / "iter_2.pth")
    assert "model.lora=None" in merge(config, tmp_path / "iter_2.pth", tmp_path / "merged.pth")
    load_weights(merged, tmp_path / "merged.pth")
    clip = torch.rand(1, 2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(changed.upscale(clip), merged.upscale(clip))


def test_plain_nf4_needs_no_calibration_and_its_file_is_small(tmp_path):
    runner = fit("basicvsr_nf4", tmp_path, val_dataloader=None, val_evaluator=None, val_cfg=None)
    packed = torch.load(tmp_path / "ptq.pth", weights_only=True)["state_dict"]
    stored = sum(tensor.numel() * tensor.element_size() for tensor in packed.values())
    plain = build("configs/tiny/basicvsr.py")
    assert stored < 0.16 * 4 * sum(parameter.numel() for parameter in plain.parameters())
    other = build("configs/tiny/basicvsr_nf4.py")
    load_weights(other, tmp_path / "ptq.pth")
    clip = torch.rand(1, 2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(other.upscale(clip), runner.model.generator.eval().upscale(clip))


def test_what_cannot_be_merged_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"saved as \.pth"):
        merge("configs/tiny/basicvsr_nf4-lora.py", "x.pth", "out.onnx")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        merge("configs/tiny/basicvsr_nf4-lora.py", tmp_path / "x.pth", tmp_path / "out.pth")
    weights = tmp_path / "weights.pth"
    torch.save(build("configs/tiny/basicvsr.py").state_dict(), weights)
    with pytest.raises(ConfigError, match="is no quantized experiment"):
        merge("configs/tiny/basicvsr.py", weights, tmp_path / "out.pth")
    assert not (tmp_path / "out.pth").exists()
