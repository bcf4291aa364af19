"""NF4 storage and LoRA in whole networks."""

import pytest
import torch

from tests.models.test_quantized_vsr import NETWORKS, architecture, clip, float_model
from vsrq.errors import ConfigError
from vsrq.models import QuantizedVSR
from vsrq.quant import merge_lora
from vsrq.quant.lora import LoRA


def stored(name, reference=None, tmp_path=None, **settings):
    if reference is not None:
        path = tmp_path / "float.pth"
        torch.save(reference.generator.state_dict(), path)
        settings["float_checkpoint"] = str(path)
    return QuantizedVSR(architecture(name), nf4=dict(block=64), **settings).eval()


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_storage_shrinks_and_operations_do_not(name, tmp_path):
    reference = float_model(name)
    model, x = stored(name, reference, tmp_path), clip(2)[:, : 3 if name == "edvr" else 2]
    report, output = model.cost(x)
    kinds = {kind for layer in report.layers for kind in layer.calls}
    assert kinds <= {"weight-only", "float"}
    assert report.bops_per_mac() == 1024
    assert report.parameters == sum(p.numel() for p in reference.generator.parameters())
    assert report.bits_per_parameter < 12  # biases and deformable convolutions stay float
    merge_lora(model.generator)  # without LoRA: back to float layers
    reference.generator.load_state_dict(model.generator.state_dict())
    assert torch.equal(reference.upscale(x), output)


def gradients(model, x):
    model.zero_grad()
    model.forward_train(x, FakeSample(x))["loss"].backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


class FakeSample:
    def __init__(self, x):
        n, t, c, h, w = x.shape
        self.target = torch.rand(n, t, c, 4 * h, 4 * w, generator=torch.Generator().manual_seed(0))

    def get(self, key):
        return self.target


def test_only_low_rank_changes_get_gradients_also_when_steps_are_checkpointed():
    x = clip(2, size=32)
    lora = dict(rank=2, rules=[dict(pattern="spynet.*", lora=False)])
    plain, saving = stored("basicvsr", lora=lora), stored("basicvsr", lora=lora, checkpoint_steps=True)
    for module in plain.modules():
        if isinstance(module, LoRA):
            torch.nn.init.normal_(module.up, std=0.02)
    saving.load_state_dict(plain.state_dict())
    found = gradients(plain, x)
    assert found
    assert all(".lora." in name for name in found)
    assert {name.partition(".")[2].partition(".")[0] for name in found} >= {"conv_hr", "backward_resblocks"}
    again = gradients(saving, x)
    assert found.keys() == again.keys()
    for name, gradient in found.items():
        assert torch.allclose(gradient, again[name], rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(), r"either quant=dict\(\.\.\.\) or nf4=dict"),
        (dict(nf4={}, quant={}), r"either quant=dict\(\.\.\.\) or nf4=dict"),
        (dict(nf4={}, residual={}), "residuals would save nothing"),
        (dict(nf4=dict(blocks=64)), "'blocks' in nf4; did you mean 'block'"),
        (dict(nf4={}, lora=dict(rnk=3)), "'rnk' in lora; did you mean 'rank'"),
        (
            dict(nf4={}, lora=dict(rank=8)),
            r"layer spynet\.basic_module\.0\.basic_module\.4\.conv: rank must be .* 1 to 2",
        ),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        QuantizedVSR(architecture("basicvsr"), **settings)
