"""Times, sizes, encoders, workers: the small parts."""

import itertools
import threading
import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsrq.errors import ConfigError
from vsrq.runtime.video.encoder import CONTAINERS, choose
from vsrq.runtime.video.layout import fit
from vsrq.runtime.video.timing import Clock, Selection, parse_time
from vsrq.runtime.video.workers import Background, ClosedError, Prefetch


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90.5", Fraction(181, 2)), ("1:30", 90), ("0:01:30.25", Fraction(361, 4)), (3, 3), ("100:00", 6000)],
)
def test_times_are_read(text, seconds):
    if text == "100:00":
        with pytest.raises(ConfigError):
            parse_time(text, "--start")
    else:
        assert parse_time(text, "--start") == seconds


@pytest.mark.parametrize("text", ["", "-1", "1:2:3:4", "1h", "nan", "1:", "inf"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ConfigError, match=r"--end '.*' is not a time; write seconds \(90.5\) or HH:MM:SS"):
        parse_time(text, "--end")


def test_an_empty_selection_is_refused():
    with pytest.raises(ConfigError, match="--end 0 s is not after --start 0 s"):
        Selection(None, Fraction(0))


@given(st.lists(st.one_of(st.none(), st.integers(-1000, 1000)), max_size=50), st.integers(1, 100))
def test_clocks_only_go_forward_and_keep_good_stamps(times, step):
    clock = Clock(step)
    stamps = [clock.stamp(time) for time in times]
    assert all(a < b for a, b in itertools.pairwise(stamps))
    assert sum(a != b for a, b in zip(stamps, times, strict=True)) <= clock.repaired
    ordered = sorted({time for time in times if time is not None})
    fresh = Clock(step)
    assert [fresh.stamp(time) for time in ordered] == ordered
    assert fresh.repaired == 0


@given(st.integers(4, 3000), st.integers(4, 3000), st.integers(4, 4000), st.integers(4, 4000))
def test_a_box_is_filled_but_never_left(height, width, box_width, box_height):
    try:
        fitted = fit((height, width), f"{box_width}x{box_height}")
    except ConfigError:
        assert min(box_width / width, box_height / height) * min(height, width) < 2
        return
    assert all(length % 2 == 0 and length >= 2 for length in fitted)
    assert fitted[0] <= box_height + 1
    assert fitted[1] <= box_width + 1
    assert box_height - fitted[0] <= 1 or box_width - fitted[1] <= 1
    scale = min(box_width / width, box_height / height)
    assert abs(fitted[0] - scale * height) <= 1
    assert abs(fitted[1] - scale * width) <= 1


def test_lines_and_natural_size():
    assert fit((180, 320), "1080p") == (1080, 1920)
    assert fit((181, 320), None) == (180, 320)


@pytest.mark.parametrize("target", ["0p", "1x1000", "1p"])
def test_sizes_that_leave_nothing_are_refused(target):
    with pytest.raises(ConfigError, match="leaves less than 2 pixels"):
        fit((180, 320), target)


@pytest.mark.parametrize(("suffix", "codec"), [(s, c) for s, codecs in CONTAINERS.items() for c in codecs])
def test_every_default_is_allowed(suffix, codec):
    chosen = choose(suffix, codec=codec)
    assert choose(suffix, codec=codec, preset=chosen.preset or None) == chosen
    assert int(chosen.options(Fraction(30000, 1001))["g"]) == 150


def test_lossless_has_no_rate_factor():
    with pytest.raises(ConfigError, match="--crf 3 does not fit ffv1; allowed: none, it is lossless"):
        choose(".mkv", codec="ffv1", crf=3)


class BrokenError(Exception):
    pass


def test_prefetch_keeps_order_and_bounds_what_is_ahead():
    made = []

    def items():
        for number in range(20):
            made.append(number)
            yield number

    ahead = Prefetch(items(), 3)
    time.sleep(0.2)
    assert len(made) == 4  # three in the queue, one waiting to get in
    assert list(ahead) == list(range(20))
    assert list(Prefetch(iter(()), 2)) == []


def test_errors_of_a_producer_reach_the_consumer_after_the_good_items():
    def items():
        yield 1
        raise BrokenError("here")

    ahead = iter(Prefetch(items(), 3))
    assert next(ahead) == 1
    with pytest.raises(BrokenError, match="here"):
        next(ahead)


def test_errors_of_a_consumer_reach_the_producer_even_when_the_queue_is_full():
    def consume(item):
        time.sleep(0.02)
        if item == 2:
            raise BrokenError("disk")

    background = Background(consume, 1)
    for number in range(4):  # 2 fails, 3 waits in the queue
        background.put(number)
    with pytest.raises(BrokenError, match="disk"):
        background.put(4)
    with pytest.raises(BrokenError, match="disk"):
        background.finish()


def test_finish_waits_for_everything():
    done = []
    background = Background(lambda item: (time.sleep(0.01), done.append(item)), 4)
    for number in range(10):
        background.put(number)
    background.finish()
    assert done == list(range(10))
    assert background.busy >= 0.1


def test_closing_stops_a_producer_that_waits_for_room():
    before = threading.active_count()
    ahead = Prefetch(iter(range(100)), 1)
    ahead.close()
    assert threading.active_count() == before
    with pytest.raises(ClosedError):
        ahead._channel.put(1)
