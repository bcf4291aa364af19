"""Print what is installed and what vsrq makes of it: ``python -m vsrq.collect_env``."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys

from vsrq import __version__
from vsrq.errors import MissingDependencyError

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "opencv-python",
    "mmengine",
    "mmcv-lite",
    "mmcv",
    "mmagic",
    "av",
    "lmdb",
    "openvino",
    "onnx",
    "onnxscript",
    "onnxruntime",
)


def collect_env() -> dict[str, str]:
    """Return versions and choices, in the order in which they read best."""
    info = {
        "vsrq": __version__,
        "Python": f"{platform.python_version()} ({sys.executable})",
        "platform": platform.platform(),
    }
    for package in PACKAGES:
        try:
            info[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            info[package] = "not installed"
    return info | _hardware() | _choices()


def _hardware() -> dict[str, str]:
    import torch

    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "torch build": f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU only",
        "CUDA devices": ", ".join(devices) or "none",
        "CPU": f"{torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
    }


def _choices() -> dict[str, str]:
    from vsrq.compat import ensure_mmagic, mmagic_import, mmcv_ext, torchvision_import

    try:
        ensure_mmagic()
    except MissingDependencyError as error:
        return {"mmagic is usable": f"no: {error}"}
    left_out = mmagic_import.diffusion_editors_left_out()
    return {
        "mmagic is usable": "yes",
        "torchvision operators": "compiled" if torchvision_import.has_operators() else "declared only",
        "deformable convolution": (
            "vsrq (torchvision on CUDA, plain PyTorch elsewhere)" if mmcv_ext.in_use() else "compiled mmcv.ops"
        ),
        "text-to-image editors": "left out" if left_out else "as installed",
    }


def main() -> None:
    """Print the table."""
    info = collect_env()
    width = max(map(len, info))
    sys.stdout.writelines(f"{name:<{width}}  {value}\n" for name, value in info.items())


if __name__ == "__main__":
    main()
