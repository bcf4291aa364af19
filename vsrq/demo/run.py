"""Run all clips and recipes of the demo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from vsrq.demo.settings import CLIPS, RECIPES, DemoClip, Recipe, bicubic
from vsrq.evaluation.functional import psnr, ssim
from vsrq.models import FloatVSR, QuantizedVSR
from vsrq.quant import calibrate, cost

Model = TypeVar("Model", bound=FloatVSR)

ARCHITECTURE = dict(
    type="FloatVSR",
    generator=dict(type="BasicVSRNet", mid_channels=64, num_blocks=30),
    pixel_loss=dict(type="CharbonnierLoss"),
)
WEIGHTS = "BasicVSR_REDS4.pth"


@dataclass(frozen=True)
class Row:
    """One line of the table; costs are ``None`` where nothing was computed by the network.

    Attributes:
        clip: Name of the clip.
        name: Name of the method.
        psnr_y: PSNR to the ground truth, dB, luma, 8-bit frames, mean over frames.
        ssim_y: SSIM likewise.
        psnr_float: PSNR to the float network's output, dB, luma.
        bops_per_mac: Bit operations per multiply-accumulate of all layers but the flow network.
        bops_per_mac_total: The same with the flow network.
        gbops_per_frame: 1e9 bit operations per frame, everything included.
        peak_gbops: The same of the dearest frame.
        state_mb: 1e6 bytes of temporal state.
    """

    clip: str
    name: str
    psnr_y: float
    ssim_y: float
    psnr_float: float | None = None
    bops_per_mac: float | None = None
    bops_per_mac_total: float | None = None
    gbops_per_frame: float | None = None
    peak_gbops: float | None = None
    state_mb: float | None = None


@dataclass(frozen=True)
class DemoResult:
    """Everything the demo found.

    Attributes:
        rows: The table.
        frames: Per clip, the middle frame ``(3, h, w)`` of each method, ``ground truth`` included.
    """

    rows: list[Row]
    frames: dict[str, dict[str, Tensor]]

    def to_json(self) -> dict[str, Any]:
        """Return what ``summary.json`` holds."""
        return {"weights": WEIGHTS, "rows": [asdict(row) for row in self.rows]}


@torch.no_grad()
def run(
    files: dict[str, Path],
    progress: Callable[[str], None],
    *,
    clips: tuple[DemoClip, ...] = CLIPS,
    recipes: tuple[Recipe, ...] = RECIPES,
    architecture: dict[str, Any] = ARCHITECTURE,
) -> DemoResult:
    """Score every recipe on every clip.

    Args:
        files: File name to path, as :func:`vsrq.demo.assets.fetch` returns it.
        progress: Called with the name of each finished step; there are ``len(clips) * (2 + len(recipes))``.
        clips: What to score on.
        recipes: What to compare with float and bicubic.
        architecture: The float model.
    """
    rows: list[Row] = []
    frames: dict[str, dict[str, Tensor]] = {}
    checkpoint = str(files[WEIGHTS])
    for clip in clips:
        calibration, low, high = clip.load(files)
        shown = frames.setdefault(clip.name, {"ground truth": high[len(high) // 2]})

        def add(name: str, output: Tensor, reference: Tensor | None, report: cost.CostReport | None) -> None:
            rows.append(_row(clip.name, name, output, high, reference, report))  # noqa: B023
            shown[name] = output[len(output) // 2]  # noqa: B023
            progress(f"{clip.name}: {name}")  # noqa: B023

        add("bicubic", bicubic(low), None, None)
        net = _fast_on_cpu(FloatVSR(**_without_type(architecture), float_checkpoint=checkpoint)).eval()
        outputs: list[Tensor] = []
        report = cost.measure(
            net.generator,
            low[None],
            run=lambda x: outputs.append(net.upscale(x)[0]),  # noqa: B023
            roles=net.generator.roles,
        )
        float_output = outputs[0]
        add("float", float_output, None, report)
        for recipe in recipes:
            model = _fast_on_cpu(QuantizedVSR(architecture, float_checkpoint=checkpoint, **recipe.model_config()))
            passes = 1 if recipe.residual is None else 2
            calibrate(model, lambda: model.upscale(calibration[None]), passes=passes)  # noqa: B023
            report, output = model.cost(low[None])
            add(recipe.name, output[0], float_output, report)
    return DemoResult(rows, frames)


def _fast_on_cpu(model: Model) -> Model:
    """Lay the weights out channels last: convolutions take half the time, results differ by float rounding only."""
    return model.to(memory_format=torch.channels_last)


def _without_type(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != "type"}


def _row(
    clip: str, name: str, output: Tensor, truth: Tensor, reference: Tensor | None, report: cost.CostReport | None
) -> Row:
    def to_255(x: Tensor) -> Tensor:
        return x.clamp(0, 1) * 255

    scores = dict(
        psnr_y=psnr(to_255(output), to_255(truth), convert_to="Y").mean().item(),
        ssim_y=ssim(to_255(output), to_255(truth), convert_to="Y").mean().item(),
    )
    if reference is not None:
        scores["psnr_float"] = psnr(to_255(output), to_255(reference), convert_to="Y").mean().item()
    if report is not None:
        scores |= dict(
            bops_per_mac=report.bops_per_mac(exclude_roles=("flow",)),
            bops_per_mac_total=report.bops_per_mac(),
            gbops_per_frame=report.average_bops / 1e9,
            peak_gbops=report.peak_bops / 1e9,
            state_mb=report.state_bytes / 1e6,
        )
    return Row(clip, name, **scores)
