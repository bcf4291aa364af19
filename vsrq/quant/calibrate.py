"""Find the ranges of all quantizers by running clips through the *quantized* network.

Ranges are set while the data flow: a quantizer observes a tensor, updates its grid and quantizes with it at
once. The recurrence therefore sees quantized features, whose ranges differ from those of the float network. At 2 or 3
bit a quantized recurrence may amplify its own errors and ranges grow without bound; there they are better taken from
the signals of the float network, which then bound what the quantized one passes on.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch
from torch import nn

from vsrq.errors import CalibrationError, ConfigError
from vsrq.quant.calibratable import calibratables

Signals = Literal["quantized", "float"]


@contextmanager
def observing(model: nn.Module, *, first_pass: bool = True, signals: Signals = "quantized") -> Iterator[None]:
    """Let every quantizer of ``model`` set its range from what runs through it inside the block.

    Args:
        model: Network with quantized layers.
        first_pass: Whether what earlier calibrations found is to be forgotten.
        signals: ``'float'`` lets quantizers pass on what they observe unchanged.

    Raises:
        CalibrationError: Data are empty, not finite or constant, or a quantizer saw none; names the layers.
        ConfigError: ``signals`` is not one of those allowed.
    """
    if signals not in get_args(Signals):
        raise ConfigError(f"signals must be one of {', '.join(get_args(Signals))}, got {signals!r}.")
    for _, module in calibratables(model):
        module.start_observing(first_pass=first_pass)
        module.transparent = signals == "float"
    try:
        yield
        unusable = [(name, problem) for name, m in calibratables(model) if (problem := m.problem())]
    finally:
        for _, module in calibratables(model):
            module.stop_observing()
            module.transparent = False
    if unusable:
        shown = "; ".join(f"{name}: {problem}" for name, problem in unusable[:8])
        raise CalibrationError(
            f"{len(unusable)} quantizers have no usable range ({shown}{'; ...' if len(unusable) > 8 else ''}). "
            "Use clips with content, long enough that every layer runs."
        )


@torch.no_grad()
def calibrate(model: nn.Module, run: Callable[[], object], *, passes: int = 1, signals: Signals = "quantized") -> None:
    """Calibrate all quantizers of a network.

    Args:
        model: Network with quantized layers; its mode (train / eval) is restored.
        run: Runs the calibration clips through the network once.
        passes: How often; every pass starts with fresh observers on the ranges of the pass before.
        signals: See :func:`observing`.

    Raises:
        CalibrationError: See :func:`observing`. The former ranges are restored.
        ConfigError: ``passes`` is below 1, or ``signals`` is unknown.
    """
    if passes < 1:
        raise ConfigError(f"passes must be 1 or more, got {passes}.")
    before = copy.deepcopy({name: module.state_dict() for name, module in calibratables(model)})
    training = model.training
    model.eval()
    try:
        for index in range(passes):
            with observing(model, first_pass=index == 0, signals=signals):
                run()
    except BaseException:
        for name, module in calibratables(model):
            module.load_state_dict(before[name])
        raise
    finally:
        model.train(training)
