import re

import pytest

from tests.deploy.test_plan import PLAN
from vsrq.errors import DataError
from vsrq.runtime.memory import available_bytes, bytes_per_frame, fixed_bytes, longest_stretch

MIB = 2**20


def stretch(height=360, width=640, budget=2**30, **more):
    return longest_stretch(PLAN, height, width, lookahead=more.pop("lookahead", 3), budget=budget, **more)


def test_a_stretch_and_what_comes_with_it_fit_the_budget():
    count, frame = stretch(budget=300 * MIB), bytes_per_frame(PLAN, 360, 640)
    used = fixed_bytes(PLAN, 360, 640) + (count + 3) * frame
    assert 1 < count < 60
    assert used <= 300 * MIB < used + frame


def test_stretches_have_a_longest():
    assert stretch(budget=2**40) == 60


def test_more_ahead_or_blending_tiles_leave_less():
    assert stretch(budget=300 * MIB, lookahead=5) == stretch(budget=300 * MIB) - 2
    canvas = 12 * 16 * 360 * 640
    assert stretch(budget=300 * MIB, canvas=canvas, tiled=True) < stretch(budget=300 * MIB, canvas=canvas)


def test_what_does_not_fit_names_a_tile_that_does():
    canvas = 12 * 16 * 360 * 640
    with pytest.raises(
        DataError, match=r"frames of 640x360 pixels need about 0.\d+ GiB, 0.0977 GiB are allowed"
    ) as error:
        stretch(budget=100 * MIB, canvas=canvas)
    width, height = map(int, re.search(r"Tiles of (\d+)x(\d+) pixels fit", str(error.value)).groups())
    assert stretch(height, width, budget=100 * MIB, canvas=canvas, tiled=True) >= 1


def test_where_no_tile_fits_only_more_memory_helps():
    with pytest.raises(DataError, match="No tile fits: allow more with memory="):
        stretch(budget=1000, canvas=12 * 16 * 360 * 640)


def test_the_memory_that_is_left():
    assert available_bytes() is None or available_bytes() > MIB
