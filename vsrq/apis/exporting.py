"""From a config and a checkpoint to a bundle of step graphs."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine import print_log
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor

import vsrq
from vsrq.apis import config as settings
from vsrq.apis.check import check_config
from vsrq.datasets.clips import load_clip
from vsrq.demo.assets import ASSETS, fetch
from vsrq.deploy.bundle import MANIFEST, Bundle
from vsrq.deploy.export import ExportReport, export
from vsrq.errors import CheckpointError, ConfigError
from vsrq.models import FloatVSR, QuantizedVSR
from vsrq.models.checkpoint import load_weights
from vsrq.registry import MODELS

DEFAULT_BACKEND = "openvino"
PARITY_FRAMES = 5
_PARITY_PIXELS = 160  # largest side of the frames compared


def export_config(
    config: str | Path,
    checkpoint: str | Path | None,
    out: str | Path,
    *,
    backend: str | None = None,
    clip: str | Path | None = None,
    size: tuple[int, int] | None = None,
    cfg_options: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    trust_checkpoint: bool = False,
) -> ExportReport:
    """Export the network of a config.

    The config may hold ``backend_config=dict(type='openvino', ...)`` with the backend's options and
    ``onnx_config=dict(opset_version=...)``, as in mmdeploy.

    Args:
        config: Path of the config file.
        checkpoint: Weights and ranges; ``None`` takes the float weights the config names.
        out: Folder of the bundle.
        backend: ``'openvino'`` or ``'onnxruntime'``; ``None`` takes the config's, else OpenVINO.
        clip: Video or folder of low-resolution frames to compare on; ``None`` takes a real clip that is fetched once.
        size: Height and width to fix the graphs to; ``None`` keeps them open where the backend can.
        cfg_options: Settings that override the config's.
        overwrite: Replace a bundle that exists.
        trust_checkpoint: Allow a checkpoint that executes pickled code.

    Raises:
        ConfigError: For typos and contradictions, and for networks that cannot be exported.
        CheckpointError: For a missing, broken or unfitting checkpoint, and for graphs that disagree with PyTorch.
        CalibrationError: The network is quantized and not calibrated.
        OutputError: ``out`` exists or cannot be written.
    """
    cfg = settings.load_config(config, cfg_options)
    options = dict(cfg.get("backend_config", {}))
    configured = options.pop("type", DEFAULT_BACKEND)
    backend = backend or configured
    if backend != configured and "type" in cfg.get("backend_config", {}):
        options = {}  # they belong to another backend
    if backend == "onnxruntime":
        options = {**cfg.get("onnx_config", {}), **options}
    model = build_model(cfg, checkpoint, trust_checkpoint=trust_checkpoint)
    if isinstance(model, QuantizedVSR) and model.state_storage is not None:
        print_log(
            f"model.state ({model.state_storage.bits} bit) is simulated only: between the graphs recurrent features "
            "pass as 32-bit floats.",
            "current",
            logging.WARNING,
        )
    report = export(
        model.generator,
        out,
        parity_clip(clip),
        backend=backend,
        size=size,
        backend_config=options,
        overwrite=overwrite,
    )
    _log(report)
    return report


def build_model(cfg: Config, checkpoint: str | Path | None, *, trust_checkpoint: bool = False) -> FloatVSR:
    """Build the model of a config and load its weights.

    Raises:
        ConfigError: For typos, and without any weights: ``checkpoint`` or ``model.float_checkpoint``.
        CheckpointError: For a missing, broken or unfitting checkpoint.
    """
    check_config(cfg)
    if checkpoint is not None:
        settings.require_file(checkpoint)
        settings.expect_checkpoint(cfg)
    with DefaultScope.overwrite_default_scope("vsrq"):
        model = MODELS.build(cfg.model)
    if checkpoint is not None:
        load_weights(model.generator, checkpoint, trust=trust_checkpoint)
    elif model.float_checkpoint is None:
        raise ConfigError("no weights: give a checkpoint, or a config that names a float_checkpoint.")
    return model.eval()


def parity_clip(source: str | Path | None = None) -> Tensor:
    """Return a few real frames (t, 3, h, w) in [0, 1] to compare on, cropped to at most 160 pixels.

    Args:
        source: Video or folder of frames; ``None`` takes ``bikes.mp4``, which is fetched once.
    """
    if source is None:
        source = fetch(data_folder(), tuple(a for a in ASSETS if a.target.endswith("bikes.mp4")))["bikes.mp4"]
        return load_clip(source, start=146, stop=146 + PARITY_FRAMES)[..., :96, :128]
    clip = load_clip(source)[:PARITY_FRAMES]
    return clip[..., :_PARITY_PIXELS, :_PARITY_PIXELS]


def default_bundle(*, backend: str | None = None) -> Path:
    """Return the bundle of official BasicVSR weights (REDS4) at 8 bit; calibrated and exported on first use."""
    from vsrq.apis.default_network import CALIBRATION, calibrated

    backend = backend or DEFAULT_BACKEND
    folder = cache_folder() / f"basicvsr-reds4-w8a8-{backend}-{_digest(CALIBRATION, vsrq.__version__)}"
    if not _is_bundle(folder):
        print_log(f"first use: calibrating and exporting BasicVSR at 8 bit into {folder}", logger="current")
        network = calibrated(data_folder()).generator
        _log(export(network, folder, parity_clip(), backend=backend, overwrite=True))
    return folder


def cached_bundle(config: str | Path, checkpoint: str | Path | None, *, backend: str | None = None) -> Path:
    """Return the bundle of a config and checkpoint, exported on first use; a change of either makes a new one."""
    cfg = settings.load_config(config)
    if checkpoint is not None:
        settings.require_file(checkpoint)
    weights = checkpoint or cfg.model.get("float_checkpoint")
    content = hashlib.sha256(Path(weights).read_bytes()).hexdigest() if weights else ""
    digest = _digest(cfg.pretty_text, content, str(backend), vsrq.__version__)
    folder = cache_folder() / f"{Path(config).stem}-{digest}"
    if not _is_bundle(folder):
        export_config(config, checkpoint, folder, backend=backend, overwrite=True)
    return folder


def _is_bundle(folder: Path) -> bool:
    """Whether a cached bundle can be used; one that was changed or is of another version is made again."""
    if not (folder / MANIFEST).is_file():
        return False
    try:
        Bundle(folder)
    except CheckpointError as error:
        print_log(f"{error} It is made again.", "current", logging.WARNING)
        return False
    return True


def cache_folder() -> Path:
    """Return where bundles made on first use lie: ``$VSRQ_CACHE``, else ``~/.cache/vsrq``."""
    root = os.environ.get("VSRQ_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "vsrq"
    return Path(root) / "bundles"


def data_folder() -> Path:
    """Return where weights and clips lie: ``data`` below the working folder."""
    return Path("data")


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _log(report: ExportReport) -> None:
    found = report.parity
    print_log(
        f"{report.path}: {found.psnr:.1f} dB to PyTorch in the worst of {found.frames} frames "
        f"({found.required:.0f} required)",
        logger="current",
    )
    if not report.kernels:
        return
    floating = report.not_integer()
    print_log(
        f"{len(report.kernels) - len(floating)} of {len(report.kernels)} convolutions and matrix products run in "
        "integer kernels",
        logger="current",
    )
    if len(floating) == len(report.kernels):
        return  # a float network: nothing to warn about
    for kernel in floating:
        print_log(f"not in integers: {kernel.step}: {kernel.node} ({kernel.kernel})", "current", logging.WARNING)
