import itertools
import math

import pytest
import torch

from vsrq.compat.torchvision_import import ensure_torchvision, has_operators
from vsrq.errors import ConfigError
from vsrq.ops.deform_conv import deform_conv2d, deform_conv2d_plain, deform_conv2d_torchvision

# (channels, out, kernel, stride, padding, dilation, groups, deform_groups, size)
GEOMETRIES = [
    (4, 6, (3, 3), 1, 1, 1, 1, 2, (7, 6)),
    (4, 4, (3, 3), 2, 1, 1, 2, 1, (8, 5)),
    (2, 3, (1, 3), (1, 2), (0, 1), 1, 1, 1, (4, 6)),
    (6, 2, (3, 2), 1, (2, 1), (2, 1), 2, 3, (6, 5)),
    (2, 2, (3, 3), 1, 1, 1, 1, 2, (1, 1)),
]


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


def arguments(geometry, dtype=torch.float64, spread=2.0):
    channels, out, kernel, stride, padding, dilation, groups, deform_groups, size = geometry
    stride, padding, dilation = pair(stride), pair(padding), pair(dilation)
    h, w = (
        (s + 2 * p - d * (k - 1) - 1) // st + 1
        for s, p, d, k, st in zip(size, padding, dilation, kernel, stride, strict=True)
    )
    points = deform_groups * kernel[0] * kernel[1]
    tensors = (
        torch.randn(2, channels, *size, dtype=dtype),
        spread * torch.randn(2, 2 * points, h, w, dtype=dtype),
        torch.rand(2, points, h, w, dtype=dtype),
        torch.randn(out, channels // groups, *kernel, dtype=dtype),
        torch.randn(out, dtype=dtype),
    )
    return tensors, (stride, padding, dilation, groups, deform_groups)


def by_definition(x, offset, mask, weight, bias, stride, padding, dilation, groups, deform_groups):
    """Sum over every tap of every output pixel, bilinear weights written out."""

    def sample(image, y, x):
        y0, x0 = math.floor(y), math.floor(x)
        total = 0.0
        for yy, xx in itertools.product((y0, y0 + 1), (x0, x0 + 1)):
            if 0 <= yy < image.shape[0] and 0 <= xx < image.shape[1]:
                total += (1 - abs(y - yy)) * (1 - abs(x - xx)) * image[yy, xx].item()
        return total

    n, channels = x.shape[:2]
    c_out, per_group, kh, kw = weight.shape
    out = bias.reshape(1, -1, 1, 1).repeat(n, 1, *offset.shape[2:]).clone()
    for b, o, i, j in itertools.product(range(n), range(c_out), range(out.shape[2]), range(out.shape[3])):
        for c, u, v in itertools.product(range(per_group), range(kh), range(kw)):
            source = o // (c_out // groups) * per_group + c
            tap = source // (channels // deform_groups) * kh * kw + u * kw + v
            y = i * stride[0] - padding[0] + u * dilation[0] + offset[b, 2 * tap, i, j].item()
            z = j * stride[1] - padding[1] + v * dilation[1] + offset[b, 2 * tap + 1, i, j].item()
            out[b, o, i, j] += mask[b, tap, i, j] * weight[o, c, u, v] * sample(x[b, source], y, z)
    return out


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_forward_follows_the_definition(geometry):
    tensors, rest = arguments(geometry)
    torch.testing.assert_close(deform_conv2d_plain(*tensors, *rest), by_definition(*tensors, *rest))


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_gradients_follow_finite_differences(geometry):
    tensors, rest = arguments(geometry)
    leaves = [tensor.requires_grad_() for tensor in tensors]
    assert torch.autograd.gradcheck(lambda *t: deform_conv2d_plain(*t, *rest), leaves, fast_mode=True)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("modulated", [True, False])
def test_forward_and_backward_equal_torchvision(geometry, modulated):
    ensure_torchvision()
    if not has_operators():
        pytest.skip("torchvision's compiled operators do not load beside this torch")
    tensors, rest = arguments(geometry)
    results = []
    for function in (deform_conv2d_plain, deform_conv2d_torchvision):
        leaves = [tensor.clone().requires_grad_() for tensor in tensors]
        x, offset, mask, weight, bias = leaves
        out = function(x, offset, mask if modulated else None, weight, bias, *rest)
        (out * torch.arange(out.numel(), dtype=out.dtype).reshape(out.shape).cos()).sum().backward()
        results.append([out.detach()] + [leaf.grad for leaf in leaves if leaf.grad is not None])
    assert len(results[0]) == (6 if modulated else 5)
    torch.testing.assert_close(results[0], results[1])


def test_zero_offsets_and_full_mask_are_an_ordinary_convolution():
    (x, offset, mask, weight, bias), rest = arguments(GEOMETRIES[3])
    stride, padding, dilation, groups, _ = rest
    out = deform_conv2d(x, torch.zeros_like(offset), torch.ones_like(mask), weight, bias, *rest)
    expected = torch.nn.functional.conv2d(x, weight, bias, stride, padding, dilation, groups)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(deform_conv2d(x, torch.zeros_like(offset), None, weight, bias, *rest), expected)


@pytest.mark.parametrize("size", [(3, 3), (5, 7), (1, 6), (60, 100)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradient_of_zero_offsets_is_the_difference_to_the_next_pixel(size, dtype):
    height, width = size
    x = torch.randn(1, 1, height, width, dtype=dtype)
    offset = torch.zeros(1, 18, height, width, dtype=dtype, requires_grad=True)
    deform_conv2d_plain(x, offset, None, torch.ones(1, 1, 3, 3, dtype=dtype), padding=1).sum().backward()
    around = torch.nn.functional.pad(x[0, 0], (2, 2, 2, 2))  # pixel (y, x) lies at (y + 2, x + 2)
    for tap, (u, v) in enumerate(itertools.product((-1, 0, 1), repeat=2)):
        here = around[2 + u : 2 + u + height, 2 + v : 2 + v + width]
        down = around[3 + u : 3 + u + height, 2 + v : 2 + v + width]
        right = around[2 + u : 2 + u + height, 3 + v : 3 + v + width]
        expected = torch.stack([down - here, right - here])
        if u == -1:  # the first row samples at exactly -1, where mmcv has no gradient
            expected[:, 0] = 0
        if v == -1:
            expected[:, :, 0] = 0
        if u == 1:  # the last row samples at exactly the height
            expected[:, -1] = 0
        if v == 1:
            expected[:, :, -1] = 0
        torch.testing.assert_close(offset.grad[0, 2 * tap : 2 * tap + 2], expected)


def test_samples_far_outside_are_zero():
    (x, offset, mask, weight, _), rest = arguments(GEOMETRIES[0])
    assert deform_conv2d(x, offset + 1e4, mask, weight, None, *rest).abs().max() == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_samples_at_exact_positions(dtype):
    # 300 columns: float16 could not tell neighbouring quarter pixels apart there
    x = torch.linspace(0, 1, 300).repeat(1, 1, 3, 1).to(dtype)
    offset = torch.full((1, 18, 3, 300), 0.25, dtype=dtype)
    weight = torch.full((1, 1, 3, 3), 1 / 9, dtype=dtype)
    out = deform_conv2d(x, offset, None, weight, padding=1)
    exact = deform_conv2d(x.float(), offset.float(), None, weight.float(), padding=1)
    assert out.dtype is dtype
    torch.testing.assert_close(out, exact.to(dtype))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(x=torch.zeros(4, 7, 6)), "(n, c, h, w)"),
        (dict(offset=torch.zeros(2, 18, 7, 6)), "needs (2, 36, 7, 6)"),
        (dict(mask=torch.zeros(2, 9, 7, 6)), "needs (2, 18, 7, 6)"),
        (dict(weight=torch.zeros(6, 3, 3, 3)), "does not fit 4 channels"),
        (dict(deform_groups=3), "deform_groups=3"),
        (dict(dilation=9), "smaller than the kernel's reach"),
    ],
)
def test_wrong_shapes_name_what_is_needed(change, message):
    (x, offset, mask, weight, bias), rest = arguments(GEOMETRIES[0])
    names = ("stride", "padding", "dilation", "groups", "deform_groups")
    given = dict(x=x, offset=offset, mask=mask, weight=weight, bias=bias) | dict(zip(names, rest, strict=True))
    with pytest.raises(ConfigError) as error:
        deform_conv2d(**(given | {k: (v, v) if k == "dilation" else v for k, v in change.items()}))
    assert message in str(error.value)
