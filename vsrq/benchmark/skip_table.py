"""The skip benchmark's report; counted shares and measured times stand in separate columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vsrq.benchmark.contestants import REFERENCE
from vsrq.benchmark.rounds import Record, Summary
from vsrq.runtime.skip.stats import STAGES

DENSE, SKIP = "dense", "skip"
_COLUMNS = (
    "clip",
    "active",
    "executed MACs",
    "GBOPs/frame, dense",
    "GBOPs/frame, skip",
    "times faster than dense int8",
    "of 1/active",
    "times faster than mmagic fp32",
    "PSNR-Y dense",
    "PSNR-Y skip",
    "worst frame to dense",
    "E_warp x 1000 dense",
    "E_warp x 1000 skip",
    "state MB",
    "rounds",
)


def report(records: Mapping[str, Record]) -> str:
    """Return a table of all clips, then one of the stages of each.

    Args:
        records: By clip.
    """
    settings = next(iter(records.values())).settings
    parts = [f"## Skipping, {settings['network']}, {settings['threads']} threads", _conditions(settings)]
    lines = [f"| {' | '.join(_COLUMNS)} |", f"|--|{'--:|' * (len(_COLUMNS) - 1)}"]
    lines += [_row(name, record) for name, record in records.items() if record.rounds]
    parts.append("\n".join(lines))
    parts += [
        _stages(name, record) for name, record in records.items() if record.contestants.get(SKIP, {}).get("steps")
    ]
    return "\n\n".join(parts) + "\n"


def _row(name: str, record: Record) -> str:
    dense, skip = record.contestants[DENSE], record.contestants[SKIP]
    faster, active = Summary.of(record.ratios(SKIP, DENSE)), 1 - skip["skipped"]
    cells = [
        name,
        f"{active:.1%}",
        f"{skip['work']:.1%}",
        _whole(skip["dense_gbops"]),
        _whole(skip["gbops"]),
        _spread(faster),
        "" if faster is None else f"{faster.median * active:.0%}",
        _spread(Summary.of(record.ratios(SKIP, REFERENCE))),
        f"{dense['psnr']:.2f}",
        f"{skip['psnr']:.2f}",
        f"{skip['psnr_dense']:.1f}",
        _thousand(dense["e_warp"]),
        _thousand(skip["e_warp"]),
        f"{skip['state'] / 1e6:.1f}",
        str(len(record.rounds)),
    ]
    return f"| {' | '.join(cells)} |"


def _stages(name: str, record: Record) -> str:
    lines = [
        f"{name}, milliseconds per frame in the last round:",
        "",
        f"| step | calls | whole frames | skipped tiles | {' | '.join(STAGES)} |",
        f"|--|{'--:|' * (3 + len(STAGES))}",
    ]
    for step, entry in record.contestants[SKIP]["steps"].items():
        times = " | ".join(f"{entry['milliseconds'][stage]:.1f}" for stage in STAGES)
        lines.append(f"| {step} | {entry['calls']} | {entry['dense']} | {entry['skipped']:.1%} | {times} |")
    return "\n".join(lines)


def _conditions(settings: Mapping[str, Any]) -> str:
    known = ", ".join(f"{name} {value}" for name, value in settings["machine"].items())
    policy = ", ".join(f"{name} {value}" for name, value in settings["policy"].items())
    return (
        f"Weights: {settings['weights']}. {settings['frames']} frames of at most "
        f"{settings['size'][0]}x{settings['size'][1]} a run, uint8 in and out, in one scene: its first frames are "
        f"computed whole. Policy: {policy}. Medians and (lowest-highest) of paired rounds. Measured on {known}."
    )


def _spread(summary: Summary | None) -> str:
    return "" if summary is None else f"{summary.median:.2f} ({summary.low:.2f}-{summary.high:.2f})"


def _whole(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _thousand(value: float | None) -> str:
    return "" if value is None else f"{1000 * value:.3f}"
