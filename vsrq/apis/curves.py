"""Training curves as a picture, from TensorBoard events."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vsrq.errors import DataError, MissingDependencyError


def read_scalars(work_dir: str | Path, name: str = "loss") -> dict[int, float]:
    """Return one logged value per iteration of a run; where the run was resumed, the later record wins.

    Raises:
        DataError: The folder holds no events, or none of that name.
        MissingDependencyError: tensorboard is not installed.
    """
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError as error:
        raise MissingDependencyError("reading training curves needs tensorboard: pip install tensorboard") from error
    files = sorted(Path(work_dir).rglob("events.out.tfevents.*"), key=lambda path: path.stat().st_mtime)
    values: dict[int, float] = {}
    names: set[str] = set()
    for file in files:
        events = EventAccumulator(str(file)).Reload()
        names |= set(events.Tags()["scalars"])
        if name in events.Tags()["scalars"]:
            values.update((event.step, event.value) for event in events.Scalars(name))
    if not values:
        listed = ", ".join(sorted(names)) or "nothing"
        raise DataError(f"{work_dir}: no {name!r} in its TensorBoard events, which hold {listed}")
    return dict(sorted(values.items()))


def plot_curves(work_dirs: Sequence[str | Path], out: str | Path, *, name: str = "loss") -> None:
    """Draw one curve per run, side by side, over the iterations.

    Args:
        work_dirs: Folders of runs, in the order of the stages.
        out: The picture to write.
        name: Which logged value.

    Raises:
        DataError: See :func:`read_scalars`.
        MissingDependencyError: tensorboard or matplotlib is not installed.
    """
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as error:
        raise MissingDependencyError("drawing training curves needs matplotlib: pip install matplotlib") from error
    curves = [(Path(folder).name, read_scalars(folder, name)) for folder in work_dirs]
    figure, axes = pyplot.subplots(1, len(curves), figsize=(4 * len(curves), 3), squeeze=False, layout="constrained")
    for axis, (title, values) in zip(axes[0], curves, strict=True):
        axis.plot(list(values), list(values.values()), linewidth=1)
        axis.set(title=title, xlabel="iteration", ylabel=name)
        axis.grid(alpha=0.3)
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f".{out.stem}.unfinished{out.suffix}")
    figure.savefig(unfinished, dpi=110)
    pyplot.close(figure)
    unfinished.replace(out)
