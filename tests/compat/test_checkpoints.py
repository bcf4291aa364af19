import random

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner.checkpoint import CheckpointLoader, load_checkpoint

from vsrq.compat.checkpoints import read_checkpoint, register_loader
from vsrq.errors import CheckpointError


@pytest.fixture(autouse=True)
def _loader():
    register_loader()
    yield
    register_loader()


def runner_checkpoint(net):
    """Return what MMEngine's Runner saves, message hub included."""
    hub = MessageHub("checkpoint-test")
    for value in (0.5, 0.25):
        hub.update_scalar("train/loss", value)
    hub.update_info("iter", 2)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return {
        "meta": {"iter": 2, "cfg": "x = 1", "dataset_meta": {"palette": (1, 2)}, "time": "now"},
        "state_dict": net.state_dict(),
        "message_hub": hub.state_dict(),
        "optimizer": optimizer.state_dict(),
        "param_schedulers": [{"last_step": 2, "_get_lr_called_within_step": False}],
        "random_states": (random.getstate(), np.random.get_state(), torch.get_rng_state()),
        "numpy_scalar": np.float64(0.5),
    }


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


def test_runner_checkpoints_load_through_mmengine(tmp_path):
    net, path = torch.nn.Linear(2, 2), tmp_path / "iter_2.pth"
    torch.save(runner_checkpoint(net), path)
    other = torch.nn.Linear(2, 2)
    checkpoint = load_checkpoint(other, str(path), map_location="cpu", strict=True)
    assert torch.equal(other.weight, net.weight)
    history = checkpoint["message_hub"]["log_scalars"]["train/loss"]
    assert isinstance(history, HistoryBuffer)
    assert history.data[0].tolist() == [0.5, 0.25]
    assert checkpoint["message_hub"]["runtime_info"]["iter"] == 2
    assert checkpoint["random_states"][0] == random.getstate()
    assert (checkpoint["random_states"][1][1] == np.random.get_state()[1]).all()
    assert checkpoint["numpy_scalar"] == 0.5
    assert checkpoint["optimizer"]["state"]


@pytest.mark.parametrize("name", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_histories_travel_between_numpy_1_and_2(name, tmp_path):
    path = tmp_path / "history.pth"
    torch.save({"h": HistoryBuffer([0.5], [1])}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    for written in (b"numpy._core.multiarray", b"numpy.core.multiarray"):
        data = data.replace(b"c" + written + b"\n", b"c" + name.encode() + b"\n")
    assert name.encode() in data
    path.write_bytes(data)
    assert read_checkpoint(path)["h"].data[0].tolist() == [0.5]


def test_pickled_code_is_refused_by_mmengine_too(tmp_path):
    marker, path = tmp_path / "ran", tmp_path / "evil.pth"
    torch.save({"state_dict": {"w": torch.ones(1)}, "x": Evil(marker)}, path)
    with pytest.raises(CheckpointError, match=r"open.*--trust-checkpoint"):
        CheckpointLoader.load_checkpoint(str(path), map_location="cpu")
    assert not marker.exists()


def test_a_class_besides_the_allowed_ones_is_refused(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"x": HistoryBuffer([1.0], [1]), "y": MessageHub("other-class")}, path)
    with pytest.raises(CheckpointError, match="MessageHub"):
        read_checkpoint(path)


class Reach:
    """Reaches for an attribute when it is unpickled."""

    def __init__(self, *path):
        self.path = path

    def __reduce__(self):
        return getattr, self.path


@pytest.mark.parametrize("path", [(HistoryBuffer, "__init__"), (np.ndarray, "tofile"), (HistoryBuffer, "update")])
def test_attributes_other_than_statistics_cannot_be_reached(path, tmp_path):
    file = tmp_path / "reach.pth"
    torch.save({"x": Reach(*path)}, file)
    with pytest.raises(CheckpointError, match=rf"getattr\(.*{path[1]}.*--trust-checkpoint"):
        read_checkpoint(file)


def test_the_allow_list_ends_with_the_call(tmp_path):
    path = tmp_path / "history.pth"
    torch.save(HistoryBuffer([1.0], [1]), path)
    read_checkpoint(path)
    assert HistoryBuffer not in torch.serialization.get_safe_globals()


def test_trust_is_asked_for_and_can_be_taken_back(tmp_path):
    marker, path = tmp_path / "ran", tmp_path / "evil.pth"
    torch.save({"x": Evil(marker)}, path)
    register_loader(trust=True)
    CheckpointLoader.load_checkpoint(str(path), map_location="cpu")
    assert marker.exists()
    register_loader()
    with pytest.raises(CheckpointError, match="--trust-checkpoint"):
        CheckpointLoader.load_checkpoint(str(path), map_location="cpu")


def test_map_location_is_passed_on(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"w": torch.ones(2)}, path)
    assert read_checkpoint(path, map_location="meta")["w"].device.type == "meta"
