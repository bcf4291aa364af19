"""Boxes and windows: everything active is computed, with what must be seen around it, and lands where it belongs."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vsrq.runtime.skip.boxes import cover
from vsrq.runtime.skip.windows import Layout, copy_boxes, gather, scatter

ACTIVE = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(lambda shape: arrays(bool, shape))


def area(rows, columns):
    return (16 * rows + 16.0) * (16 * columns + 16) + 100


@given(ACTIVE)
def test_boxes_are_disjoint_cover_what_is_active_and_are_no_dearer_than_one(active):
    boxes, counts = cover(active, area), np.zeros(active.shape, int)
    for box in boxes:
        counts[box.top : box.bottom, box.left : box.right] += 1
        assert active[box.top : box.bottom, box.left : box.right].any()
    assert counts.max(initial=0) <= 1
    assert (counts >= active).all()
    if boxes:
        sides = [np.flatnonzero(active.any(axis)) for axis in (1, 0)]
        whole = area(*(side[-1] - side[0] + 1 for side in sides))
        assert sum(area(box.bottom - box.top, box.right - box.left) for box in boxes) <= whole


def test_far_apart_is_cut_and_near_is_merged():
    active = np.zeros((12, 12), bool)
    active[0, 0] = active[11, 11] = True
    assert sorted(cover(active, area)) == [(0, 0, 1, 1), (11, 11, 12, 12)]
    active[:] = False
    active[4, 4] = active[5, 5] = active[4, 5] = True
    assert cover(active, area) == [(4, 4, 6, 6)]


@st.composite
def layouts(draw):
    """A frame whose sides are multiples of 4, active tiles, and a margin."""
    tile = draw(st.sampled_from([8, 16]))
    layout = Layout(4 * draw(st.integers(tile // 4, 30)), 4 * draw(st.integers(tile // 4, 30)), tile)
    return layout, draw(arrays(bool, layout.grid)), 8 * draw(st.integers(0, 3))


@settings(max_examples=60, deadline=None)
@given(layouts(), st.sampled_from([1, 32]))
def test_windows_lie_in_the_frame_and_see_the_margin(case, multiple):
    layout, active, margin = case
    seen = np.zeros((layout.height, layout.width), bool)
    for windows in layout.place(active, margin, multiple):
        for edge, size in ((windows.height, layout.height), (windows.width, layout.width)):
            assert edge == size or edge % multiple == 0
        assert (windows.starts >= 0).all()
        assert (windows.starts % 4 == 0).all()
        assert (windows.starts <= [layout.height - windows.height, layout.width - windows.width]).all()
        for (top, left, bottom, right), starts in zip(windows.boxes, windows.starts, strict=True):
            assert not seen[top:bottom, left:right].any()
            seen[top:bottom, left:right] = True
            for start, first, last, edge, size in (
                (starts[0], top, bottom, windows.height, layout.height),
                (starts[1], left, right, windows.width, layout.width),
            ):
                assert start <= max(first - margin, 0)
                assert start + edge >= min(last + margin, size)
    pixels = np.kron(active, np.ones((layout.tile, layout.tile), bool))[: layout.height, : layout.width]
    assert (seen >= pixels).all()


@settings(max_examples=40, deadline=None)
@given(layouts(), st.sampled_from(["1", "1/2", "1/4", "4"]))
def test_what_is_gathered_and_scattered_lands_where_it_came_from(case, ratio):
    layout, active, margin = case
    ratio = Fraction(ratio)
    shape = (1, 2, int(layout.height * ratio), int(layout.width * ratio))
    new, old = (np.random.default_rng(seed).random(shape, np.float32) for seed in (0, 1))
    target, copied, expected = old.copy(), old.copy(), old.copy()
    for windows in layout.place(active, margin):
        whole = slice(0, len(windows.starts))
        size = (len(windows.starts), 2, int(windows.height * ratio), int(windows.width * ratio))
        cut = gather(new, windows, ratio, whole, np.empty(size, np.float32))
        middle = len(windows.starts) // 2
        for part in (slice(0, middle), slice(middle, len(windows.starts))):
            scatter(cut[part], windows, ratio, part, target)
        copy_boxes(new, windows, ratio, copied)
        for top, left, bottom, right in windows.boxes * ratio.numerator // ratio.denominator:
            expected[..., top:bottom, left:right] = new[..., top:bottom, left:right]
    np.testing.assert_array_equal(target, expected)
    np.testing.assert_array_equal(copied, expected)


@pytest.mark.parametrize("count", [1, 3, 8, 21])
def test_windows_are_split_into_few_sizes_of_batches(count):
    from vsrq.runtime.skip.graphs import WindowGraphs

    class Source:
        batches = True

    parts = list(WindowGraphs(Source(), {}).batches(count))
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(count))
    assert {part.stop - part.start for part in parts} <= {1, 4}
    Source.batches = False
    assert len(list(WindowGraphs(Source(), {}).batches(count))) == count


def test_graphs_are_compiled_once_and_the_oldest_forgotten():
    from vsrq.deploy.plan import Port
    from vsrq.runtime.skip import graphs as module

    class Source:
        batches, asked = True, []

        def load_step(self, *key, batch=1):
            self.asked.append((*key, batch))
            return (*key, batch)

    source, ports = Source(), [Port("frame", 3), Port("gate_1", 1, "0")]
    graphs = module.WindowGraphs(source, {})
    for number in range(module._MOST_GRAPHS + 1):
        assert graphs.graph("encode", 32, 8 * number, 2) == ("encode", 32, 8 * number, 2)
        graphs.buffers(ports, 32, 8 * number, 2)
    first = graphs.buffers(ports, 32, 8, 2)
    assert all(a is b for a, b in zip(first, graphs.buffers(ports, 32, 8, 2), strict=True))
    assert [array.shape for array in first] == [(2, 3, 32, 8), (1, 1, 1, 1)]
    graphs.graph("encode", 32, 8, 2)
    assert len(source.asked) == module._MOST_GRAPHS + 1
    graphs.graph("encode", 32, 0, 2)
    assert len(source.asked) == module._MOST_GRAPHS + 2
