"""Tables and plots of benchmarks: Markdown, JSON and, where matplotlib is installed, PNG."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vsrq.benchmark.clips import SCORED
from vsrq.errors import ConfigError, did_you_mean

Lines = Mapping[str, Sequence[tuple[float, float]]]


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is text, the others are numbers."""
    lines = [f"| {' | '.join(titles)} |", f"|--|{'--:|' * (len(titles) - 1)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def known(given: Iterable[str], allowed: Iterable[str], what: str) -> list[str]:
    """Return the names as a list.

    Raises:
        ConfigError: One of them is not allowed; ``what`` says what they name.
    """
    allowed, names = list(allowed), list(given)
    for name in names:
        if name not in allowed:
            raise ConfigError(
                f"unknown {what} {name!r}{did_you_mean(name, allowed)}. Allowed: {', '.join(map(str, allowed))}."
            )
    return names


def known_clips(given: Iterable[str]) -> list[str]:
    """Return the names of clips to score as a list; see :func:`known`."""
    return known(given, SCORED, "clip")


def write(folder: Path, name: str, text: str, data: Any) -> None:
    """Write ``name.md`` and ``name.json``, each complete or not at all, and print the text."""
    folder.mkdir(parents=True, exist_ok=True)
    sys.stdout.write(text)
    for suffix, content in (("md", text), ("json", json.dumps(data, indent=1))):
        partial = folder / f"{name}.{suffix}.partial"
        partial.write_text(content)
        os.replace(partial, folder / f"{name}.{suffix}")


def plot(path: Path, panels: Mapping[str, Lines], *, x: str, y: str) -> None:
    """Write one panel of lines per title; without matplotlib say so.

    Args:
        path: A file ending in ``.png``.
        panels: Points by the name of the line by the title of the panel.
        x: Label.
        y: Label.
    """
    try:
        import matplotlib
    except ImportError:
        sys.stdout.write("\nmatplotlib is not installed: no plots.\n")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, grid = pyplot.subplots(1, len(panels), figsize=(5.5 * len(panels), 4), squeeze=False)
    for axes, (title, lines) in zip(grid[0], panels.items(), strict=True):
        for name, points in lines.items():
            axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=name)
        axes.set(title=title, xlabel=x, ylabel=y)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.tight_layout()
    partial = path.with_name(f"{path.stem}.partial.png")
    figure.savefig(partial, dpi=100)
    os.replace(partial, path)
    pyplot.close(figure)
