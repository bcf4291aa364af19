"""Depth-dynamic networks: what is skipped, what it costs, and that nothing else changes."""

import copy
from types import SimpleNamespace

import pytest
import torch

from tests.models.test_quantized_vsr import FLOAT, clip, rules, wake_offsets
from vsrq.deploy.parity import run_graphs, worst_psnr
from vsrq.deploy.torch_backend import TorchSteps
from vsrq.errors import ConfigError
from vsrq.models import FloatVSR, QuantizedVSR
from vsrq.models.checkpoint import load_weights
from vsrq.models.depth import DepthBlock, skipped_layers
from vsrq.quant import QuantLayer, calibrate

GENERATORS = {
    "basicvsr": dict(type="BasicVSRNet", mid_channels=4, num_blocks=4),
    "basicvsr_pp": dict(type="BasicVSRPlusPlusNet", mid_channels=16, num_blocks=4),
    "edvr": dict(
        type="EDVRNet",
        in_channels=3,
        out_channels=3,
        mid_channels=8,
        num_frames=3,
        deform_groups=2,
        num_blocks_extraction=1,
        num_blocks_reconstruction=4,
        center_frame_idx=1,
    ),
}
COUNTS = {"basicvsr": [4, 4], "basicvsr_pp": [4, 4, 4, 4, 5], "edvr": [4]}


def architecture(name):
    return dict(type="FloatVSR", generator=GENERATORS[name], pixel_loss=dict(type="CharbonnierLoss"))


def build(name, bits=32, **settings):
    torch.manual_seed(3)
    quant = FLOAT if bits == 32 else dict(weight=dict(bits=bits), act=dict(bits=bits), rules=rules(name))
    return wake_offsets(QuantizedVSR(architecture(name), quant=quant, **{"depth": {}, **settings})).eval()


def shuffled(model, seed=0):
    """Shortcuts that differ, so that ranks and depths matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, DepthBlock):
                module.shortcut.fill_(0.5 + torch.rand((), generator=generator).item())
    model.depth.rank()
    return model


def float_vsr(name):
    return wake_offsets(FloatVSR(**{k: v for k, v in architecture(name).items() if k != "type"})).eval()


def frames(name):
    """The smallest clip that is not padded."""
    return clip(3, size=64 if name == "basicvsr_pp" else 32)


def losses(model, x):
    target = torch.zeros(*x.shape[:3], *(4 * size for size in x.shape[-2:]))
    return model.forward_train(x, SimpleNamespace(get=lambda key: target))


@pytest.mark.parametrize("name", GENERATORS)
@torch.no_grad()
def test_official_checkpoints_load_and_nothing_changes_at_full_depth(name, tmp_path):
    reference = float_vsr(name)
    torch.save(reference.generator.state_dict(), tmp_path / "float.pth")
    model = QuantizedVSR(architecture(name), FLOAT, depth={}, float_checkpoint=str(tmp_path / "float.pth")).eval()
    x = frames(name)
    assert torch.equal(model.upscale(x), reference.upscale(x))
    own = {key for key in model.generator.state_dict() if "quantizer" not in key}
    extra = own - set(reference.generator.state_dict())
    assert {key.rpartition(".")[2] for key in extra} == {"shortcut", "rank"}
    assert len(extra) == 2 * sum(COUNTS[name])
    assert own > set(reference.generator.state_dict())


@pytest.mark.parametrize("name", GENERATORS)
@torch.no_grad()
def test_a_doubled_network_computes_what_the_single_one_did(name, tmp_path):
    reference = float_vsr(name)
    torch.save(reference.generator.state_dict(), tmp_path / "float.pth")
    settings = dict(depth=dict(double=True), float_checkpoint=str(tmp_path / "float.pth"))
    model = QuantizedVSR(architecture(name), FLOAT, **settings).eval()
    assert [len(blocks) for blocks in model.depth.blocks.values()] == [2 * n for n in COUNTS[name]]
    assert [len(kept) for kept in model.depth.kept("half").values()] == COUNTS[name]
    x = frames(name)
    assert torch.equal(model.upscale(x), reference.upscale(x))


def test_the_blocks_that_were_added_learn_at_low_bits_and_are_part_of_the_checkpoint(tmp_path):
    model = build("basicvsr", bits=4, depth=dict(double=True))
    x = frames("basicvsr")
    calibrate(model, lambda: model.upscale(x))
    optimizer = torch.optim.SGD(model.generator.parameters(), lr=1.0)
    for _ in range(2):  # the factors move first, then the weights behind them
        optimizer.zero_grad()
        losses(model, x)["loss"].backward()
        optimizer.step()
    twin = model.depth.blocks["forward_resblocks.main.2"][1]
    assert twin.res_scale.item() != 0
    assert twin.conv2.weight.grad.abs().max() > 0
    torch.save(model.generator.state_dict(), tmp_path / "doubled.pth")
    other = build("basicvsr", bits=4, depth=dict(double=True))
    load_weights(other.generator, tmp_path / "doubled.pth")
    with torch.no_grad():
        assert torch.equal(other.eval().upscale(x), model.eval().upscale(x))


def test_whether_to_double_is_a_yes_or_no():
    with pytest.raises(ConfigError, match=r"depth\.double must be True or False, got 2"):
        build("basicvsr", depth=dict(double=2))


@pytest.mark.parametrize("name", GENERATORS)
def test_trunks_of_every_network(name):
    model = build(name)
    assert [len(blocks) for blocks in model.depth.blocks.values()] == COUNTS[name]
    assert [len(kept) for kept in model.depth.kept("half").values()] == [-(-n // 2) for n in COUNTS[name]]
    assert [len(kept) for kept in model.depth.kept("quarter").values()] == [-(-n // 4) for n in COUNTS[name]]


@torch.no_grad()
def test_blocks_with_the_largest_shortcuts_are_skipped_and_leave_their_shortcut():
    model = build("basicvsr")
    blocks = model.depth.blocks["forward_resblocks.main.2"]
    for block, value in zip(blocks, (1.3, 0.9, -1.4, 1.0), strict=True):
        block.shortcut.fill_(value)
    model.depth.rank()
    assert model.depth.kept("half")["forward_resblocks.main.2"] == [1, 3]
    assert model.depth.kept("quarter")["forward_resblocks.main.2"] == [1]
    assert model.depth.kept("half")["backward_resblocks.main.2"] == [0, 1]  # all alike: the first ones stay
    model.set_depth("half")
    x = torch.randn(1, 4, 8, 8)
    assert torch.equal(blocks[0](x), blocks[0].shortcut * x)
    expected = x
    for block in blocks:
        inside = 0 if block in (blocks[0], blocks[2]) else block.conv2(torch.relu(block.conv1(expected)))
        expected = block.shortcut * expected + inside
    trunk = model.generator.forward_resblocks.main[2]
    assert torch.allclose(trunk(x), expected, atol=1e-6)


def test_a_skipped_block_equals_one_whose_last_convolution_is_zero():
    block = build("basicvsr").depth.blocks["forward_resblocks.main.2"][1]
    with torch.no_grad():
        block.shortcut.fill_(0.7)
        zeroed = copy.deepcopy(block)
        zeroed.conv2.weight.zero_()
        zeroed.conv2.bias.zero_()
    block.keep = 1
    x = torch.randn(2, 4, 6, 6, requires_grad=True)
    (gradient,) = torch.autograd.grad(block(x).square().sum(), x)
    (expected,) = torch.autograd.grad(zeroed(x).square().sum(), x)
    assert torch.equal(block(x), zeroed(x))
    assert torch.equal(gradient, expected)


@pytest.mark.parametrize("name", GENERATORS)
@torch.no_grad()
def test_skipped_blocks_cost_nothing(name):
    x = frames(name)
    model = shuffled(build(name))
    full, output = model.cost(x)
    model.set_depth("half")
    half, other = model.cost(x)
    skipped = [f"{trunk}.{i}" for trunk, n in zip(model.depth.blocks, COUNTS[name], strict=True) for i in range(n)]
    skipped = {block for block in skipped if int(block.split(".")[-1]) not in _kept(model, block)}
    saved = [layer for layer in full.layers if layer.name.rpartition(".")[0] in skipped]
    assert len(saved) == 2 * len(skipped) == len(skipped_layers(model.generator))
    assert half.macs() == full.macs() - sum(layer.macs for layer in saved)
    weights = sum(module.weight.numel() + module.bias.numel() for module in skipped_layers(model.generator))
    assert full.storage_bits - half.storage_bits == 32 * weights
    assert not torch.equal(output, other)
    model.set_depth("full")
    assert torch.equal(model.cost(x)[1], output)


def _kept(model, block):
    return model.depth.kept("half")[block.rpartition(".")[0]]


@torch.no_grad()
def test_quantized_layers_of_skipped_blocks_are_not_stored():
    model = build("basicvsr", bits=4)
    x = frames("basicvsr")
    calibrate(model, lambda: model.upscale(x))
    full = model.cost(x)[0]
    model.set_depth("half")
    half = model.cost(x)[0]
    layers = skipped_layers(model.generator)
    assert all(isinstance(layer, QuantLayer) for layer in layers)
    # 4-bit weights, 32-bit biases, 32-bit scales per output channel; 40 bits of scale and zero point per input
    expected = sum(4 * layer.weight.numel() + 64 * layer.bias.numel() + 40 for layer in layers)
    assert full.storage_bits - half.storage_bits == expected


@torch.no_grad()
def test_ranks_travel_with_checkpoints(tmp_path):
    first, second = shuffled(build("basicvsr")), build("basicvsr")
    torch.save({"state_dict": first.state_dict()}, tmp_path / "trained.pth")
    second.set_depth("half")
    load_weights(second.generator, tmp_path / "trained.pth")
    first.set_depth("half")
    assert second.depth.kept("half") == first.depth.kept("half")
    assert first.depth.kept("half") != build("basicvsr").depth.kept("half")
    assert torch.equal(second.upscale(clip(2, size=32)), first.upscale(clip(2, size=32)))


@torch.no_grad()
def test_a_copy_has_a_depth_of_its_own():
    model = shuffled(build("basicvsr"))
    copied = copy.deepcopy(model)
    copied.set_depth("quarter")
    assert model.depth.current == "full"
    assert not skipped_layers(model.generator)
    assert len(skipped_layers(copied.generator)) == 2 * 2 * 3


@torch.no_grad()
@pytest.mark.parametrize("name", GENERATORS)
def test_exported_steps_have_the_chosen_depth(name):
    model = shuffled(build(name))
    x = frames(name)
    results = {}
    for depth in ("full", "quarter"):
        model.set_depth(depth)
        steps = TorchSteps(model.generator)
        output = run_graphs(steps.plan, steps.load(*x.shape[-2:]), x[0])
        results[depth] = output
        assert worst_psnr(output, model.upscale(x)[0]) > 100
    assert worst_psnr(results["full"], results["quarter"]) < 100


def test_joint_training_takes_the_mean_of_the_depths_and_shares_weights():
    x = clip(2, size=32)
    model = shuffled(build("basicvsr")).train()
    names = ("full", "half", "quarter")
    alone = {}
    for name in names:
        with model.depth.at(name):
            alone[name] = losses(model, x)["loss"]
    expected = torch.stack(list(alone.values())).mean()
    gradients = torch.autograd.grad(expected, list(model.parameters()))
    model.depth.trained = names
    found = losses(model, x)
    assert model.depth.current == "full"
    assert torch.allclose(found["loss"], expected)
    for name in names:
        assert torch.equal(found[f"depth_{name}"], alone[name].detach())
    for a, b in zip(gradients, torch.autograd.grad(found["loss"], list(model.parameters())), strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-7)


def test_shortcuts_learn_in_quantized_networks():
    x = clip(2, size=32)
    model = shuffled(build("basicvsr", bits=4))
    calibrate(model, lambda: model.upscale(x))
    model.train().depth.trained = ("full", "half")
    losses(model, x)["loss"].backward()
    for blocks in model.depth.blocks.values():
        assert all(block.shortcut.grad.abs() > 0 for block in blocks)
        assert all(block.conv1.weight.grad.abs().sum() > 0 for block in blocks)


def test_gradient_checkpointing_goes_back_at_the_depth_of_the_forward_pass():
    x = clip(3, size=32)
    results = []
    for checkpoint_steps in (False, True):
        model = shuffled(build("basicvsr", bits=4, checkpoint_steps=checkpoint_steps))
        calibrate(model, lambda: model.upscale(x))  # noqa: B023
        model.train().depth.trained = ("full", "quarter")
        losses(model, x)["loss"].backward()
        assert model.depth.current == "full"
        results.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert results[0].keys() == results[1].keys()
    for name in results[0]:
        assert torch.allclose(results[0][name], results[1][name], rtol=1e-3, atol=1e-6), name


def test_distillation_compares_every_depth(tmp_path):
    x = clip(2, size=32)
    torch.save(float_vsr("basicvsr").generator.state_dict(), tmp_path / "float.pth")
    settings = dict(
        float_checkpoint=str(tmp_path / "float.pth"), distill=dict(losses=[dict(type="OutputDistillation")])
    )
    model = shuffled(build("basicvsr", **settings)).train()
    key = "loss_OutputDistillation_float"
    alone = []
    for name in ("full", "half"):
        with model.depth.at(name):
            alone.append(losses(model, x)[key])
    model.depth.trained = ("full", "half")
    assert torch.allclose(losses(model, x)[key], torch.stack(alone).mean())


@torch.no_grad()
def test_temporal_residuals_work_at_every_depth():
    x = clip(4, size=32)
    model = shuffled(build("basicvsr", residual=FLOAT))
    plain = shuffled(build("basicvsr"))
    for name in ("full", "half"):
        model.set_depth(name)
        plain.set_depth(name)
        assert (model.upscale(x) - plain.upscale(x)).abs().max() < 1e-5


@torch.no_grad()
def test_further_depths_are_registered_by_config_or_call():
    model = build("basicvsr", depth=dict(depths=dict(three=0.75), use="three", trunks=["forward_*"]))
    assert model.depth.current == "three"
    assert model.depth.kept("three") == {"forward_resblocks.main.2": [0, 1, 2]}
    model.depth.register("one", 0.01)
    model.set_depth("one")
    assert model.depth.kept("one") == {"forward_resblocks.main.2": [0]}


@pytest.mark.parametrize(
    ("depth", "message"),
    [
        (dict(use="hafl"), "unknown depth 'hafl'; did you mean 'half'.*Allowed: full, half, quarter"),
        (dict(depths=dict(none=0)), r"depth 'none' must be a share of the blocks in \(0, 1\], got 0"),
        (dict(depths=dict(more=1.5)), r"depth 'more' must be a share .* got 1.5"),
        (dict(depths=dict(full=0.5)), "depth 'full' is all blocks, got 0.5"),
        (dict(trunks=["backbone*"]), "depth.trunks: 'backbone\\*' is no sequence of residual blocks of BasicVSRNet"),
        (dict(depth="half"), "unknown key 'depth' in depth; did you mean 'depths'"),
    ],
)
def test_wrong_settings_are_refused(depth, message):
    with pytest.raises(ConfigError, match=message):
        build("basicvsr", depth=depth)


def test_a_network_of_one_depth_says_so():
    model = build("basicvsr", depth=None)
    model.set_depth("full")
    with pytest.raises(ConfigError, match="depth 'half': this network has one depth"):
        model.set_depth("half")
