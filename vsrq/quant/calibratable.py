"""What calibration asks of a module that learns something from data."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn


class Calibratable(nn.Module):
    """A module that observes what runs through it while calibration is on.

    Attributes:
        name: Where it sits in its network, for messages; see :func:`name_calibratables`.
        required: Whether calibration must reach it; false for what never runs.
        transparent: Whether it passes on what it observes unchanged; set while calibrating on float signals.
    """

    name: str = "(unnamed)"
    required: bool = True
    transparent: bool = False

    def start_observing(self, *, first_pass: bool) -> None:
        """Begin a pass over the calibration clips.

        Args:
            first_pass: Whether what earlier calibrations found is to be forgotten.
        """
        raise NotImplementedError

    def stop_observing(self) -> None:
        """End a pass; what was found stays."""
        raise NotImplementedError

    def problem(self) -> str | None:
        """Say why what was observed is unusable; ``None`` if it is usable."""
        return None


def calibratables(model: nn.Module) -> Iterator[tuple[str, Calibratable]]:
    """Yield name and module of everything in a network that calibration sets."""
    for name, module in model.named_modules():
        if isinstance(module, Calibratable):
            yield name, module


def name_calibratables(model: nn.Module) -> None:
    """Tell every calibratable module its own name, so that its errors say where it sits."""
    for name, module in calibratables(model):
        module.name = name
