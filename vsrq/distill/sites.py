"""Where student and teacher are compared: the output, the steps of a network, or modules by name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn

from vsrq.errors import ConfigError
from vsrq.steps import STEPS, steps_of, wrapped_steps

OUTPUT = "output"
Seen = dict[str, list[Tensor]]


@contextmanager
def watch(net: nn.Module, sites: Iterable[str]) -> Iterator[Seen]:
    """Collect what comes out of some places of a network while the block runs.

    Args:
        net: A step-wise network.
        sites: ``'output'``, the name of a step (``'flow'``, ``'propagate'`` for the recurrent state, ...), or a glob
            over the names of modules that return one tensor.

    Returns:
        Tensors by site, in the order of the calls; filled while the network runs.

    Raises:
        ConfigError: The network has no such place.
    """
    seen: Seen = defaultdict(list)
    steps = ", ".join(map(repr, steps_of(net)))
    with ExitStack() as stack:
        for site in dict.fromkeys(sites):
            if site in STEPS:
                if not hasattr(net, site):
                    raise ConfigError(f"{type(net).__name__} has no step {site!r}. Its steps: {steps}.")
                stack.enter_context(wrapped_steps(net, [site], lambda name, step: _tee(step, seen[name])))
                continue
            modules = [net] if site == OUTPUT else [m for name, m in net.named_modules() if fnmatchcase(name, site)]
            if not modules:
                raise ConfigError(
                    f"{type(net).__name__} has no module {site!r} to compare. Allowed: {OUTPUT!r}, {steps}, or a glob "
                    "over its modules."
                )
            for module in modules:
                stack.callback(module.register_forward_hook(_keep(seen[site])).remove)
        yield seen


def _tee(step: Callable[..., Any], into: list[Tensor]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        output = step(*args, **kwargs)
        into.extend([output] if isinstance(output, Tensor) else output)
        return output

    return run


def _keep(into: list[Tensor]) -> Callable[..., None]:
    def keep(_module: nn.Module, _inputs: tuple, output: Tensor) -> None:
        # a view of its own node: an activation in place after this module must not change what is compared
        into.append(output.clone())

    return keep
