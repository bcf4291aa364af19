import numpy as np
import pytest

from vsrq.deploy.plan import Plan, StepSpec
from vsrq.runtime.skip.stats import SkipStats


def stats_of(*macs):
    steps = tuple(
        StepSpec(name, (), (), macs=value, bops=value and 64 * value)
        for name, value in zip(("encode", "reconstruct"), macs, strict=True)
    )
    return SkipStats(Plan("window", "EDVRNet", 4, 4, 1, steps))


def filled(*macs):
    """Of frames of 100 pixels and four tiles: encoded whole, then not at all; reconstructed whole, then a quarter."""
    stats, whole = stats_of(*macs), np.ones((2, 2), bool)
    quarter = np.array([[True, False], [False, False]])
    for step, tiles, pixels in (
        ("encode", whole, 100),
        ("encode", ~whole, 0),
        ("reconstruct", whole, 100),
        ("reconstruct", quarter, 40),
    ):
        stats.note(step, tiles, pixels, frame_pixels=100)
    return stats


def test_shares_and_work_are_counted():
    stats = filled(2.0, 10.0)
    assert stats.frames == 2
    assert stats.skip_fraction == pytest.approx((1 + 0.75) / 4)
    assert stats.macs == 2 * 100 + 10 * 140
    assert stats.dense_macs == (2 + 10) * 200
    assert (stats.bops, stats.dense_bops) == (64 * stats.macs, 64 * stats.dense_macs)
    assert stats.work == stats.macs / stats.dense_macs
    np.testing.assert_array_equal(stats.activity, [[2, 1], [1, 1]])
    assert "43.8% of all tiles skipped" in stats.table()


def test_pixels_stand_in_where_multiplications_are_unknown():
    stats = filled(None, 10.0)
    assert stats.macs is None
    assert stats.work == 240 / 400
    assert stats.bops is None
    assert "GMAC" not in stats.table()
    assert "GBOP" not in stats.table()


def test_the_table_has_operations_executed_beside_those_of_whole_frames():
    stats = filled(2e6, 10e6)
    assert "1.6 of 2.4 GMAC and 102.4 of 153.6 GBOP executed" in stats.table()


def test_what_was_skipped_altogether_is_told_as_well():
    stats = stats_of(2e6, 10e6)
    stats.note("encode", np.zeros((2, 2), bool), 0, frame_pixels=100)
    assert "0.0 of 0.2 GMAC and 0.0 of 12.8 GBOP executed" in stats.table()


def test_the_excess_is_what_windows_take_beyond_their_pixels():
    stats = filled(1.0, 1.0)
    assert stats.excess() is None
    entry = stats.steps["reconstruct"]
    entry.dense_seconds, entry.seconds["compute"] = 1.0, 2.0  # 100 pixels of a whole frame in 1 s, 40 of windows in 1 s
    assert stats.excess() == pytest.approx(100 - 40)
    entry.seconds["gather"] += 1
    assert stats.excess() == pytest.approx(200 - 40)
    assert entry.windowed == 1
    stats.note("reconstruct", np.zeros((2, 2), bool), 0, frame_pixels=100)
    assert stats.excess() == pytest.approx(200 - 40)  # a call that computed nothing is none of windows


def test_a_restart_forgets():
    stats = filled(1.0, 1.0)
    stats.restart()
    assert (stats.frames, stats.skip_fraction, stats.work, stats.activity) == (0, 0.0, 0.0, None)
