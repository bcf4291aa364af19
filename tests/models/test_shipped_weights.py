"""The weights in ``weights/``: small, loaded strictly by the configs that name them, and better than bicubic."""

from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope

from vsrq.apis.comparison import luma_scores
from vsrq.apis.config import load_config
from vsrq.apis.exporting import build_model
from vsrq.benchmark.accuracy import NETWORKS, TUNED
from vsrq.datasets import matlab_resize, to_uint8
from vsrq.datasets.clips import load_clip
from vsrq.models import load_weights, read_state_dict
from vsrq.quant.calibratable import calibratables
from vsrq.registry import MODELS

SHIPPED = {name: paths for name, paths in NETWORKS.items() if paths[1].startswith("weights/")}


@pytest.mark.parametrize("name", SHIPPED)
def test_weights_are_small_half_precision_and_finite(name):
    path = Path(SHIPPED[name][1])
    assert path.stat().st_size < 8 * 2**20
    for tensor in read_state_dict(path).values():
        assert tensor.dtype == torch.float16
        assert tensor.isfinite().all()


@pytest.mark.golden
@pytest.mark.parametrize("name", SHIPPED)
def test_weights_beat_bicubic_on_vid4(name, data_root):
    if not (data_root / "Vid4" / "BIx4").is_dir():
        pytest.skip(f"no clips at {data_root / 'Vid4'}: set VSRQ_DATA to the folder that holds Vid4/GT and Vid4/BIx4")
    config, weights = SHIPPED[name]
    model = load_config(config).model
    model.float_checkpoint = None
    with DefaultScope.overwrite_default_scope("vsrq"):
        network = MODELS.build(model).eval().generator
    load_weights(network, weights)
    gains = []
    for clip in ("calendar", "foliage"):
        low, truth = (
            to_uint8(load_clip(data_root / "Vid4" / kind / clip, start=14, stop=17)) for kind in ("BIx4", "GT")
        )
        with torch.inference_mode():
            upscaled = to_uint8(network.upscale(low[None].float() / 255)[0])
        ours, bicubic = luma_scores(upscaled, truth), luma_scores(matlab_resize(low, 4.0), truth)
        assert ours["SSIM"] > bicubic["SSIM"] + 0.04
        gains.append(ours["PSNR"] - bicubic["PSNR"])
    assert sum(gains) / len(gains) > 0.7


@pytest.mark.parametrize(("config", "weights"), [paths["BasicVSR"] for paths in TUNED.values()], ids=list(TUNED))
def test_tuned_weights_are_small_and_fit_their_config(config, weights):
    assert Path(weights).stat().st_size < 8 * 2**20
    settings = load_config(config)
    settings.model.float_checkpoint = None
    settings.model.distill = None
    network = build_model(settings, weights).generator
    quantizers = [module for _, module in calibratables(network) if module.required]
    assert len(quantizers) > 250
    assert all(quantizer.initialized for quantizer in quantizers)
    assert all(value.isfinite().all() for value in network.state_dict().values())
