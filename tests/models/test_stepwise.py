"""The step-wise networks equal mmagic's own forward."""

import fnmatch

import pytest
import torch
from torch import nn

import vsrq.models
from vsrq.errors import ConfigError, DataError
from vsrq.models.stepwise import StepwiseVSR
from vsrq.registry import MODELS

from mmagic.models import editors  # isort: skip  # importable only after vsrq.registry

TINY = {
    "basicvsr": dict(type="BasicVSRNet", mid_channels=8, num_blocks=1),
    "basicvsr++": dict(type="BasicVSRPlusPlusNet", mid_channels=8, num_blocks=1),
    "basicvsr++-same-size": dict(type="BasicVSRPlusPlusNet", mid_channels=8, num_blocks=1, is_low_res_input=False),
    "edvr-tsa": dict(
        type="EDVRNet",
        in_channels=3,
        out_channels=3,
        mid_channels=8,
        deform_groups=2,
        num_blocks_extraction=1,
        num_blocks_reconstruction=1,
        with_tsa=True,
    ),
    "edvr": dict(
        type="EDVRNet",
        in_channels=3,
        out_channels=3,
        mid_channels=8,
        deform_groups=2,
        num_blocks_extraction=1,
        num_blocks_reconstruction=1,
        with_tsa=False,
    ),
}
RECURRENT = ["basicvsr", "basicvsr++"]


def build(name):
    """Build a network and mmagic's own with the same random weights; offsets are not left at zero."""
    config = dict(TINY[name])
    torch.manual_seed(1)
    net = MODELS.build(config | {"_scope_": "vsrq"}).eval()
    for module_name, module in net.named_modules():
        if fnmatch.fnmatch(module_name, "*conv_offset*") and isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.05)
            nn.init.normal_(module.bias, std=0.1)
    reference = getattr(editors, config.pop("type"))(**config).eval()
    reference.load_state_dict(net.state_dict(), strict=True)
    return net, reference


def clip(*shape):
    return torch.rand(*shape)


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("name", TINY)
def test_networks_are_found_by_mmagics_names_and_keep_its_parameters(name):
    net, reference = build(name)
    assert isinstance(net, StepwiseVSR)
    assert type(net) is not type(reference)
    assert isinstance(net, type(reference))
    assert [(k, v.shape) for k, v in net.state_dict().items()] == [
        (k, v.shape) for k, v in reference.state_dict().items()
    ]


@pytest.mark.parametrize("name", RECURRENT)
@pytest.mark.parametrize(
    "shape",
    [(1, 3, 3, 64, 64), (2, 2, 3, 64, 68), (1, 1, 3, 64, 64), (1, 2, 3, 66, 65)],
    ids=["odd length", "batch", "one frame", "odd size"],
)
def test_recurrent_networks_equal_mmagic(name, shape):
    net, reference = build(name)
    frames = clip(*shape)
    torch.testing.assert_close(net(frames), reference(frames), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", RECURRENT)
def test_mirror_extended_clips_equal_mmagic_and_need_half_the_flows(name):
    net, reference = build(name)
    frames = clip(1, 2, 3, 64, 64)
    frames = torch.cat([frames, frames.flip(1)], dim=1)
    calls = []
    hook = net.spynet.register_forward_hook(lambda *args: calls.append(1))
    out = net(frames)
    hook.remove()
    assert len(calls) == frames.shape[1] - 1
    torch.testing.assert_close(out, reference(frames), rtol=0, atol=1e-5)


def test_same_size_output_equals_mmagic():
    net, reference = build("basicvsr++-same-size")
    frames = clip(1, 3, 3, 256, 260)
    out = net(frames)
    assert out.shape == frames.shape
    assert net.scale == 1
    torch.testing.assert_close(out, reference(frames), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["edvr", "edvr-tsa"])
def test_edvr_equals_mmagic(name):
    net, reference = build(name)
    window = clip(2, 5, 3, 16, 20)
    torch.testing.assert_close(net(window), reference(window), rtol=0, atol=1e-5)


def test_training_gradients_equal_mmagics():
    for name, shape in (("basicvsr++", (1, 3, 3, 64, 64)), ("edvr-tsa", (1, 5, 3, 16, 16))):
        net, reference = build(name)
        frames = clip(*shape)
        with torch.enable_grad():
            for model in (net, reference):
                model(frames).square().mean().backward()
        for (parameter_name, mine), theirs in zip(net.named_parameters(), reference.parameters(), strict=True):
            assert mine.grad is not None, parameter_name
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-3, atol=1e-6, msg=parameter_name)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize(("t", "h", "w"), [(1, 1, 1), (2, 7, 3), (3, 30, 21)])
def test_any_size_and_length(name, t, h, w):
    net, _ = build(name)
    frames = clip(1, t, 3, h, w)
    out = net.upscale(frames)
    assert out.shape == (1, t, 3, net.scale * h, net.scale * w)
    assert out.isfinite().all()
    if net.scale == 4:  # an untrained network adds little to the upscaled frame, so nothing is shifted by the crop
        base = torch.stack([net.img_upsample(frame) for frame in frames.unbind(1)], dim=1)
        assert (out - base).abs().mean() < 0.5 * base.abs().mean()


@pytest.mark.parametrize(
    ("name", "multiple", "minimum"), [("basicvsr++", 1, 64), ("basicvsr++-same-size", 4, 256), ("edvr", 4, 4)]
)
def test_padding_repeats_the_border_at_the_lower_right(name, multiple, minimum):
    net, _ = build(name)
    frames = clip(1, 2, 3, 10, 15)

    def grow(size):
        return max(minimum, -(-size // multiple) * multiple)

    padded = frames[..., [min(i, 9) for i in range(grow(10))], :][..., [min(i, 14) for i in range(grow(15))]]
    expected = net.upscale(padded)[..., : 10 * net.scale, : 15 * net.scale]
    torch.testing.assert_close(net.upscale(frames), expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", RECURRENT)
def test_the_last_frame_reaches_the_first_and_the_reverse(name):
    net, _ = build(name)
    frames = clip(1, 3, 3, 64, 64)
    out = net(frames)
    for changed, seen in ((0, 2), (2, 0)):
        other = frames.clone()
        other[:, changed] = torch.rand(3, 64, 64)
        assert (net(other)[:, seen] - out[:, seen]).abs().max() > 1e-7


@pytest.mark.parametrize("name", TINY)
def test_every_layer_is_called_once_per_frame_and_branch(name):
    net, _ = build(name)
    t, size = 3, 16 if name.startswith("edvr") else 64
    calls = {}
    for module_name, module in net.named_modules():
        if isinstance(module, (nn.Conv2d, vsrq.models.DeformConv2d)):
            module.register_forward_hook(
                lambda module, args, out, key=module_name: calls.setdefault(key, []).append(len(args[0]))
            )
    net.upscale(clip(2, t, 3, size, size))
    convolutions = {k for k, m in net.named_modules() if isinstance(m, (nn.Conv2d, vsrq.models.DeformConv2d))}
    assert set(calls) == convolutions
    for key, batches in calls.items():
        assert set(batches) == {2}, f"{key} sees time in its batch"
        if key.startswith("spynet"):
            expected = 2 * (t - 1)
        elif key.startswith("deform_align"):
            expected = t - 1
        elif "offset_conv1" in key:
            expected = t * (net.num_frames + 1)  # each neighbour's half, and the reference's once
        elif key.startswith("pcd_alignment") or key == "fusion.temporal_attn2":
            expected = t * net.num_frames
        else:
            expected = t
        assert len(batches) == expected, key


@pytest.mark.parametrize("name", TINY)
def test_every_convolution_has_the_role_its_place_says(name):
    net, _ = build(name)

    def role(module_name):
        return next((r for p, r in net.roles.items() if fnmatch.fnmatchcase(module_name, p)), None)

    found = {}
    for module_name, module in net.named_modules():
        if isinstance(module, (nn.Conv2d, vsrq.models.DeformConv2d)):
            found.setdefault(role(module_name), []).append(module_name)
    assert None not in found, found[None]
    assert all(part in ("upsample1.upsample_conv", "upsample2.upsample_conv", "conv_hr", "conv_last")
               for part in found["tail"])  # fmt: skip
    for module_name in found.get("offset", []):
        assert "offset" in module_name
    for module_name in found.get("deform", []):
        assert isinstance(net.get_submodule(module_name), vsrq.models.DeformConv2d)
    assert ("flow" in found) == (not name.startswith("edvr"))
    assert ("attention" in found) == (name == "edvr-tsa")
    assert ("deform" in found) == (name != "basicvsr")
    unused = [p for p in net.roles if not any(fnmatch.fnmatchcase(k, p) for k, _ in net.named_modules())]
    assert unused == ([] if name != "edvr" else ["fusion.*attn*"])


@pytest.mark.parametrize("name", ["basicvsr++", "edvr"])
def test_offsets_start_at_zero(name):
    net = MODELS.build(TINY[name] | {"_scope_": "vsrq"})
    aligners = [m for m in net.modules() if isinstance(m, vsrq.models.DeformConv2d)]
    assert len(aligners) == 4
    for module in aligners:
        last = module.conv_offset[-1] if isinstance(module.conv_offset, nn.Sequential) else module.conv_offset
        assert not last.weight.any()
        assert not last.bias.any()
        assert module.weight.std() > 0


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 0, 3, 64, 64), "empty"),
        ((1, 5, 3, 0, 64), "empty"),
        ((1, 5, 1, 64, 64), "1 channels, the network takes 3"),
        ((1, 5, 4, 64, 64), "4 channels, the network takes 3"),
        ((5, 3, 64, 64), "(n, t, 3, h, w)"),
    ],
)
def test_bad_clips_are_refused(name, shape, message):
    net, _ = build(name)
    for call in (net, net.upscale):
        with pytest.raises(DataError) as error:
            call(torch.zeros(*shape))
        assert message in str(error.value)


def test_integer_clips_are_refused():
    net, _ = build("basicvsr")
    with pytest.raises(DataError, match="uint8"):
        net(torch.zeros(1, 2, 3, 8, 8, dtype=torch.uint8))


def test_edvr_refuses_a_window_of_another_length_and_a_centre_outside():
    net, _ = build("edvr")
    with pytest.raises(DataError, match=r"has 4 frames, the network takes 5; use upscale"):
        net(torch.zeros(1, 4, 3, 16, 16))
    with pytest.raises(ConfigError, match="allowed: 0 to 4"):
        MODELS.build(TINY["edvr"] | {"_scope_": "vsrq", "center_frame_idx": 5})
