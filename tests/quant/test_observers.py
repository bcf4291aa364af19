import pytest
import torch

from vsrq.errors import CalibrationError, ConfigError
from vsrq.quant.observers import OBSERVERS, build_observer


def observe(config, *tensors, axis=None):
    observer = build_observer(config, axis=axis)
    for x in tensors:
        observer.update(x)
    return observer


def test_min_max_covers_all_calls():
    low, high = observe(dict(type="MinMax"), torch.tensor([-1.0, 2.0]), torch.tensor([0.0, 5.0])).range(
        0, 255, symmetric=False
    )
    assert (low.item(), high.item()) == (-1, 5)


def test_moving_average_weighs_the_newest_call():
    observer = observe(dict(type="EMAMinMax", momentum=0.25), torch.tensor([0.0, 4.0]), torch.tensor([-4.0, 8.0]))
    low, high = observer.range(0, 255, symmetric=False)
    assert (low.item(), high.item()) == (-1, 5)


def test_percentile_leaves_the_tail_out():
    x = torch.arange(1000).float()
    low, high = observe(dict(type="Percentile", percentile=95), x).range(0, 255, symmetric=False)
    assert low.item() == 0  # zero is always covered
    assert high.item() == pytest.approx(950, abs=2)


def test_percentile_100_is_min_max():
    x = torch.randn(500)
    low, high = observe(dict(type="Percentile", percentile=100), x).range(0, 255, symmetric=False)
    assert (low, high) == (x.min(), x.max())


@pytest.mark.parametrize("name", OBSERVERS)
def test_per_channel_ranges_follow_their_channel(name):
    x = torch.randn(2, 3, 400) * torch.tensor([1.0, 10.0, 100.0])[:, None]
    low, high = observe(dict(type=name), x, axis=1).range(0, 15, symmetric=False)
    width = high - low
    assert low.shape == high.shape == (3,)
    assert 5 < width[1] / width[0] < 20
    assert 5 < width[2] / width[1] < 20


def test_histogram_keeps_all_counts_when_the_range_grows():
    calls = [torch.randn(1000) * 3**k for k in range(5)]
    observer = observe(dict(type="MSE"), *calls)
    centres, counts = observer.samples()
    assert counts.sum() == 5000
    mean_square = ((centres**2) * counts).sum() / counts.sum()
    expected = torch.cat(calls).square().mean()
    assert mean_square.item() == pytest.approx(expected.item(), rel=0.02)


@pytest.mark.parametrize("name", OBSERVERS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(name, bad):
    with pytest.raises(CalibrationError, match="NaN or infinity"):
        observe(dict(type=name), torch.tensor([1.0, bad]))


@pytest.mark.parametrize("name", OBSERVERS)
def test_empty_data_and_no_data_are_refused(name):
    with pytest.raises(CalibrationError, match="empty"):
        observe(dict(type=name), torch.zeros(0))
    with pytest.raises(CalibrationError, match="nothing was observed"):
        build_observer(dict(type=name), axis=None).range(0, 255, symmetric=False)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (dict(type="MinMx"), "did you mean 'MinMax'"),
        (dict(type="Percentile", percentil=99), "did you mean 'percentile'"),
        (dict(type="MinMax", bins=99), "unknown key 'bins'"),
        (dict(type="Percentile", percentile=20), r"\(50, 100\], got 20"),
        (dict(type="EMAMinMax", momentum=0), r"\(0, 1\], got 0"),
        (dict(type="MSE", bins=3), "64 or more, got 3"),
    ],
)
def test_wrong_configs_name_the_value_and_what_is_allowed(config, message):
    with pytest.raises(ConfigError, match=message):
        build_observer(config, axis=None)
