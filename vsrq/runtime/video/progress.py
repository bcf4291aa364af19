"""A progress bar on standard error: frames, frames per second, time left."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


class _Speed(ProgressColumn):
    """Frames per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("-- fps" if speed is None else f"{speed:.2f} fps", style="progress.data.speed")


class ProgressBar:
    """Show how far an upscale is; silent where standard error is no terminal.

    Args:
        quiet: Show nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Speed(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=Console(file=sys.stderr),
            # Frames come in bursts of a chunk; a long window gives a steady rate.
            speed_estimate_period=120,
            disable=quiet or not sys.stderr.isatty(),
            redirect_stdout=False,
        )
        self._task = self._bar.add_task("upscaling", total=None)

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, name: str, total: int | None, done: int) -> None:
        """Say what is upscaled, of how many frames, and how many are there already."""
        self._bar.reset(self._task, description=name, total=total, completed=done)

    def advance(self) -> None:
        """Count a frame."""
        self._bar.advance(self._task)
