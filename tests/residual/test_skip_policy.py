import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vsrq.errors import ConfigError
from vsrq.residual.skip_policy import SkipPolicy, changed_pixels, longest, moved, spread, tiles_of, to_frame_size


def point(y, x, height=20, width=30):
    mask = np.zeros((height, width), np.uint8)
    mask[y, x] = 1
    return mask


def frame(height=20, width=30):
    return np.random.default_rng(0).random((1, 3, height, width), np.float32)


@pytest.mark.parametrize("channel", [0, 1, 2])
@pytest.mark.parametrize("tolerance", [0, 1])
def test_a_change_counts_in_any_channel(channel, tolerance):
    x = frame()
    other = x.copy()
    other[0, channel, 7, 9] = x[0, channel, 7, 9] - 0.1
    np.testing.assert_array_equal(changed_pixels(other, x, tolerance), point(7, 9))


def test_at_tolerance_0_the_last_bit_counts():
    x = frame()
    other = x.copy()
    other[0, 2, 7, 9] = np.nextafter(x[0, 2, 7, 9], np.float32(2))
    np.testing.assert_array_equal(changed_pixels(other, x, 0), point(7, 9))
    assert not changed_pixels(x, x.copy(), 0).any()
    features = (x * 255).astype(np.uint8)
    other = features.copy()
    other[0, 1, 3, 4] ^= 1
    np.testing.assert_array_equal(changed_pixels(other, features, 0), point(3, 4))


@pytest.mark.parametrize("tolerance", [1, 2, 7])
def test_a_change_of_the_tolerance_does_not_count_and_one_level_more_does(tolerance):
    x = np.arange(200, dtype=np.float32).reshape(1, 1, 10, 20) / 255
    level = np.float32(1 / 255)
    assert not changed_pixels(x + tolerance * level, x, tolerance).any()
    assert not changed_pixels(x - tolerance * level, x, tolerance).any()
    assert changed_pixels(x + (tolerance + 1) * level, x, tolerance).all()


@settings(max_examples=40, deadline=None)
@given(y=st.integers(0, 19), x=st.integers(0, 29), radius=st.integers(0, 40))
def test_a_point_spreads_to_a_square_cut_off_by_the_frame(y, x, radius):
    ys, xs = np.arange(20)[:, None], np.arange(30)
    near = (np.abs(ys - y) <= radius) & (np.abs(xs - x) <= radius)
    np.testing.assert_array_equal(spread(point(y, x), radius) > 0, near)


@settings(max_examples=40, deadline=None)
@given(dy=st.floats(-3, 3), dx=st.floats(-3, 3))
def test_every_pixel_that_samples_a_change_is_found(dy, dx):
    """What a bilinear warp of the mask touches is marked."""
    from vsrq.ops.warp import flow_warp

    mask = point(8, 14)
    flow = torch.tensor([dx, dy]).view(1, 2, 1, 1).expand(1, 2, 20, 30)
    touched = flow_warp(torch.from_numpy(mask)[None, None].float(), flow)[0, 0].numpy() > 1e-4
    assert ((moved(mask, flow.numpy()) > 0) | ~touched).all()


def test_a_flow_that_leads_out_of_the_frame_ends_at_its_border():
    flow = np.zeros((1, 2, 20, 30), np.float32)
    flow[0, 0] = 100
    found = moved(point(8, 29), flow)
    np.testing.assert_array_equal(np.flatnonzero(found.all(1)), [7, 8, 9])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_a_flow_that_is_no_length_does_not_fail(value):
    assert moved(point(0, 0), np.full((1, 2, 20, 30), value, np.float32)).shape == (20, 30)


def test_the_longest_component_of_a_flow():
    flow = np.zeros((1, 2, 20, 30), np.float32)
    flow[0, 0, 3, 4], flow[0, 1, 5, 6] = -7.5, 2
    assert longest(flow) == 7.5
    assert longest(flow, point(5, 6)) == 2
    assert longest(flow, point(9, 9)) == longest(flow, np.zeros((20, 30), np.uint8)) == 0


@pytest.mark.parametrize(("y", "x", "row", "column"), [(0, 0, 0, 0), (7, 8, 0, 1), (19, 29, 2, 3)])
def test_tiles_hold_their_pixels_and_the_last_ones_are_cut_off(y, x, row, column):
    np.testing.assert_array_equal(tiles_of(point(y, x), 8), point(row, column, 3, 4) > 0)


def test_masks_of_a_pyramid_cover_their_pixels():
    np.testing.assert_array_equal(to_frame_size(point(1, 2, 5, 6), 20, 24), np.kron(point(1, 2, 5, 6), np.ones((4, 4))))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (dict(tile=12), "tile must be one of 8, 16, 24, 32 pixels, got 12"),
        (dict(tile=64), "tile must be one of"),
        (dict(tolerance=-1), r"tolerance must be 0 .* to below 255 grey levels, got -1"),
        (dict(tolerance=float("nan")), "tolerance must be 0"),
        (dict(halo=-4), "halo must be 'full' or a number of pixels, 0 or more, got -4"),
        (dict(halo="whole"), "halo must be 'full'"),
        (dict(refresh=0), "refresh must be 1 call or more, or None for never, got 0"),
        (dict(break_even=1.5), "break_even must be a share of the frame from 0 to 1, got 1.5"),
        (dict(overhead=-1), "overhead must be a number of pixels, 0 or more, got -1"),
        (dict(tolerence=1), "unknown key 'tolerence' in skip; did you mean 'tolerance'"),
    ],
)
def test_bad_settings(setting, message):
    with pytest.raises(ConfigError, match=message):
        SkipPolicy.build(setting)


def test_windows_have_to_save_more_than_they_cost():
    policy = SkipPolicy(break_even=0.8, overhead=1000)
    assert policy.saves(0, 2000)
    assert policy.saves(6999, 10_000)
    assert not policy.saves(7000, 10_000)
    assert not policy.saves(0, 1250)  # too small a frame to be cut


def test_a_policy_survives_a_manifest():
    policy = SkipPolicy(tile=8, tolerance=3.0, halo="full", refresh=None, break_even=0.7)
    assert SkipPolicy.build(policy.to_json()) == policy
