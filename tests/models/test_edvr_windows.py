import os
import weakref

import pytest
import torch

from tests.models.test_stepwise import build, clip
from vsrq.models.edvr import window_indices
from vsrq.quant import cost
from vsrq.residual.call_site import current_call_site

from mmagic.datasets.transforms import GenerateFrameIndiceswithPadding  # isort: skip  # after vsrq.models


@pytest.mark.parametrize(("count", "num_frames"), [(5, 5), (9, 5), (7, 7), (4, 3)])
def test_windows_are_those_of_edvrs_test_config(count, num_frames):
    transform = GenerateFrameIndiceswithPadding("reflection_circle", filename_tmpl="{:d}")
    for centre in range(count):
        results = dict(
            key=f"000{os.sep}{centre}",
            img_path="lq",
            gt_path="gt",
            sequence_length=count,
            num_input_frames=num_frames,
        )
        paths = transform.transform(results)["img_path"]
        expected = [int(os.path.splitext(os.path.basename(path))[0]) for path in paths]
        assert window_indices(centre, count, num_frames) == expected


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_short_clips_fill_windows_from_their_own_frames(count):
    for centre in range(count):
        window = window_indices(centre, count)
        assert window[2] == centre
        assert set(window) <= set(range(count))
        if 0 < centre < count - 1:  # direct neighbours that exist stay in place
            assert window[1:4] == [centre - 1, centre, centre + 1]


@torch.no_grad()
@pytest.mark.parametrize("t", [1, 3, 8])
def test_upscale_equals_forward_on_every_window_and_encodes_each_frame_once(t, monkeypatch):
    net, _ = build("edvr-tsa")
    frames = clip(1, t, 3, 16, 20)
    expected = [net(frames[:, window_indices(i, t)]) for i in range(t)]
    encode, seen = net.encode, []

    def counted(frame):
        seen.append(frame)
        return encode(frame)

    monkeypatch.setattr(net, "encode", counted)
    out = net.upscale(frames)
    assert len(seen) == t
    torch.testing.assert_close(out, torch.stack(expected, dim=1), rtol=0, atol=1e-6)


@torch.no_grad()
def test_encoded_frames_are_released():
    net, _ = build("edvr")
    alive, most = weakref.WeakSet(), 0
    encode, align = net.encode, net.align

    class Marker:
        pass

    def encode_marked(frame):
        feats = encode(frame)
        marker = Marker()
        alive.add(marker)
        feats.l1.marker = marker  # lives as long as the feature
        return feats

    def align_counting(*pyramids):
        nonlocal most
        most = max(most, len(alive))
        return align(*pyramids)

    net.encode, net.align = encode_marked, align_counting
    net.upscale(clip(1, 12, 3, 8, 8))
    assert most == net.num_frames


@torch.no_grad()
def test_each_neighbour_slot_is_its_own_call_site():
    net, _ = build("edvr-tsa")
    sites = {"align": [], "attention": []}
    net.pcd_alignment.cas_dcnpack.register_forward_hook(lambda *a: sites["align"].append(current_call_site()))
    net.fusion.temporal_attn2.register_forward_hook(lambda *a: sites["attention"].append(current_call_site()))
    net(clip(1, 5, 3, 8, 8))
    assert sites["align"] == sites["attention"] == [(slot,) for slot in range(5)]
    assert current_call_site() == ()


@torch.no_grad()
def test_the_reference_half_of_the_offsets_is_computed_once_per_window():
    """Of twice as many half convolutions as neighbours almost a half is saved; the result is the same."""
    net, _ = build("edvr")
    frames = clip(1, 3, 3, 16, 16)
    neighbour, reference = net.encode(frames[:, 0]), net.encode(frames[:, 1])
    shared = net.align(neighbour, reference, net.reference_offsets(reference))
    assert torch.equal(shared, net.align(neighbour, reference))
    conv = net.pcd_alignment.offset_conv1["l1"].conv
    whole = conv(torch.cat([neighbour.l1, reference.l1], dim=1))
    channels = neighbour.l1.shape[1]
    halves = conv(neighbour.l1, slice(0, channels)) + net.reference_offsets(reference).l1
    assert torch.allclose(halves, whole, atol=1e-6)

    layers = {layer.name: layer for layer in cost.measure(net, frames, run=net.upscale).layers}
    macs = 9 * conv.out_channels * conv.in_channels * 16 * 16
    for name in ("offset_conv1.l1", "cas_offset_conv1"):
        assert layers[f"pcd_alignment.{name}.conv"].macs == 3 * macs * (net.num_frames + 1) / 2
