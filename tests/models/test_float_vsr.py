import pytest
import torch
from mmagic.structures import DataSample

from vsrq.errors import CheckpointError, ConfigError
from vsrq.models import FloatVSR
from vsrq.registry import MODELS

BASICVSR = {"type": "BasicVSRNet", "mid_channels": 4, "num_blocks": 1}
EDVR = {
    "type": "EDVRNet",
    "in_channels": 3,
    "out_channels": 3,
    "mid_channels": 8,
    "num_frames": 3,
    "center_frame_idx": 1,
    "deform_groups": 2,
    "num_blocks_extraction": 1,
    "num_blocks_reconstruction": 1,
}
LOSS = {"type": "CharbonnierLoss", "loss_weight": 1.0, "reduction": "mean"}


def model(generator=BASICVSR, **kwargs):
    torch.manual_seed(0)
    return FloatVSR(generator=dict(generator), pixel_loss=dict(LOSS), **kwargs).eval()


def batch(net, frames, ground_truth):
    """A loader's batch of one clip after preprocessing; ``ground_truth`` is a shape."""
    generator = torch.Generator().manual_seed(1)
    sample = DataSample()
    clip = torch.randint(0, 256, (frames, 3, 16, 20), generator=generator).float()
    sample.set_tensor_data({"gt_img": torch.rand(ground_truth, generator=generator) * 255})
    sample.set_metainfo({f"{k}_channel_order": "BGR" for k in ("img", "gt")})
    data = net.data_preprocessor({"inputs": [clip], "data_samples": [sample]}, training=True)
    return data["inputs"], data["data_samples"]


@torch.no_grad()
def test_clip_ground_truth_gets_every_frame_in_8_bit_range():
    net = model()
    inputs, samples = batch(net, 3, (3, 3, 64, 80))
    predicted = net(inputs, samples, mode="predict")[0].output.pred_img
    expected = (net.generator.upscale(inputs)[0] * 255).clamp(0, 255)
    torch.testing.assert_close(predicted, expected)


@torch.no_grad()
@pytest.mark.parametrize("frames", [3, 4])
def test_image_ground_truth_gets_the_centre_frame(frames):
    net = model()
    inputs, samples = batch(net, frames, (3, 64, 80))
    predicted = net.forward_inference(inputs, samples).pred_img
    torch.testing.assert_close(predicted, (net.upscale(inputs)[:, frames // 2] * 255).clamp(0, 255))


@torch.no_grad()
def test_mirror_extended_clip_gets_the_mean_of_both_centre_outputs():
    net = model()
    inputs, samples = batch(net, 7, (3, 64, 80))
    mirrored = torch.cat([inputs, inputs.flip(1)], dim=1)
    output = net.upscale(mirrored)
    predicted = net.forward_inference(mirrored, samples).pred_img
    torch.testing.assert_close(predicted, ((output[:, 3] + output[:, 10]) / 2 * 255).clamp(0, 255))
    assert not torch.equal(output[:, 3], output[:, 10])


@torch.no_grad()
def test_window_network_predicts_the_centre_of_its_window_and_clips_of_any_length():
    net = model(EDVR)
    inputs, samples = batch(net, 3, (3, 64, 80))
    predicted = net.forward_inference(inputs, samples).pred_img
    torch.testing.assert_close(predicted, (net.generator(inputs) * 255).clamp(0, 255))
    inputs, samples = batch(net, 5, (5, 3, 64, 80))
    assert net.forward_inference(inputs, samples).pred_img.shape == (1, 5, 3, 64, 80)


def test_loss_is_the_pixel_loss_between_output_and_ground_truth():
    net = model()
    inputs, samples = batch(net, 2, (2, 3, 64, 80))
    difference = net(inputs) - samples.gt_img
    expected = torch.sqrt(difference**2 + 1e-12).mean()
    torch.testing.assert_close(net(inputs, samples, mode="loss")["loss"], expected)


@pytest.mark.parametrize(("generator", "ground_truth"), [(BASICVSR, (3, 64, 80)), (EDVR, (3, 3, 64, 80))])
def test_ground_truth_of_another_shape_is_refused_not_broadcast(generator, ground_truth):
    net = model(generator)
    inputs, samples = batch(net, 3, ground_truth)
    with pytest.raises(ConfigError, match="num_output_frames"):
        net(inputs, samples, mode="loss")


def test_float_checkpoint_survives_the_runner_initialising_weights(tmp_path):
    source = model(EDVR)
    for parameter in source.generator.parameters():
        parameter.data.normal_(std=0.1)
    torch.save({"state_dict": source.state_dict()}, tmp_path / "net.pth")
    loaded = model(EDVR, float_checkpoint=str(tmp_path / "net.pth"))
    loaded.init_weights()
    for name, value in source.generator.state_dict().items():
        assert torch.equal(loaded.generator.state_dict()[name], value), name
    with pytest.raises(CheckpointError, match=r"none\.pth"):
        model(float_checkpoint=str(tmp_path / "none.pth"))


@pytest.mark.parametrize(("key", "hook"), [("fix_iter", "spynet"), ("tsa_iter", "fusion")])
def test_step_counters_are_refused_with_the_hook_to_use(key, hook):
    with pytest.raises(ConfigError, match=rf"FreezeHook', iters=7, .*{hook}"):
        model(train_cfg={key: 7})
    model(train_cfg={key: -1})


def test_network_without_steps_is_refused():
    with pytest.raises(ConfigError, match="SRCNNNet is not a step-wise network"):
        model({"type": "mmagic.SRCNNNet", "channels": (3, 4, 4, 3)})


@pytest.mark.parametrize(("editor", "generator"), [("BasicVSR", BASICVSR), ("EDVR", EDVR)])
def test_mmagic_editor_types_build_with_the_step_wise_networks(editor, generator):
    config = {"type": editor, "generator": dict(generator), "pixel_loss": dict(LOSS), "_scope_": "vsrq"}
    built = MODELS.build(config)
    assert type(built.generator).__module__.startswith("vsrq.models")
