"""mmcv's own autograd functions on top of the stand-in."""

import pytest
import torch

import vsrq.registry  # noqa: F401  # installs the stand-in
from vsrq.compat import mmcv_ext
from vsrq.errors import MissingDependencyError
from vsrq.ops.deform_conv import deform_conv2d_plain

import mmcv.ops  # isort: skip

pytestmark = pytest.mark.skipif(not mmcv_ext.in_use(), reason="mmcv's own compiled operators are installed")


def tensors(groups=1):
    torch.manual_seed(3)
    return [
        tensor.requires_grad_()
        for tensor in (
            torch.randn(2, 4, 6, 5),
            1.5 * torch.randn(2, 36, 6, 5),
            torch.rand(2, 18, 6, 5),
            torch.randn(4, 4 // groups, 3, 3),
            torch.randn(4),
        )
    ]


def gradients(out, leaves):
    weights = torch.linspace(-1, 1, out.numel()).reshape(out.shape)
    return torch.autograd.grad((out * weights).sum(), leaves)


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("groups", [1, 2])
def test_modulated_convolution_forward_and_backward(with_bias, groups):
    leaves = tensors(groups)[: 5 if with_bias else 4]
    x, offset, mask, weight, *bias = leaves
    arguments = (x, offset, mask, weight, bias[0] if bias else None, 1, 1, 1, groups, 2)
    out, expected = mmcv.ops.modulated_deform_conv2d(*arguments), deform_conv2d_plain(*arguments)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(gradients(out, leaves), gradients(expected, leaves))


def test_unmodulated_convolution_forward_and_backward():
    x, offset, _, weight, _ = tensors()
    leaves = [x, offset, weight]
    out = mmcv.ops.deform_conv2d(x, offset, weight, 1, 1, 1, 1, 2)
    expected = deform_conv2d_plain(x, offset, None, weight, None, 1, 1, 1, 1, 2)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(gradients(out, leaves), gradients(expected, leaves))


def test_frozen_weights_get_no_gradient():
    x, offset, mask, weight, bias = tensors()
    weight = weight.detach()
    out = mmcv.ops.modulated_deform_conv2d(x, offset, mask, weight, bias, 1, 1, 1, 1, 2)
    assert all(torch.isfinite(gradient).all() for gradient in gradients(out, [x, offset, mask]))


def test_other_operators_say_that_they_are_missing():
    with pytest.raises(MissingDependencyError, match=r"'nms'.*serves only the deformable convolutions"):
        mmcv.ops.nms(torch.tensor([[0.0, 0, 1, 1], [0, 0, 1, 1]]), torch.tensor([0.5, 0.4]), 0.5)
