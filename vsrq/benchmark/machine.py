"""What a measurement was taken on, as far as it matters to speed."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
_INT8_FLAGS = ("avx512_vnni", "avx_vnni", "amx_int8")
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")  # by which a run is kept from instructions the CPU has
_PACKAGES = ("torch", "mmagic", "openvino", "onnxruntime", "nncf", "numba", "numpy")


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    """Return those flags of the CPU that matter; empty where the system does not tell."""
    try:
        lines = cpuinfo.read_text("utf-8").splitlines()
    except OSError:
        return []
    found = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return [flag for flag in _FLAGS if flag in found]


def has_int8_kernels(flags: list[str]) -> bool:
    """Return whether the CPU multiplies 8-bit integers faster than floats."""
    return any(flag in flags for flag in _INT8_FLAGS)


def describe() -> dict[str, str]:
    """Return CPU and versions; no names of machines or people."""
    info = {
        "CPU": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "CPU flags": " ".join(cpu_flags()) or "unknown",
        "Python": platform.python_version(),
    }
    info.update({name: os.environ[name] for name in _LIMITS if name in os.environ})
    for package in _PACKAGES:
        try:
            info[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return info
