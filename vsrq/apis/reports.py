"""Files of an analysis: texts and a plot, each of them complete or not there."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def write_texts(folder: Path, contents: Mapping[str, str]) -> None:
    """Write files by name; the folder is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        partial = folder / f"{name}.partial"
        partial.write_text(text)
        os.replace(partial, folder / name)


def write_plot(path: Path, draw: Callable[[Any], Any]) -> None:
    """Save the figure that ``draw(pyplot)`` returns; does nothing where matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure = draw(pyplot)
    figure.tight_layout()
    partial = path.with_name(f"{path.stem}.partial{path.suffix}")
    figure.savefig(partial, dpi=100)
    os.replace(partial, path)
    pyplot.close(figure)
