import json

import numpy as np
import pytest
import torch

from tests.deploy.nets import clip, float_net, noisy, quantized_net
from vsrq.deploy import export as export_module
from vsrq.deploy import parity
from vsrq.deploy.bundle import MANIFEST, Bundle
from vsrq.deploy.export import export
from vsrq.errors import CalibrationError, CheckpointError, ConfigError, OutputError
from vsrq.quant import prepare
from vsrq.runtime import Upscaler

pytest.importorskip("openvino")
OPTIONS = {"threads": 1}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """The folder of an 8-bit BasicVSR and what its export reported."""
    path = tmp_path_factory.mktemp("export") / "bundle"
    return path, export(quantized_net("basicvsr", 8), path, clip(3, size=32)[0], backend_config=OPTIONS)


def test_a_quantized_network_agrees_in_any_size(bundle):
    path, report = bundle
    assert report.parity.psnr >= parity.QUANTIZED_DB
    net = quantized_net("basicvsr", 8)
    graphs = Bundle(path)
    for height, width in ((30, 41), (64, 36)):
        frames = clip(4, seed=3, size=64)[0][..., :height, :width]
        found = parity.run_graphs(graphs.plan, graphs.load(*graphs.plan.padded(height, width)), frames)
        with torch.no_grad():
            assert parity.worst_psnr(net.upscale(frames[None])[0], found) >= parity.QUANTIZED_DB


def test_the_manifest_tells_what_the_bundle_is(bundle):
    path, report = bundle
    manifest = Bundle(path).manifest
    assert (manifest.backend, manifest.frame_size, manifest.colour) == ("openvino", None, "RGB")
    assert manifest.parity["psnr"] == report.parity.psnr
    assert set(manifest.quantization) == {"W8A8"}
    assert set(manifest.files) == {"flow", "propagate_backward", "propagate_forward", "reconstruct"}


def test_weights_take_a_byte_each(bundle):
    path, _ = bundle
    branch = quantized_net("basicvsr", 8).backward_resblocks
    weights = sum(p.numel() for name, p in branch.named_parameters() if name.endswith("weight"))
    stored = (path / "propagate_backward.bin").stat().st_size
    assert weights <= stored < 2 * weights


@pytest.mark.parametrize("name", ["basicvsr_pp", "edvr"])
def test_a_float_network_agrees(tmp_path, name):
    report = export(float_net(name).eval(), tmp_path / "bundle", clip(3, size=32)[0], backend_config=OPTIONS)
    assert report.parity.psnr >= parity.FLOAT_DB
    assert report.not_integer() == report.kernels
    assert report.kernels


def test_upscaling_with_a_bundle_gives_what_the_network_gives(bundle):
    path, _ = bundle
    frames = noisy(3, 33, 40)
    found = np.stack(list(Upscaler(path, scene_threshold=0, threads=1)(frames)))
    tensor = torch.from_numpy(frames).permute(0, 3, 1, 2)[None] / 255
    with torch.no_grad():
        expected = quantized_net("basicvsr", 8).upscale(tensor)[0].clamp(0, 1).mul(255).permute(0, 2, 3, 1).numpy()
    assert np.square(found - expected).mean() < 255**2 * 10 ** (-parity.QUANTIZED_DB / 10) + 1 / 12


def test_a_bundle_that_disagrees_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(parity, "QUANTIZED_DB", 250.0)
    with pytest.raises(CheckpointError, match=r"250 dB are required\. Nothing was written"):
        export(quantized_net("basicvsr", 8), tmp_path / "bundle", clip(2, size=32)[0], backend_config=OPTIONS)
    assert list(tmp_path.iterdir()) == []


def test_graphs_that_were_swapped_are_refused(bundle, tmp_path):
    path, _ = bundle
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in path.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    first, second = (copy / f"propagate_{branch}.bin" for branch in ("backward", "forward"))
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    with pytest.raises(CheckpointError, match=r"propagate_backward.bin was changed or swapped"):
        Bundle(copy)
    first.write_bytes(kept)
    manifest = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps({**manifest, "version": 99}))
    with pytest.raises(CheckpointError, match="has version 99, this vsrq reads version 1"):
        Bundle(copy)
    second.unlink()
    (copy / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="is missing; the bundle is incomplete"):
        Bundle(copy)


def test_what_cannot_be_exported_fails_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "cut", None)  # would be called next
    net = float_net("basicvsr").eval()
    prepare(net, weight=dict(bits=8), act=dict(bits=8))
    frames = clip(2, size=32)[0]
    with pytest.raises(CalibrationError, match="is not calibrated; give the checkpoint of a calibrated network"):
        export(net, tmp_path / "bundle", frames)
    with pytest.raises(ConfigError, match="unknown backend 'openvno'; did you mean 'openvino'"):
        export(float_net("basicvsr"), tmp_path / "bundle", frames, backend="openvno")


def test_only_bundles_are_overwritten(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        export(float_net("basicvsr"), tmp_path, clip(2, size=32)[0])
    with pytest.raises(OutputError, match="is not a bundle and is not overwritten"):
        export(float_net("basicvsr"), tmp_path, clip(2, size=32)[0], overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "mine"
