"""What each layer costs in quality when it alone is quantized, at several bit widths."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from vsrq.errors import ConfigError
from vsrq.quant import cost
from vsrq.quant.allocate import Option
from vsrq.quant.calibrate import calibrate
from vsrq.quant.layers import QUANT_LAYERS, QuantLayer
from vsrq.quant.prepare import DEFAULT_ACT, DEFAULT_WEIGHT, prepare
from vsrq.quant.quantizer import FLOAT_BITS
from vsrq.quant.rules import Rule, RuleBook, first_match, merge

Bits = tuple[int, int]
Settings = dict[str, Any]
_OWN = ("weight", "act", "quantize")


@dataclass(frozen=True)
class Trial:
    """One layer, quantized alone.

    Attributes:
        name: The layer.
        weight_bits: Bit width of its weight.
        act_bits: Bit width of its input.
        macs: Multiply-accumulates over the clip.
        score: Quality of the network's output.
        drop: The float network's quality minus ``score``.
        noise: Squared difference to the float network's output, summed over the clip.
        fixed: Whether a rule decides the bits, so that there is no other option.
    """

    name: str
    weight_bits: int
    act_bits: int
    macs: int
    score: float
    drop: float
    noise: float
    fixed: bool


def measure_sensitivity(
    model: nn.Module,
    clip: Tensor,
    *,
    run: Callable[[nn.Module, Tensor], Tensor],
    score: Callable[[Tensor], float],
    bits: Sequence[Bits] = ((3, 3), (4, 4), (6, 6), (8, 8)),
    weight: Mapping[str, Any] | None = None,
    act: Mapping[str, Any] | None = None,
    rules: Iterable[Rule] = (),
    layers: Sequence[str] = ("*",),
    progress: Callable[[list[Any]], Iterable[Any]] = iter,
) -> list[Trial]:
    """Quantize every layer alone, calibrate it on the clip and score the network's output.

    Args:
        model: Float network; unchanged.
        clip: Frames ``(n, t, c, h, w)`` to calibrate and to score on.
        run: Runs a network on the clip and returns its output.
        score: Quality of an output, the higher the better.
        bits: Widths of weight and activation to try.
        weight: Recipe of the weights, see :func:`vsrq.quant.prepare`; its bits are overridden.
        act: Recipe of the activations, likewise.
        rules: Rules of :func:`vsrq.quant.prepare`. A layer to which one gives bits, or ``quantize=False``, is not free:
            it is tried at those bits only.
        layers: Glob patterns of the layers to try.
        progress: Wraps the list of trials, to show how far they have come.

    Returns:
        The trials in the network's order. Together the layers make up all that ``layers`` matches and the clip runs.

    Raises:
        ConfigError: No layer is left, the network is quantized, or a recipe cannot be built (names the layer).
        CalibrationError: A layer sees nothing but a constant, or values that are not finite.
    """
    if any(isinstance(module, QuantLayer) for module in model.modules()):
        raise ConfigError("the network is quantized already; sensitivity is measured on a float network.")
    names = [name for name, module in model.named_modules() if type(module) in QUANT_LAYERS]
    if not bits:
        raise ConfigError("bits must name at least one pair of widths, got none.")
    settings = settings_of(names, rules)
    base = {"weight": merge(DEFAULT_WEIGHT, weight), "act": merge(DEFAULT_ACT, act)}
    training = model.training
    model.eval()
    try:
        macs = {layer.name: layer.macs for layer in cost.measure(model, clip, run=lambda c: run(model, c)).layers}
        tried = [n for n in names if n in macs and any(fnmatchcase(n, glob) for glob in layers)]
        if not tried:
            raise ConfigError(
                f"no layer that runs matches {', '.join(map(repr, layers))}; layers are named like: "
                f"{', '.join(list(macs)[:6]) or '(none)'}."
            )
        with torch.no_grad():
            reference = run(model, clip)
            best = score(reference)
            trials = []
            for name, pair in progress([(n, pair) for n in tried for pair in _widths(base, settings[n], bits)]):
                output = reference
                if pair != (FLOAT_BITS, FLOAT_BITS):
                    output = _quantized_alone(model, name, _recipe(base, settings[name], pair), clip, run)
                value, noise = score(output), (output - reference).double().square().sum().item()
                trials.append(
                    Trial(name, pair[0], pair[1], macs[name], value, best - value, noise, is_fixed(settings[name]))
                )
    finally:
        model.train(training)
    return trials


def options_from(trials: Iterable[Trial]) -> dict[str, list[Option]]:
    """Turn trials into options for :func:`vsrq.quant.allocate`.

    The noise of an allocation is taken to be the sum of what its layers cause alone.
    """
    options: dict[str, list[Option]] = {}
    for trial in trials:
        price = trial.macs * trial.weight_bits * trial.act_bits
        options.setdefault(trial.name, []).append(
            Option("frame", trial.weight_bits, trial.act_bits, cost=price, noise=trial.noise)
        )
    return options


def rules_from(model: nn.Module, chosen: Mapping[str, Option], rules: Iterable[Rule]) -> list[Settings]:
    """Write an allocation as all rules of an experiment.

    Args:
        model: The float network.
        chosen: What :func:`vsrq.quant.allocate` chose, for all its layers or some.
        rules: The rules the sensitivity was measured with. What they set beside bits is kept.

    Returns:
        One rule per layer whose bits were free, then those of ``rules`` that decide the others.
    """
    given = [dict(rule) for rule in rules]
    settings = settings_of(chosen, given, strict=False)
    free = [name for name in chosen if not is_fixed(settings[name])]
    written: list[Settings] = []
    for name in free:
        own, option = settings[name], chosen[name]
        bits = {"weight": option.weight_bits, "act": option.act_bits}
        written.append({"pattern": name, **{key: {**(own.get(key) or {}), "bits": b} for key, b in bits.items()}})
    others = [n for n, m in model.named_modules() if type(m) in QUANT_LAYERS and n not in free]
    deciding = {first_match(name, [rule["pattern"] for rule in given]) for name in others}
    return written + [rule for rule in given if rule["pattern"] in deciding]


def settings_of(names: Iterable[str], rules: Iterable[Rule], *, strict: bool = True) -> dict[str, Settings]:
    """Return what the rules say of each layer; ``strict`` refuses rules that say nothing of any."""
    book, names = RuleBook(rules, _OWN), list(names)
    settings = {name: book.settings(name) for name in names}
    if strict:
        book.check_all_used(names)
    return settings


def is_fixed(settings: Mapping[str, Any]) -> bool:
    """Whether settings of a layer decide its bits."""
    own = any("bits" in (settings.get(key) or {}) for key in ("weight", "act"))
    return own or not settings.get("quantize", True)


def _widths(base: Mapping[str, Settings], settings: Settings, bits: Sequence[Bits]) -> Sequence[Bits]:
    """Return the widths a layer is tried at: those of its rule where it has one, else all."""
    if not is_fixed(settings):
        return bits
    if not settings.get("quantize", True):
        return [(FLOAT_BITS, FLOAT_BITS)]
    weight, act = (merge(base[key], settings.get(key))["bits"] for key in ("weight", "act"))
    return [(weight, act)]


def _recipe(base: Mapping[str, Settings], settings: Settings, bits: Bits) -> dict[str, Settings]:
    widths = zip(("weight", "act"), bits, strict=True)
    return {key: {**merge(base[key], settings.get(key)), "bits": width} for key, width in widths}


def _quantized_alone(
    model: nn.Module,
    name: str,
    recipe: Mapping[str, Settings],
    clip: Tensor,
    run: Callable[[nn.Module, Tensor], Tensor],
) -> Tensor:
    alone = copy.deepcopy(model)
    others = sum(type(module) in QUANT_LAYERS for module in alone.modules()) > 1
    rules: list[Rule] = [dict(pattern=name), *([dict(pattern="*", quantize=False)] if others else [])]
    prepare(alone, **recipe, rules=rules)
    calibrate(alone, lambda: run(alone, clip))
    return run(alone, clip)
