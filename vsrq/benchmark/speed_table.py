"""The Markdown report of a speed benchmark; measured numbers only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from vsrq.benchmark.bundles import LayerMacs
from vsrq.benchmark.contestants import CODED, CONTESTANTS, OURS, REFERENCE
from vsrq.benchmark.machine import has_int8_kernels
from vsrq.benchmark.rounds import Record, Summary

_GIGA, _MEBI = 1e9, 2**20


def report(record: Record, macs: Sequence[LayerMacs]) -> str:
    """Return the whole report."""
    settings = record.settings
    parts = [
        f"## {settings['network']} at {settings['size'][0]}x{settings['size'][1]}, {settings['threads']} threads",
        _conditions(settings),
        *_vnni_warning(settings),
        main_table(record),
        *_against_nncf(record),
        *_skipped(record),
        *_breakdowns(record, macs),
        *_memory_table(record),
        _notes(settings),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def main_table(record: Record) -> str:
    """Return one row per contestant."""
    lines = [
        "| contestant | times faster, median (lowest-highest) | rounds | s/frame, median (lowest-highest) | load and "
        "compile s | peak MiB | PSNR-Y dB | PSNR-Y to mmagic dB |",
        "|--|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name in CONTESTANTS:
        seconds = Summary.of(record.seconds(name))
        if seconds is None:
            continue
        known = record.contestants.get(name, {})
        ratio = Summary.of(record.ratios(name, REFERENCE))
        scores = known.get("psnr", {})
        trained = record.settings["trained"]
        cells = [
            CONTESTANTS[name].label,
            _spread(ratio, 2),
            str(seconds.count),
            _spread(seconds, 3),
            _number(known.get("load_seconds"), 1),
            _number(known["peak_bytes"] / _MEBI if "peak_bytes" in known else None, 0),
            _number(_mean(scores, "truth") if trained else None, 2),
            _number(_mean(scores, "reference"), 2),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def roles_table(profile: Mapping[str, Any], macs: Sequence[LayerMacs], frames: int) -> str:
    """Return the time and rate of the multiplying kernels by what their layers do.

    Args:
        profile: As :class:`vsrq.benchmark.worker.Worker` returns it.
        macs: Of all layers and steps.
        frames: That were profiled.
    """
    roles = {(entry.step, entry.layer): entry.role for entry in macs}
    milliseconds: dict[str, float] = defaultdict(float)
    integer: dict[str, float] = defaultdict(float)
    for step, layer, _, is_integer, time in profile["kernels"]:
        role = roles.get((step, layer), "other")
        milliseconds[role] += time
        integer[role] += time if is_integer else 0.0
    work: dict[str, float] = defaultdict(float)
    for entry in macs:
        work[entry.role] += entry.macs * profile["steps"].get(entry.step, (0, 0))[0]
    total = 1e3 * sum(seconds for _, seconds in profile["steps"].values())
    lines = [
        "| role | GMAC/frame | kernels ms/frame | in integer kernels | GMAC/s | of the int8 peak |",
        "|--|--:|--:|--:|--:|--:|",
    ]
    for role, time in sorted(milliseconds.items(), key=lambda item: -item[1]):
        rate = work[role] / (time / 1e3) if time and work[role] else None
        cells = [
            role,
            f"{work[role] / frames / _GIGA:.1f}",
            f"{time / frames:.1f}",
            f"{integer[role] / time:.0%}" if time else "",
            _number(rate / _GIGA if rate else None, 0),
            f"{rate / profile['peak_macs']:.0%}" if rate else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    rest = total - sum(milliseconds.values())
    # profiling slows kernels down: their sum can exceed what the steps took without it
    time_left = f"{rest / frames:.1f}" if rest > 0 else "below the profiler's own time"
    lines.append(f"| everything else (warps, reorders, deformable kernel, element-wise) | | {time_left} | | | |")
    return "\n".join(lines)


def trunk_share(profile: Mapping[str, Any], macs: Sequence[LayerMacs]) -> float | None:
    """Return the rate of the residual trunks' kernels over the machine's int8 peak."""
    trunk = {(entry.step, entry.layer) for entry in macs if entry.role == "trunk"}
    time = sum(ms for step, layer, _, _, ms in profile["kernels"] if (step, layer) in trunk) / 1e3
    work = sum(entry.macs * profile["steps"].get(entry.step, (0, 0))[0] for entry in macs if entry.role == "trunk")
    return work / time / profile["peak_macs"] if time else None


def steps_table(record: Record, macs: Sequence[LayerMacs], names: Sequence[str]) -> str:
    """Return seconds per frame and rate of each step, one column per contestant."""
    work: dict[str, int] = defaultdict(int)
    for entry in macs:
        work[entry.step] += entry.macs
    frames = record.settings["frames"]
    lines = [f"| step | {' | '.join(f'{CONTESTANTS[name].label}, ms/frame (GMAC/s)' for name in names)} |"]
    lines.append("|--" + "|--:" * len(names) + "|")
    for step in record.contestants[names[0]]["steps"]:
        cells = []
        for name in names:
            calls, seconds = record.contestants[name]["steps"].get(step, (0, 0.0))
            rate = work[step] * calls / seconds / _GIGA if seconds else 0.0
            cells.append(f"{1e3 * seconds / frames:.1f} ({rate:.0f})")
        lines.append(f"| {step} | {' | '.join(cells)} |")
    rest = []
    for name in names:
        known = record.contestants[name]
        inside = sum(seconds for _, seconds in known["steps"].values()) / frames
        rest.append(f"{1e3 * (known['last_seconds'] - inside):.1f}")
    lines.append(f"| frames in and out, runtime | {' | '.join(rest)} |")
    return "\n".join(lines)


def _breakdowns(record: Record, macs: Sequence[LayerMacs]) -> list[str]:
    parts = []
    names = [name for name in CONTESTANTS if record.contestants.get(name, {}).get("steps")]
    if names and macs:
        parts += ["Steps, in the last round:", steps_table(record, macs, names)]
    for name in CONTESTANTS:
        profile = record.contestants.get(name, {}).get("profile")
        if profile is None or not macs:
            continue
        share = trunk_share(profile, macs)
        trunk = "" if share is None else f" The residual trunks reach {share:.0%} of it."
        parts.append(
            f"Kernels of {CONTESTANTS[name].label}, in a run of its own with profiling; int8 matrix products reach "
            f"{profile['peak_macs'] / _GIGA:.0f} GMAC/s here, measured just before and after.{trunk}"
        )
        parts.append(roles_table(profile, macs, profile["frames"]))
    return parts


def _memory_table(record: Record) -> list[str]:
    columns = [name for name in CONTESTANTS if record.contestants.get(name, {}).get("memory")]
    if not columns:
        return []
    height, width = record.settings["memory_size"]
    lines = [
        f"| frames | {' | '.join(CONTESTANTS[name].label for name in columns)} |",
        "|--:" * (len(columns) + 1) + "|",
    ]
    lengths = sorted({int(length) for name in columns for length in record.contestants[name]["memory"]})
    for length in lengths:
        cells = []
        for name in columns:
            value = record.contestants[name]["memory"].get(str(length))
            cells.append(value if isinstance(value, str) else _number(value / _MEBI if value else None, 0))
        lines.append(f"| {length} | {' | '.join(cells)} |")
    return [
        f"Peak memory of the process in MiB against the length of the clip, frames of {height}x{width}:",
        "\n".join(lines),
    ]


def _against_nncf(record: Record) -> list[str]:
    ratios = {"vsrq int8": OURS, "with shortcuts in codes": CODED}
    found = {text: Summary.of(record.ratios(name, "nncf")) for text, name in ratios.items()}
    cells = [f"{text} {_spread(ratio, 2)}" for text, ratio in found.items() if ratio is not None]
    return [f"Times faster than NNCF int8, paired: {', '.join(cells)}."] if cells else []


def _skipped(record: Record) -> list[str]:
    lines = [
        f"* {CONTESTANTS[name].label}: not measured: {known['failed']}"
        for name, known in record.contestants.items()
        if "failed" in known
    ]
    return ["\n".join(lines)] if lines else []


def _vnni_warning(settings: Mapping[str, Any]) -> list[str]:
    flags = settings["machine"]["CPU flags"].split()
    if has_int8_kernels(flags):
        return []
    return [
        "**This CPU reports neither avx512_vnni, avx_vnni nor amx_int8: 8-bit networks are correct on it, but not to "
        "be expected faster.**"
    ]


def _conditions(settings: Mapping[str, Any]) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in settings["machine"].items())
    return (
        f"Weights: {settings['weights']}. {settings['frames']} frames of a real clip a run, uint8 in and uint8 out, "
        f"conversions included. Measured on {machine}."
    )


def _notes(settings: Mapping[str, Any]) -> str:
    lines = [
        "* Times are measured, none is derived from bit operations. In every round the contestants run one after the "
        "other; a ratio is taken within its round. A first short run, not counted, warms up. Absolute times hold for "
        "this machine alone.",
        "* mmagic's own class gets the whole clip at once; everything else runs under vsrq's streaming runtime with "
        "its defaults. OpenVINO's and NNCF's graphs thus have vsrq's kernel for deformable convolutions too (where "
        "numba is installed) and its other rewrites.",
        "* mmagic's deformable convolution runs in "
        + ("vsrq's stand-in for mmcv's compiled operators." if settings["standin"] else "mmcv's compiled operators."),
        "* NNCF quantizes the float step graphs by its defaults, calibrated on the clips vsrq calibrates on.",
        "* Peak MiB is the resident memory of the whole process, libraries included, while it upscales.",
    ]
    if settings["psnr_frames"] and settings["scored"]:
        lines.append(
            f"* PSNR-Y: mean over the first {settings['psnr_frames']} frames of Vid4 calendar and foliage (BIx4), "
            "8-bit frames, no border crop."
        )
    return "\n".join(lines)


def _mean(scores: Mapping[str, Mapping[str, float]], key: str) -> float | None:
    values = [entry[key] for entry in scores.values() if key in entry]
    return sum(values) / len(values) if values else None


def _spread(summary: Summary | None, digits: int) -> str:
    if summary is None:
        return ""
    return f"{summary.median:.{digits}f} ({summary.low:.{digits}f}-{summary.high:.{digits}f})"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
