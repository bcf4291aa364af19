import os

import numpy as np
import pytest
import torch

pytest.importorskip("numba")

from vsrq.cores import thread_pool
from vsrq.errors import ConfigError
from vsrq.ops.deform_conv import deform_conv2d_plain
from vsrq.ops.deform_conv_kernel import DeformConvKernel

# (images, channels, out, kernel, stride, padding, dilation, deform_groups, height, width)
GEOMETRIES = [
    (1, 128, 64, (3, 3), 1, 1, 1, 16, 9, 11),  # BasicVSR++
    (1, 64, 64, (3, 3), 1, 1, 1, 8, 10, 7),  # EDVR
    (2, 16, 70, (3, 3), 1, 1, 1, 4, 6, 5),  # four channels per group, outputs that fill no vector
    (2, 12, 5, (3, 3), 2, 1, 1, 4, 9, 8),
    (1, 6, 3, (3, 2), (1, 2), (2, 1), (2, 1), 1, 6, 5),
    (3, 5, 4, (1, 1), 1, 0, 1, 5, 1, 1),
    (1, 24, 8, (3, 3), 1, 1, 1, 1, 4, 4),  # several vectors per group
]


def random_case(geometry, spread=3.0, seed=0):
    n, channels, out, size, stride, padding, dilation, groups, height, width = geometry
    generator = torch.Generator().manual_seed(seed)
    pairs = [(value, value) if isinstance(value, int) else value for value in (stride, padding, dilation)]
    h, w = (
        (extent + 2 * p - d * (k - 1) - 1) // s + 1
        for extent, k, s, p, d in zip((height, width), size, *pairs, strict=True)
    )
    points = groups * size[0] * size[1]

    def normal(*shape):
        return torch.randn(shape, generator=generator)

    x, offset, mask = normal(n, channels, height, width), spread * normal(n, 2 * points, h, w), normal(n, points, h, w)
    weight, bias = normal(out, channels, *size), normal(out)
    options = dict(zip(("stride", "padding", "dilation"), pairs, strict=True), deform_groups=groups)
    return (x, offset, mask.sigmoid(), weight, bias), options


def last(tensor):
    return tensor.permute(0, 2, 3, 1).contiguous().numpy()


def run(tensors, options, **more):
    x, offset, mask, weight, bias = tensors
    kernel = DeformConvKernel(weight.numpy(), bias.numpy(), **options, **more)
    return torch.from_numpy(kernel(last(x), last(offset), last(mask))).permute(0, 3, 1, 2)


def assert_close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=2e-5 * max(1.0, expected.abs().max().item()))


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("spread", [0.0, 0.3, 3.0, 40.0])
def test_equals_the_torch_implementation(geometry, spread):
    tensors, options = random_case(geometry, spread)
    assert_close(run(tensors, options), deform_conv2d_plain(*tensors, **options))


def test_each_corner_outside_counts_zero():
    # positions in quarters from two pixels outside on one side to two pixels outside on the other
    x = torch.randn(1, 8, 3, 4)
    steps_y, steps_x = torch.arange(-2, 5, 0.25), torch.arange(-2, 6, 0.25)
    grid = torch.stack(torch.meshgrid(steps_y, steps_x, indexing="ij")).reshape(2, -1)
    weight = torch.eye(8)[:, :, None, None]
    kernel = DeformConvKernel(weight.numpy())
    places = torch.stack(torch.meshgrid(torch.arange(3.0), torch.arange(4.0), indexing="ij"))
    for position in grid.T:
        offset = (position[:, None, None] - places)[None]
        mask = torch.ones(1, 1, 3, 4)
        actual = kernel(last(x), last(offset), last(mask))
        expected = last(deform_conv2d_plain(x, offset, mask, weight))
        np.testing.assert_allclose(actual, expected, atol=1e-6)


@pytest.mark.parametrize("value", [1e6, -1e30, float("inf"), float("-inf"), float("nan")])
def test_positions_far_outside_sample_nothing(value):
    (x, offset, mask, weight, bias), options = random_case(GEOMETRIES[1])
    out = run((x, torch.full_like(offset, value), mask, weight, bias), options)
    assert torch.equal(out, bias.reshape(1, -1, 1, 1).expand_as(out))


def test_offsets_around_two_flows():
    (x, residue, mask, weight, bias), options = random_case(GEOMETRIES[0], spread=0.5)
    flow_1, flow_2 = torch.randn(1, 2, 9, 11), torch.randn(1, 2, 9, 11)
    offset = 10 * residue + torch.cat([flow_1.repeat(1, 72, 1, 1), flow_2.repeat(1, 72, 1, 1)], dim=1)
    kernel = DeformConvKernel(weight.numpy(), bias.numpy(), offset_scale=10, **options)
    actual = kernel(last(x), last(residue), last(mask), (flow_1.numpy(), flow_2.numpy()))
    expected = last(deform_conv2d_plain(x, offset, mask, weight, bias, **options))
    np.testing.assert_allclose(actual, expected, atol=2e-5 * np.abs(expected).max())


def test_any_number_of_threads_gives_the_same_bits():
    tensors, options = random_case((2, 16, 16, (3, 3), 1, 1, 1, 4, 33, 29))
    one = run(tensors, options, threads=1)
    assert all(torch.equal(one, run(tensors, options, threads=threads)) for threads in (2, 3))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system does not bind threads to cores")
def test_threads_use_all_cores_though_the_caller_is_bound_to_one():
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        pytest.skip("one core")
    (x, offset, mask, weight, _), options = random_case((1, 16, 16, (3, 3), 1, 1, 1, 4, 33, 29))
    kernel = DeformConvKernel(weight.numpy(), **options, threads=2)
    thread_pool.cache_clear()
    os.sched_setaffinity(0, {min(cores)})
    try:
        kernel(last(x), last(offset), last(mask))
        pool = thread_pool(2, frozenset(cores))
        assert pool._threads  # made by the call above, while it was bound
        assert pool.submit(os.sched_getaffinity, 0).result() == cores
    finally:
        os.sched_setaffinity(0, cores)


def test_writes_into_the_array_it_is_given():
    (x, offset, mask, weight, _), options = random_case(GEOMETRIES[1])
    out = np.full((1, 10, 7, 64), np.nan, np.float32)
    kernel = DeformConvKernel(weight.numpy(), **options)
    assert kernel(last(x), last(offset), last(mask), out=out) is out
    np.testing.assert_array_equal(out, kernel(last(x), last(offset), last(mask)))


def test_wrong_arguments_are_named():
    (x, offset, mask, weight, _), options = random_case(GEOMETRIES[1])
    with pytest.raises(ConfigError, match="deform_groups=5 does not divide 64 channels"):
        DeformConvKernel(weight.numpy(), deform_groups=5)
    kernel = DeformConvKernel(weight.numpy(), **options)
    with pytest.raises(ConfigError, match=r"x has shape \(1, 64, 10, 7\), needs \(1, h, w, 64\)"):
        kernel(x.numpy(), last(offset), last(mask))
    with pytest.raises(ConfigError, match=r"mask has shape \(1, 10, 7, 71\), needs \(1, 10, 7, 72\)"):
        kernel(last(x), last(offset), last(mask)[..., 1:].copy())
    with pytest.raises(ConfigError, match="contiguous float32, got float64"):
        kernel(last(x).astype(float), last(offset), last(mask))
    with pytest.raises(ConfigError, match=r"17409000 pixels|4100 x 4246 pixels.*use tiles"):
        kernel(np.broadcast_to(np.float32(0), (1, 4100, 4246, 64)), last(offset), last(mask))
