import pytest
import torch

from vsrq.errors import ConfigError
from vsrq.models import BasicVSRNet, BasicVSRPlusPlusNet, EDVRNet
from vsrq.models.warm_start import fused_features, inflate_windows, principal_basis, warm_start


@pytest.fixture(scope="module")
def teacher():
    torch.manual_seed(0)
    return BasicVSRNet(mid_channels=16, num_blocks=1).eval()


@pytest.fixture(scope="module")
def features(teacher):
    return fused_features(teacher, torch.rand(2, 2, 3, 16, 16))


def tail(net, feats, frame):
    out = net.lrelu(net.upsample1(feats))
    out = net.lrelu(net.upsample2(out))
    return net.conv_last(net.lrelu(net.conv_hr(out))) + net.img_upsample(frame)


def edvr(channels):
    return EDVRNet(
        3, 3, mid_channels=channels, num_frames=3, center_frame_idx=1, deform_groups=4, num_blocks_extraction=1
    ).eval()


def test_fused_features_are_what_enters_the_tail(teacher):
    clip = torch.rand(1, 3, 3, 16, 16)
    with torch.no_grad():
        expected = teacher.upscale(clip)[0]
        torch.testing.assert_close(tail(teacher, fused_features(teacher, clip), clip[0]), expected)


def test_basis_is_orthonormal_and_keeps_most_energy():
    torch.manual_seed(0)
    # 3 strong directions among 8
    strong, weak = torch.randn(4, 3, 8, 8), 0.01 * torch.randn(4, 8, 8, 8)
    mixing = torch.randn(8, 3)
    feats = torch.einsum("ck,nkhw->nchw", mixing, strong) + weak
    basis = principal_basis(feats, 3)
    torch.testing.assert_close(basis.T @ basis, torch.eye(3))
    kept = torch.einsum("nchw,ck,dk->ndhw", feats, basis, basis)
    assert (kept - feats).square().sum() < 1e-3 * feats.square().sum()
    with pytest.raises(ConfigError, match="9 directions asked for, but features have only 8"):
        principal_basis(feats, 9)


@pytest.mark.parametrize("make", [lambda: BasicVSRPlusPlusNet(mid_channels=16, num_blocks=1), lambda: edvr(16)])
def test_tail_of_full_width_is_the_teachers(make, teacher, features):
    """With as many channels as the teacher nothing is left out: same output after the change of basis.

    The tail's inner width is 16 in the network and 64 in the teacher, so the teacher's other channels are made dead.
    """
    net = make()
    with torch.no_grad():
        conv = teacher.upsample2.upsample_conv
        saved = conv.weight.clone()
        conv.weight[:, 16:] = 0
        try:
            warm_start(net, teacher, features)
            basis = principal_basis(features, 16)
            inside = torch.einsum("nchw,ck->nkhw", features, basis)
            frame = torch.rand(4, 3, 16, 16)
            expected = tail(teacher, features, frame)
            torch.testing.assert_close(tail(net, inside, frame), expected, atol=2e-3, rtol=1e-2)
        finally:
            conv.weight.copy_(saved)


def test_clip_of_basicvsr_pp_comes_out_as_its_frames(teacher, features):
    torch.manual_seed(1)
    net = BasicVSRPlusPlusNet(mid_channels=16, num_blocks=1).eval()
    warm_start(net, teacher, features)
    clip = torch.rand(1, 3, 3, 64, 64)
    with torch.no_grad():
        whole = net.upscale(clip)
        for t in range(3):
            torch.testing.assert_close(whole[:, t : t + 1], net.upscale(clip[:, t : t + 1]))
    for name, value in teacher.spynet.state_dict().items():
        assert torch.equal(net.spynet.state_dict()[name], value)


def test_alignment_of_edvr_begins_as_the_identity(teacher, features):
    net = edvr(16)
    warm_start(net, teacher, features)
    x, zero = torch.rand(1, 16, 8, 8), torch.zeros(1, 16, 8, 8)
    from vsrq.models.edvr import _apply_pack

    with torch.no_grad():
        torch.testing.assert_close(_apply_pack(net.pcd_alignment.cas_dcnpack, x, zero), x)


def test_inflated_window_puts_out_what_its_centre_frame_alone_does():
    torch.manual_seed(0)
    options = dict(mid_channels=8, deform_groups=2, num_blocks_extraction=1, num_blocks_reconstruction=1)
    single = EDVRNet(3, 3, num_frames=1, center_frame_idx=0, **options).eval()
    window = EDVRNet(3, 3, num_frames=5, center_frame_idx=2, **options).eval()
    window.load_state_dict(inflate_windows(single.state_dict(), window))
    frames = torch.rand(1, 5, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(window(frames), single(frames[:, 2:3]))


def test_other_differences_than_the_number_of_frames_are_refused():
    options = dict(mid_channels=8, deform_groups=2, num_blocks_extraction=1)
    single = EDVRNet(3, 3, num_frames=1, center_frame_idx=0, num_blocks_reconstruction=1, **options)
    with pytest.raises(ConfigError, match=r"reconstruction\.1\..* is missing.*differ in num_frames only"):
        inflate_windows(single.state_dict(), EDVRNet(3, 3, num_blocks_reconstruction=2, **options))


def test_wider_network_than_the_teacher_is_refused(teacher, features):
    with pytest.raises(ConfigError, match="32 directions asked for, but features have only 16"):
        warm_start(BasicVSRPlusPlusNet(mid_channels=32, num_blocks=1), teacher, features)
