"""Steps with residual layers: their memory becomes explicit, and every pattern of key frames a graph of its own.

Which layers code a key frame depends on nothing but the number of the call, so the patterns of a step are few: all
layers at the first call, none later, some where layers or branches have periods of their own.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from math import lcm

import torch
from torch import Tensor, nn

from vsrq.deploy.plan import STATE, Port, Schedule, StepSpec
from vsrq.deploy.step import Step, Steps, example_inputs
from vsrq.errors import ConfigError
from vsrq.residual import ResidualLayer, TemporalState, temporal

_SIZE = (64, 96)  # of the frames on which the shapes of the state are found
_LONGEST_CYCLE = 64  # calls


def with_states(steps: Steps) -> Steps:
    """Replace every step that holds residual layers by its graphs with explicit state.

    Raises:
        ConfigError: A layer decides by its data when a key frame is due, the flow network has residual layers, or
            the periods of a step's layers have no common multiple of 64 or below; names the layers.
    """
    specs: list[StepSpec] = []
    modules: dict[str, Step] = {}
    schedules: dict[str, Schedule] = {}
    for name, step in steps.modules.items():
        state = _state_after_a_call(step)
        if not state.calls():
            specs.append(step.spec)
            modules[name] = step
            continue
        variants, schedules[name] = _variants(step, state)
        specs += [variant.spec for variant in variants]
        modules |= {variant.spec.name: variant for variant in variants}
    return Steps(replace(steps.plan, steps=tuple(specs), schedules=schedules), modules)


class StateStep(Step):
    """One graph of a step with residual layers.

    Args:
        step: The step.
        spec: Its signature with the state added.
        calls: Which call of each layer this is; tells key frames from others.
    """

    def __init__(self, step: Step, spec: StepSpec, calls: dict[str, int]) -> None:
        super().__init__(step.net, spec, step.run)
        self._calls = calls

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run the step on its inputs and the state; returns its outputs and the new state."""
        own = sum(not port.is_state for port in self.spec.inputs)
        given = [port.name.removeprefix(STATE) for port in self.spec.inputs[own:]]
        state = TemporalState()
        with temporal(self.net, state):
            state.load_tensors(dict(zip(given, inputs[own:], strict=True)), _calls_of(given, self._calls))
            result = self.run(*inputs[:own])
        outputs = (result,) if isinstance(result, Tensor) else tuple(result)
        kept = state.tensors()
        return (*outputs, *(kept[port.name.removeprefix(STATE)] for port in self.spec.outputs if port.is_state))


def _variants(step: Step, state: TemporalState) -> tuple[list[StateStep], Schedule]:
    """Return the graphs of a step and when each is due; ``state`` is that after a call."""
    layers = _layers(step, state)
    outputs = (*step.spec.outputs, *_ports(state))
    late = [key for key in layers if any(fnmatch.fnmatch(_module(key), pattern) for pattern in step.late)]

    def calls(call: int) -> dict[str, int]:
        return {key: max(call - 1, 0) if key in late else call for key in layers}

    def keys(call: int) -> frozenset[str]:
        return frozenset(key for key, count in calls(call).items() if layers[key].schedule.is_key(count))

    start = 1 + max(layer.schedule.warmup for layer in layers.values())
    length = lcm(*(layer.schedule.period or 1 for layer in layers.values()))
    if length > _LONGEST_CYCLE:
        raise ConfigError(
            f"{step.spec.name}: the periods of its layers repeat only every {length} calls, {_LONGEST_CYCLE} at most "
            "can be exported; choose periods that divide each other."
        )
    variants: dict[frozenset[str], StateStep] = {}
    names = []
    for call in range(start + length):
        pattern = keys(call)
        if pattern not in variants:
            # a key frame needs no past
            past = tuple(port for port in outputs if port.is_state and _layer_key(port) not in pattern)
            spec = StepSpec(f"{step.spec.name}@{len(variants)}", (*step.spec.inputs, *past), outputs)
            variants[pattern] = StateStep(step, spec, calls(call))
        names.append(variants[pattern].spec.name)
    return list(variants.values()), Schedule(tuple(names[:start]), tuple(names[start:]))


@torch.no_grad()
def _state_after_a_call(step: Step) -> TemporalState:
    """Return the state of the step's residual layers after one call on frames of a known size."""
    state = TemporalState()
    if any(isinstance(module, ResidualLayer) for module in step.net.modules()):
        parameter = next(step.net.parameters())
        inputs = example_inputs(step.spec, *_SIZE, torch.Generator().manual_seed(0))
        with _evaluation(step.net), temporal(step.net, state):
            step(*(x.to(parameter.device) for x in inputs))
    return state


def _layers(step: Step, state: TemporalState) -> dict[str, ResidualLayer]:
    """Return the residual layers the step runs, by layer and call site."""
    modules = dict(step.net.named_modules())
    layers = {key: modules[_module(key)] for key in state.calls()}
    adaptive = [key for key, layer in layers.items() if layer.trigger is not None]
    if adaptive:
        raise ConfigError(
            f"{step.spec.name}: {', '.join(adaptive[:4])} decide by their data when a key frame is due, which a graph "
            "cannot; export with a fixed period and without a trigger."
        )
    if step.spec.name == "flow":
        raise ConfigError(
            f"the flow network has residual layers ({', '.join(list(layers)[:4])}), but a stream asks for flows in "
            "another order than a clip; add dict(pattern='spynet.*', residual=False) to residual.rules."
        )
    return layers


def _ports(state: TemporalState) -> list[Port]:
    ports = []
    for name, tensor in state.tensors().items():
        _, channels, height, width = tensor.shape
        ratio = Fraction(height, _SIZE[0])
        if tensor.dim() != 4 or Fraction(width, _SIZE[1]) != ratio:
            raise ConfigError(f"the state {name} of shape {tuple(tensor.shape)} is no image and cannot be exported.")
        ports.append(Port(STATE + name, channels, str(ratio), str(tensor.dtype).removeprefix("torch.")))
    return ports


def _calls_of(names: list[str], calls: dict[str, int]) -> dict[str, int]:
    return {key: calls[key] for key in dict.fromkeys(name.rpartition(".")[0] for name in names)}


def _layer_key(port: Port) -> str:
    return port.name.removeprefix(STATE).rpartition(".")[0]


def _module(key: str) -> str:
    """Return the layer's name without its call site."""
    return key.partition("[")[0]


@contextmanager
def _evaluation(net: nn.Module) -> Iterator[None]:
    training = net.training
    net.eval()
    try:
        yield
    finally:
        net.train(training)
