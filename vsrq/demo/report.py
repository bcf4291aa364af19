"""Write what the demo found: JSON, a Markdown table, a table on the terminal, a picture."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from vsrq.demo.run import DemoResult, Row
from vsrq.demo.settings import CALIBRATION_FRAMES, FRAMES

COLUMNS = (
    ("PSNR-Y", "psnr_y", ".2f"),
    ("SSIM-Y", "ssim_y", ".4f"),
    ("PSNR to float", "psnr_float", ".2f"),
    ("BOPs/MAC", "bops_per_mac", ".1f"),
    ("GBOPs/frame", "gbops_per_frame", ",.0f"),
    ("peak GBOPs", "peak_gbops", ",.0f"),
    ("state MB", "state_mb", ".1f"),
)
NOTES = (
    f"{FRAMES} frames per clip, BasicVSR with official REDS weights, x4 bicubic. Post-training quantization, "
    f"calibrated on the {CALIBRATION_FRAMES} frames of the same shot before the scored ones: affine activations, "
    "per-channel weights, ranges as in docs/quantization.md. `res` rows code temporal residuals (closed loop, leaky "
    "prediction).",
    "BOPs are simulated bit operations, not time. BOPs/MAC leaves out the flow network, which is at 8 bit in all "
    "quantized rows; GBOPs count everything. Float layers count 32 x 32.",
)
PICTURE = ("bicubic", "float", "W4A4", "res W4A4", "ground truth")


def _cells(row: Row) -> list[str]:
    values = ((getattr(row, key), form) for _, key, form in COLUMNS)
    return ["-" if value is None else format(value, form) for value, form in values]


def markdown(result: DemoResult) -> str:
    """Return the table and its notes as Markdown."""
    header = ["clip", "method", *(title for title, _, _ in COLUMNS)]
    lines = [f"| {' | '.join(header)} |", f"|{'--|' * 2}{'--:|' * len(COLUMNS)}"]
    lines += [f"| {' | '.join([row.clip, row.name, *_cells(row)])} |" for row in result.rows]
    return "\n".join([*lines, "", *NOTES, ""])


def show(result: DemoResult, console: Console) -> None:
    """Print the table."""
    table = Table(title="vsrq demo")
    table.add_column("method", no_wrap=True)
    for title, _, _ in COLUMNS:
        table.add_column(title, justify="right")
    clip = ""
    for row in result.rows:
        if row.clip != clip:
            clip = row.clip
            table.add_section()
            table.add_row(f"[bold]{clip}[/bold]")
        table.add_row(row.name, *_cells(row))
    console.print(table)
    for note in NOTES:
        console.print(note)


def write(result: DemoResult, folder: Path) -> None:
    """Write ``summary.json``, ``report.md`` and ``comparison.png`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / "summary.json", json.dumps(result.to_json(), indent=2).encode())
    _replace(folder / "report.md", markdown(result).encode())
    _, content = cv2.imencode(".png", picture(result))
    _replace(folder / "comparison.png", content.tobytes())


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content)
    os.replace(partial, path)


def picture(result: DemoResult, size: int = 96, zoom: int = 3) -> np.ndarray:
    """Compare the methods of ``PICTURE`` side by side, one row per clip, on the crop with the most detail.

    Args:
        result: What the demo found.
        size: Edge of the crop in pixels.
        zoom: Enlargement.

    Returns:
        ``(h, w, 3)`` uint8, BGR.
    """
    rows = []
    for methods in result.frames.values():
        top, left = _most_detail(methods["ground truth"], size)
        shown = [name for name in PICTURE if name in methods]
        rows.append(
            np.hstack([_tile(methods[name][:, top : top + size, left : left + size], name, zoom) for name in shown])
        )
    width = max(row.shape[1] for row in rows)
    return np.vstack([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows])


def _most_detail(image: Tensor, size: int) -> tuple[int, int]:
    """Return top and left of the crop of ``image`` (3, h, w) with the largest gradients."""
    luma = image.mean(0)
    energy = torch.zeros_like(luma)
    energy[:, 1:] += luma.diff(dim=1).abs()
    energy[1:] += luma.diff(dim=0).abs()
    pooled = torch.nn.functional.avg_pool2d(energy[None, None], size, stride=8)[0, 0]
    index = int(pooled.argmax())
    return index // pooled.shape[1] * 8, index % pooled.shape[1] * 8


def _tile(crop: Tensor, label: str, zoom: int) -> np.ndarray:
    """Enlarge a crop (3, h, w) and write its name above it."""
    image = (crop.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()[..., ::-1]
    image = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_NEAREST)
    band = np.full((26, image.shape[1], 3), 255, np.uint8)
    cv2.putText(band, label, (6, 19), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (0, 0, 0), 1, cv2.LINE_AA)
    return np.pad(np.vstack([band, image]), ((2, 2), (2, 2), (0, 0)), constant_values=255)
