from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsrq.errors import ConfigError
from vsrq.runtime.tiles import make_grid

SCALE = 2


@st.composite
def grids(draw):
    overlap = draw(st.integers(0, 9))
    tile = tuple(draw(st.integers(2 * overlap + 1, 40)) for _ in range(2))
    size = tuple(draw(st.integers(1, 90)) for _ in range(2))
    return size, make_grid(*size, tile, overlap)


@given(grids())
def test_tiles_lie_in_the_frame_cover_it_and_share_the_overlap(case):
    (height, width), grid = case
    for size, tile, starts in (
        (height, grid.height, sorted({top for top, _ in grid.corners})),
        (width, grid.width, sorted({left for _, left in grid.corners})),
    ):
        assert starts[0] == 0
        assert starts[-1] + tile == size
        assert all(a < b and b - a <= tile - grid.overlap for a, b in pairwise(starts))


@settings(max_examples=50)
@given(grids())
def test_weights_are_positive_and_a_constant_image_stays_constant(case):
    (height, width), grid = case
    weights = grid.weights(SCALE)
    assert 0 < weights.min() <= weights.max() <= 1
    canvas = np.zeros((1, SCALE * height, SCALE * width), np.float32)
    for index, tile in enumerate(grid.cut(np.full((1, height, width), 0.7, np.float32))):
        grid.paste(canvas, tile.repeat(SCALE, 1).repeat(SCALE, 2) * weights, index, SCALE)
    normalizer = grid.normalizer(height, width, SCALE)
    assert normalizer.min() > 0
    np.testing.assert_allclose(canvas / normalizer, 0.7, rtol=1e-5)


@settings(max_examples=30)
@given(grids())
def test_what_all_tiles_agree_on_is_kept(case):
    (height, width), grid = case
    frame = np.random.default_rng(0).random((3, height, width), np.float32)
    canvas = np.zeros_like(frame)
    for index, tile in enumerate(grid.cut(frame)):
        grid.paste(canvas, tile * grid.weights(1), index, 1)
    np.testing.assert_allclose(canvas / grid.normalizer(height, width, 1), frame, atol=1e-5)


def test_a_tile_as_large_as_the_frame_is_the_only_one():
    assert make_grid(30, 40, (50, 40), 8).corners == ((0, 0),)


@pytest.mark.parametrize(("tile", "overlap"), [((32, 16), 8), ((0, 5), 0), ((20, 20), -1)])
def test_tiles_must_be_larger_than_what_they_share(tile, overlap):
    with pytest.raises(ConfigError, match=f"tile {tile[0]}x{tile[1]} must be larger than twice the overlap"):
        make_grid(60, 60, tile, overlap)
